/**
 * AppArmor profiles of containers. RuntimeDefault, also where none is requested, is the configured one, or else crisp's own,
 * which is loaded when the first container needs it; any other is the operator's, and must be loaded already.
 */
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import type { SecurityContext } from '../config.ts';
import { findProgram, PROGRAM_ENV } from '../oci-runtime/programs.ts';
import {
  AppArmorKernel,
  type ConfiguredProfile,
  DEFAULT_PROFILE,
  PARSER,
  UNCONFINED,
} from './apparmor-kernel.ts';

/** What the OCI spec is to name. */
export interface AppArmorProfiles {
  /**
   * `configured` is what RuntimeDefault means; empty: crisp's own. undefined: none, and always so for a privileged container,
   * whatever it requests. Throws FailedPrecondition for a named profile that is not loaded, and where crisp's own is requested
   * and cannot be loaded.
   */
  profileOf(security: SecurityContext, configured: string): Promise<string | undefined>;
  /** Throws InvalidArgument, beginning with the option, for a configured profile that the kernel does not have. */
  check(configured: readonly ConfiguredProfile[]): void;
}

/**
 * The usual bounds of a container: files, network and capabilities are for other means to limit; what reaches past the
 * container is not: kernel settings outside of the namespaces, mounts, raw memory, processes under another profile.
 */
export const defaultProfile = (name: string): string => `
profile ${name} flags=(attach_disconnected,mediate_deleted) {
  capability,
  network,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (receive) peer=/usr/{bin,sbin}/{crun,runc},
  signal (receive) peer={crun,runc},
  signal (send, receive) peer=${name},
  ptrace (read, trace, readby, tracedby) peer=${name},
  deny mount,
  deny /proc/* w,
  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty}/** wklx,
  deny /proc/sys/[^kn]** w,
  deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/{kcore,kmem,mem} rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`;

const LIMIT_MS = 20_000;

export class AppArmor implements AppArmorProfiles {
  readonly #processes: Processes;
  readonly #log: Log;
  readonly #kernel: AppArmorKernel;
  #loading: Promise<boolean> | undefined;

  constructor(processes: Processes, log: Log, kernel = new AppArmorKernel()) {
    this.#processes = processes;
    this.#log = log;
    this.#kernel = kernel;
  }

  async profileOf(
    { apparmor, privileged }: SecurityContext,
    configured: string,
  ): Promise<string | undefined> {
    if (privileged) return undefined;
    const enabled = this.#kernel.isEnabled;
    if (apparmor?.type === 'Localhost') return this.#named(apparmor.localhostRef, enabled);
    if (!enabled) return undefined;
    if (apparmor?.type === 'Unconfined') return UNCONFINED;
    if (configured !== '' && configured !== DEFAULT_PROFILE) return this.#configured(configured);
    if (await this.#loadDefault()) return DEFAULT_PROFILE;
    if (apparmor === undefined) return undefined;
    throw new CrispError('FailedPrecondition', `AppArmor profile ${DEFAULT_PROFILE} could not be loaded`, {
      hint: `install ${PARSER}, and see the log of the daemon`,
    });
  }

  check(configured: readonly ConfiguredProfile[]): void {
    if (configured.length === 0 || !this.#kernel.isEnabled) return;
    for (const { option, profile } of configured) {
      if (this.#kernel.knows(profile)) continue;
      throw new CrispError(
        'InvalidArgument',
        `${option}: AppArmor profile ${JSON.stringify(profile)} is not loaded`,
        { hint: `load it on this node: ${PARSER} -r FILE` },
      );
    }
  }

  /** The daemon has started with it: it was unloaded since. */
  #configured(name: string): string {
    if (this.#kernel.knows(name)) return name;
    throw new CrispError(
      'FailedPrecondition',
      `AppArmor profile ${JSON.stringify(name)}, the configured one, is not loaded`,
      { hint: `load it on this node: ${PARSER} -r FILE; or change apparmor_profile of crisp.toml` },
    );
  }

  #named(name: string, enabled: boolean): string {
    if (!enabled) {
      throw new CrispError(
        'FailedPrecondition',
        `AppArmor profile ${name} is requested, but the kernel has no AppArmor`,
        { hint: 'run the pod on a node with AppArmor, or drop the profile' },
      );
    }
    if (this.#kernel.knows(name)) return name;
    throw new CrispError('FailedPrecondition', `AppArmor profile ${JSON.stringify(name)} is not loaded`, {
      hint: `load it on this node: ${PARSER} -r FILE`,
    });
  }

  /** Whether it is loaded. One that was unloaded is loaded again; a failure is logged and retried. */
  async #loadDefault(): Promise<boolean> {
    if (this.#kernel.loaded()?.has(DEFAULT_PROFILE)) return true;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #load(): Promise<boolean> {
    try {
      const argv = [findProgram(PARSER), '-Kr'];
      const request = { argv, env: PROGRAM_ENV, input: defaultProfile(DEFAULT_PROFILE), limit: 4096 };
      const { status, stderr } = await this.#processes.run(request, AbortSignal.timeout(LIMIT_MS));
      if (status.code === 0) return true;
      this.#log.warn(
        { profile: DEFAULT_PROFILE, said: stderr.toString('utf8') },
        'the AppArmor profile is refused',
      );
    } catch (error) {
      this.#log.warn(
        { profile: DEFAULT_PROFILE, error: String(error) },
        'no AppArmor profile for containers',
      );
    }
    return false;
  }
}
