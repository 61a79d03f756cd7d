/** Annotations of the OCI spec, and hooks. */
import { describeError } from '#core/errors.ts';
import { checkExecutable } from '#linux/fs/executable.ts';
import { COMMANDS, UNIT_PROPERTIES } from '../spec/annotations.ts';
import { addHooks } from '../spec/hooks.ts';
import { hookStages, isHookStage } from '../spec/oci.ts';
import { type Adjusting, refusal } from './adjusting.ts';

const MAX_SECONDS = 3600;

/** Those of the OCI spec alone: CRI shows the requested ones. */
export function adjustAnnotations(adjusting: Adjusting): void {
  const { annotations } = adjusting.adjustment;
  if (!annotations) return;
  const keys = [...Object.keys(annotations.set), ...annotations.removed];
  const property = keys.find((key) => key.startsWith(UNIT_PROPERTIES));
  if (property !== undefined) {
    const why = "is a property of the container's scope, which its record would not show";
    throw refusal(adjusting, ['annotations', property], why, 'use the adjustment of resources');
  }
  const command = keys.find((key) => key.startsWith(COMMANDS));
  if (command !== undefined) {
    const why = 'is a command to crun, which would replace filters or run programs';
    throw refusal(adjusting, ['annotations', command], why, 'use the adjustment that NRI has for it');
  }
  const { spec } = adjusting;
  const removed = new Set(annotations.removed);
  const kept = Object.entries(spec.annotations).filter(([key]) => !removed.has(key));
  spec.annotations = { ...Object.fromEntries(kept), ...annotations.set };
}

/** Behind those that are there. A program that cannot be executed is refused here, where its plugin is known. */
export async function adjustHooks(adjusting: Adjusting): Promise<void> {
  const { hooks = {} } = adjusting.adjustment;
  for (const [stage, added] of Object.entries(hooks)) {
    const refuse = (why: string, hint: string, cause?: unknown) =>
      refusal(adjusting, ['hooks', stage], why, hint, cause);
    if (!isHookStage(stage)) throw refuse('is no stage', `use ${hookStages.join(', ')}`);
    for (const { path, args, env, timeout } of added) {
      if (!path.startsWith('/') || path.includes('\0'))
        throw refuse(
          `has ${JSON.stringify(path)}, which is no absolute path`,
          'give the path of the program',
        );
      if ([...args, ...env].some((text) => text.includes('\0')))
        throw refuse(`has a NUL in arguments or variables of ${path}`, 'give text that a process can have');
      if (timeout !== undefined && (!Number.isInteger(timeout) || timeout < 0 || timeout > MAX_SECONDS))
        throw refuse(`has the timeout ${timeout} for ${path}`, `use 1 to ${MAX_SECONDS} seconds`);
      // Those of this stage are executed inside the container's root.
      if (stage === 'startContainer') continue;
      await checkExecutable(path).catch((error: unknown) => {
        throw refuse(`has ${path}: ${describeError(error)}`, 'install the program on this node', error);
      });
    }
    const limited = added.map(({ path, args, env, timeout }) => ({
      path,
      ...(args.length > 0 ? { args: [...args] } : {}),
      ...(env.length > 0 ? { env: [...env] } : {}),
      ...(timeout ? { timeout } : {}),
    }));
    addHooks(adjusting.spec, stage, limited);
  }
}
