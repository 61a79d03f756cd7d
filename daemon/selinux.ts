/** Whether SELinux is in use, and what labels are then made of. Decided at the start: a policy is loaded once a boot. */
import type { Config } from '#config/index.ts';
import { CrispError, describeError } from '#core/errors.ts';
import { atLevel, levelOf, type SelinuxDefaults } from '#core/model/selinux.ts';
import type { Log } from '#core/operation.ts';
import type { Selinux } from '#linux/ports/selinux.ts';

type Options = Config['selinux'];

/**
 * Undefined where SELinux is not in use: by the configuration, or with `auto` where the node has none, or a policy without
 * containers. Throws FailedPrecondition where `on` demands it.
 */
export async function selinuxDefaults(
  options: Options,
  selinux: Selinux,
  log: Pick<Log, 'info' | 'warn'>,
): Promise<SelinuxDefaults | undefined> {
  if (options.mode === 'off') return undefined;
  const status = selinux.status();
  if (!status) {
    if (options.mode === 'auto') return undefined;
    throw missing('SELinux is not enabled on this node', 'enable it, or set selinux.mode = "auto"');
  }
  try {
    const defaults = await contextsOf(options, selinux);
    const { process, files } = defaults;
    log.info({ enforcing: status.enforcing, process, files }, 'pods get SELinux labels');
    return defaults;
  } catch (error) {
    if (options.mode === 'on') throw error;
    log.warn({ error: describeError(error) }, 'SELinux is enabled, but pods get no labels');
    return undefined;
  }
}

const POLICY_HINT = 'install the policy of containers (container-selinux; Debian: selinux-policy-default)';

async function contextsOf(options: Options, selinux: Selinux): Promise<SelinuxDefaults> {
  const contexts = await selinux.containerContexts();
  const [process, files] = [contexts.get('process'), contexts.get('file')];
  if (!process || !files) throw missing('the SELinux policy has no contexts for containers', POLICY_HINT);
  try {
    return {
      process: selinux.canonical(process),
      files: selinux.canonical(files),
      readonlyFiles: selinux.canonical(contexts.get('ro_file') ?? files),
      categoryRange: usableRange(options.categoryRange, { process, files }, selinux),
      disableForHostNetwork: options.disableForHostNetwork,
    };
  } catch (error) {
    throw missing(describeError(error), POLICY_HINT);
  }
}

/** Throws where the policy has fewer categories than configured. */
function usableRange(
  range: number,
  labels: Pick<SelinuxDefaults, 'process' | 'files'>,
  selinux: Selinux,
): number {
  const [sensitivity = ''] = levelOf(labels.process).split(/[-:]/);
  if (sensitivity !== '') selinux.canonical(atLevel(labels, `${sensitivity}:c0,c${range - 1}`).process);
  return range;
}

const missing = (message: string, hint: string): CrispError =>
  new CrispError('FailedPrecondition', `selinux.mode: ${message}`, { hint });
