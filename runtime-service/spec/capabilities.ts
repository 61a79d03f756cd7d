import { CrispError } from '#core/errors.ts';
import type { SecurityContext } from '../config.ts';

/** All capabilities by number (include/uapi/linux/capability.h, up to Linux 6.x). */
const ALL = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);

const normalise = (name: string): string => {
  const upper = name.toUpperCase();
  return upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
};

/**
 * The capabilities of a container, in the usual order: add ALL, drop ALL, then the single adds, then the single
 * drops. `held` is the daemon's own bounding set: no process can grant what it lacks, so a privileged container or an add
 * of ALL gets what is available, while a single capability that is named and missing is refused. `defaults` is what a
 * container has where nothing is requested, as far as it is held.
 */
export function capabilitiesOf(
  security: SecurityContext,
  held: ReadonlySet<string>,
  defaults: readonly string[],
): string[] {
  if (security.privileged) return ALL.filter((name) => held.has(name));
  const add = security.addCapabilities.map(normalise);
  const drop = security.dropCapabilities.map(normalise);
  let set = new Set(defaults.map(normalise).filter((name) => held.has(name)));
  if (add.includes('CAP_ALL')) set = new Set(ALL.filter((name) => held.has(name)));
  if (drop.includes('CAP_ALL')) set = new Set();
  for (const name of add) {
    if (name === 'CAP_ALL') continue;
    if (!ALL.includes(name)) {
      throw new CrispError('InvalidArgument', `capability ${name} is unknown`, {
        hint: 'see capabilities(7)',
      });
    }
    if (!held.has(name)) {
      throw new CrispError('FailedPrecondition', `capability ${name} is not held by the daemon itself`, {
        hint: 'run crisp with the full capability set, or do not add this one',
      });
    }
    set.add(name);
  }
  for (const name of drop) set.delete(name);
  return ALL.filter((name) => set.has(name));
}

/** The full name; undefined for one that no kernel has. */
export function knownCapability(name: string): string | undefined {
  const full = normalise(name);
  return ALL.includes(full) ? full : undefined;
}

/** Throws InvalidArgument, beginning with the option, for one that no kernel has. */
export function checkCapabilities(option: string, names: readonly string[]): void {
  const unknown = names.find((name) => knownCapability(name) === undefined);
  if (unknown === undefined) return;
  throw new CrispError('InvalidArgument', `${option}: ${JSON.stringify(unknown)} is no capability`, {
    hint: 'see capabilities(7); names such as CHOWN',
  });
}

/** The names in a capability mask as /proc/PID/status prints it (hexadecimal, `CapBnd`). */
export function capabilityNames(mask: string): Set<string> {
  const bits = BigInt(`0x${mask.trim() || '0'}`);
  return new Set(ALL.filter((_, number) => (bits >> BigInt(number)) & 1n));
}
