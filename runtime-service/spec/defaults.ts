/** What containers get where neither image nor request decides: that of their handler, and that of all handlers. */
import { CrispError } from '#core/errors.ts';
import type { ContainerDefaults, HandlerDefaults } from '../options.ts';
import { checkCapabilities } from './capabilities.ts';
import type { Rlimit } from './process.ts';

/** A handler's own value goes before that of all handlers; variables, rlimits and devices are added to it. */
export const defaultsOf = (all: ContainerDefaults, own: Partial<HandlerDefaults>): ContainerDefaults => ({
  ...all,
  baseRuntimeSpec: own.baseRuntimeSpec || all.baseRuntimeSpec,
  apparmorProfile: own.apparmorProfile || all.apparmorProfile,
  seccompProfile: own.seccompProfile || all.seccompProfile,
  capabilities: own.capabilities?.length ? own.capabilities : all.capabilities,
  env: { ...all.env, ...own.env },
  rlimits: withRlimits(all.rlimits, own.rlimits ?? []),
  // The first of a path counts.
  additionalDevices: [...(own.additionalDevices ?? []), ...all.additionalDevices],
});

/** The others go before those of the same type. */
export const withRlimits = (rlimits: readonly Rlimit[], others: readonly Rlimit[]): readonly Rlimit[] => [
  ...rlimits.filter(({ type }) => !others.some((one) => one.type === type)),
  ...others,
];

/** Throws InvalidArgument, beginning with the option, for what no container can have. `section` is that of the options. */
export function checkDefaults(
  section: string,
  { env = {}, capabilities = [] }: Partial<HandlerDefaults>,
): void {
  const wrong = Object.keys(env).find((name) => name === '' || /[=\0]/.test(name));
  if (wrong !== undefined) {
    throw new CrispError(
      'InvalidArgument',
      `${section}.default_env.${wrong}: ${JSON.stringify(wrong)} is no name of a variable`,
      { hint: 'write NAME = "value"' },
    );
  }
  checkCapabilities(`${section}.default_capabilities`, capabilities);
}
