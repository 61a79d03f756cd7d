/** The architectures that crisp is built for, by Node's names, with those of others. */
import { CrispError } from '#core/errors.ts';

export interface Architecture {
  readonly node: 'x64' | 'arm64';
  readonly debian: string;
  readonly rpm: string;
  /** Prefix of the cross compiler. */
  readonly gnu: string;
  /** `e_machine` of its ELF files. */
  readonly machine: number;
}

export const ARCHITECTURES: readonly Architecture[] = [
  { node: 'x64', debian: 'amd64', rpm: 'x86_64', gnu: 'x86_64-linux-gnu', machine: 62 },
  { node: 'arm64', debian: 'arm64', rpm: 'aarch64', gnu: 'aarch64-linux-gnu', machine: 183 },
];

/** By the name that Node, Debian or RPM has for it. Throws InvalidArgument. */
export function architecture(name: string): Architecture {
  const found = ARCHITECTURES.find((one) => [one.node, one.debian, one.rpm].includes(name));
  if (found) return found;
  throw new CrispError('InvalidArgument', `${name} is not an architecture that crisp is built for`, {
    hint: `one of ${ARCHITECTURES.map(({ node }) => node).join(', ')}`,
  });
}
