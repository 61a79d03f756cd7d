/** Options of CRI-O: [crio.runtime], what each container gets, and [crio.checkpoint_restore]. */
import { isDeepStrictEqual } from 'node:util';
import { lacks, maps, type PeerOption, type Result, under } from '../option.ts';

const USERNS = 'a pod gets a user namespace by hostUsers: false; the kubelet assigns its ids';
const LOG_SIZE =
  "better: containerLogMaxSize in the kubelet's configuration, which keeps what was written before";
const DEVICES = ['/dev/fuse', '/dev/net/tun'];
const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'KILL',
];

/** `nofile=1024:2048`, of which the hard limit may be missing. */
function ulimits(value: unknown): Result {
  const entries = (value as readonly unknown[]).map((entry) =>
    /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(String(entry)),
  );
  const wrong = (value as readonly unknown[]).filter((_, index) => !entries[index]);
  if (wrong.length > 0) return { cannot: `not in the form name=soft:hard: ${JSON.stringify(wrong)}` };
  if (entries.length === 0) return { cannot: '' };
  const limit = (text: string) => (text.startsWith('-') ? 'unlimited' : text);
  return {
    set: entries.map((match) => {
      const [, name = '', soft = '', hard = soft] = match ?? [];
      return [['container', 'rlimits', name], `${limit(soft)}:${limit(hard)}`];
    }),
  };
}

/** `net.ipv4.ping_group_range = 0 2147483647`, as CRI-O splits it. */
function sysctls(value: unknown): Result {
  const entries = (value as readonly unknown[]).map((entry) => {
    const [name = '', ...rest] = String(entry).split('=');
    return [name.trim().replaceAll('/', '.'), rest.join('=').trim().replaceAll(/\s+/g, ' ')] as const;
  });
  if (entries.length === 0) return { cannot: '' };
  return { set: entries.map(([name, text]) => [['container', 'default_sysctls', name], text]) };
}

/** `NAME=value`. */
function variables(value: unknown): Result {
  const entries = (value as readonly unknown[]).map((entry) => /^([^=]+)=(.*)$/s.exec(String(entry)));
  if (entries.length === 0) return { cannot: '' };
  if (entries.includes(null)) return { cannot: 'not all are in the form NAME=value' };
  return { set: entries.map((match) => [['container', 'default_env', match?.[1] ?? ''], match?.[2] ?? '']) };
}

const options: readonly PeerOption[] = [
  maps('default_ulimits', [], 'container.rlimits', {
    convert: ulimits,
    note: 'one setting for each limit',
    differs: "containers get nofile = 1024:524288 where nothing else is set, and not the daemon's own limits",
  }),
  maps('default_sysctls', [], 'container.default_sysctls', {
    convert: sysctls,
    note: 'one setting for each sysctl; the two that crisp sets by default stay',
    differs:
      'pods with their own network may serve ports below 1024 and ping without capabilities: container.default_sysctls has the two sysctls to set otherwise',
  }),
  maps('default_capabilities', CAPABILITIES, 'container.default_capabilities', {
    convert: (value) =>
      isDeepStrictEqual(value, CAPABILITIES)
        ? { cannot: '' }
        : { set: [[['container', 'default_capabilities'], value]] },
    differs:
      'containers get the fourteen capabilities of containerd and Docker: beside the nine of CRI-O also MKNOD, NET_RAW, SETFCAP, SYS_CHROOT and AUDIT_WRITE (container.default_capabilities)',
  }),
  lacks(
    'add_inheritable_capabilities',
    false,
    'the inheritable set is always empty (CVE-2022-24769): use file capabilities',
  ),
  maps('default_env', [], 'container.default_env', {
    convert: variables,
    note: 'one setting for each variable',
  }),
  lacks('min_injected_gomaxprocs', 0, 'set GOMAXPROCS in the pod; Go 1.25 reads the CPU limit itself'),
  maps('allowed_devices', DEVICES, 'container.allowed_devices', {
    convert: (value) =>
      isDeepStrictEqual(value, DEVICES)
        ? { cannot: '' }
        : { set: [[['container', 'allowed_devices'], value]] },
    note: 'a handler need not allow the annotation',
    differs: 'the annotation devices.crio.io is not read: container.allowed_devices',
  }),
  maps('additional_devices', [], 'container.additional_devices'),
  maps('device_ownership_from_security_context', false, 'container.device_ownership_from_security_context'),
  lacks('privileged_seccomp_profile', '', 'a privileged container has no seccomp profile'),
  lacks(
    'default_mounts',
    undefined,
    'deprecated in CRI-O; use volumes, the mounts of container.base_runtime_spec, a CDI spec or an OCI hook',
  ),
  lacks(
    'default_mounts_file',
    '',
    'no mount is added to containers, also not those of /etc/containers/mounts.conf: use volumes, the mounts of container.base_runtime_spec, a CDI spec or an OCI hook',
    {
      differs:
        'the mounts of /etc/containers/mounts.conf and /usr/share/containers/mounts.conf are not added',
    },
  ),
  maps('absent_mount_sources_to_reject', [], 'container.absent_mount_sources_to_reject'),
  lacks('pids_limit', -1, "set podPidsLimit in the kubelet's configuration"),
  maps('log_size_max', -1, 'container.log_size_max', {
    convert: (value) =>
      Number(value) < 0
        ? { same: 'no limit' }
        : { set: [[['container', 'log_size_max'], value]], note: LOG_SIZE },
    note: LOG_SIZE,
  }),
  lacks('read_only', false, 'set readOnlyRootFilesystem in the pods, by an admission policy'),
  lacks(
    'timezone',
    '',
    'TZ in container.default_env, where images have the time zones; else /etc/localtime among the mounts of container.base_runtime_spec',
  ),
  lacks('uid_mappings', '', USERNS),
  lacks('gid_mappings', '', USERNS),
  lacks('minimum_mappable_uid', -1, USERNS),
  lacks('minimum_mappable_gid', -1, USERNS),
];

export const containerOptions = [
  ...under(['crio', 'runtime'], options),
  ...under(
    ['crio', 'checkpoint_restore'],
    [
      lacks(
        'container_level_enabled',
        'checkpoint_restore',
        "containers can be checkpointed where CRIU works: switch it off by the kubelet's gate ContainerCheckpoint",
        { differs: 'checkpoints work as in CRI-O; a container is restored on nodes with cgroup v1 only' },
      ),
    ],
  ),
];
