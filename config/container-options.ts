/** What containers get: by their handler, and all of them. */

import type { Option } from './node.ts';
import { choice, flag, integer, list, optionalPath, path, section, size, table, text } from './option.ts';
import { reloadableSection } from './reloadable.ts';

const rlimit = text('', '"soft:hard", one number for both, or "unlimited".', {
  pattern: /^(\d+|unlimited)(:(\d+|unlimited))?$/,
  expected: '"soft:hard", "number" or "unlimited"',
});
const variable = text('', 'Value of the variable.');

/** Those that a handler has for its own containers, `[container]` for those of all handlers. */
const shared = {
  privileged_without_host_devices: flag(
    false,
    'A privileged container has the devices that are requested for it, not all devices of the node.',
  ),
  privileged_without_host_devices_all_devices_allowed: flag(
    false,
    'Together with privileged_without_host_devices: it may use every device, whose node it makes itself.',
  ),
  cgroup_writable: flag(
    false,
    'On cgroup v2 a container may write to its own cgroups: root in it makes cgroups below them. Where cgroup2 is mounted without nsdelegate (systemd sets it) it can lift its own limits, not those of its pod.',
  ),
  allowed_annotations: list(
    [],
    "Annotations of pods and containers, by prefix of their keys, that crisp acts upon (docs/operators.md has the list) or passes to the OCI runtime. A handler's are in addition to those of [container].",
    text('', '', {
      pattern: /^(?!run\.oci(\.|$))[^\s,]+$/,
      expected: 'a prefix of a key, not run.oci: such annotations configure crun and are never passed',
    }),
  ),
  apparmor_profile: text(
    '',
    'AppArmor profile of containers that name none, where the kernel has AppArmor: one that is loaded, or "unconfined"; a handler\'s goes before that of [container]. Empty: crisp-default, which crisp loads itself.',
    { pattern: /^(\S(.*\S)?)?$/, expected: 'the name of a profile, without blanks at its ends' },
  ),
  additional_devices: list(
    [],
    'Devices of every container, a handler\'s beside those of [container]: "/dev/NAME", "/dev/NAME:rw" or "/dev/NAME:/dev/OTHER:rwm".',
    text('', '', {
      pattern: /^(?!.*\/\.\.(\/|:|$))\/dev\/[^:,]+(:\/dev\/[^:,]+)?(:[rwm]{1,3})?$/,
      expected: 'a device such as "/dev/fuse" or "/dev/sdc:/dev/xvdc:rwm"',
    }),
  ),
  base_runtime_spec: optionalPath(
    "JSON file of an OCI spec whose variables, rlimits, capabilities, mounts and hooks are below what image and pod set; a handler's goes before that of [container]. Read at the start and at a reload.",
  ),
};

export const handler = section(
  'A runtime handler: pods name it in runtime_handler (RuntimeClass). What is true in [container] is so for its containers, too.',
  {
    path: text(
      '',
      'OCI runtime: absolute path, or a name looked up in PATH. Empty: the name of the handler.',
    ),
    options: table(
      'Global flags of the OCI runtime, each passed as --name=value.',
      text('', 'Value of the flag.'),
    ),
    sandbox: choice(
      ['pause', 'runtime'],
      'pause',
      'What creates the sandbox: crisp (pause), or the runtime itself (virtual machines).',
    ),
    cni_conf_dir: optionalPath("Directory of its pods' network configurations; empty: cni.conf_dir."),
    cni_max_networks: integer(
      0,
      { min: 0, max: 16 },
      'How many networks its pods are attached to; 0: cni.max_networks.',
    ),
    seccomp_profile: optionalPath(
      'JSON profile of RuntimeDefault for its containers; empty: that of seccomp.default_profile.',
    ),
    default_capabilities: list(
      [],
      'Capabilities of a container that is not privileged, before those that it adds and drops; empty: those of [container].',
    ),
    rlimits: table('rlimits of its containers, each before that of [container.rlimits].', rlimit),
    default_env: table('Variables of its containers, each before that of [container.default_env].', variable),
    ...shared,
  },
);

/** conmon reads the output of a container in pieces of this size, and writes a piece as a whole. */
const LOG_PIECE = 8192;

/** Bytes; 0: no limit. */
function logSize(doc: string): Option<number> {
  const option = size('0', { min: '0', max: '1TiB' }, doc);
  const parse = (value: unknown): number | undefined => {
    const bytes = option.parse(value);
    return bytes === undefined || (bytes > 0 && bytes < LOG_PIECE) ? undefined : bytes;
  };
  return { ...option, parse, expected: 'a size from "8KiB" on, or 0' };
}

export const container = reloadableSection('Containers of all handlers.', {
  rlimits: table('rlimits of containers, by name without RLIMIT_.', rlimit, { nofile: '1024:524288' }),
  default_sysctls: table(
    'Set in each pod that does not set them itself, where it has the namespace for itself; keys in dotted form.',
    text('', 'Value of the sysctl.'),
    // As containerd 2 and Docker: without capabilities, port 80 can be served and ping works.
    { 'net.ipv4.ip_unprivileged_port_start': '0', 'net.ipv4.ping_group_range': '0 2147483647' },
  ),
  default_capabilities: list(
    [
      'CHOWN',
      'DAC_OVERRIDE',
      'FSETID',
      'FOWNER',
      'MKNOD',
      'NET_RAW',
      'SETGID',
      'SETUID',
      'SETFCAP',
      'SETPCAP',
      'NET_BIND_SERVICE',
      'SYS_CHROOT',
      'KILL',
      'AUDIT_WRITE',
    ],
    'Capabilities of a container that is not privileged, before those that it adds and drops.',
  ),
  default_env: table(
    'Variables of each container in which neither its image nor its pod sets them.',
    variable,
  ),
  device_ownership_from_security_context: flag(
    false,
    'Devices that are requested belong to runAsUser and runAsGroup, where the container has them, not to their owner on the node.',
  ),
  allowed_devices: list(
    [],
    'Devices that pods may name in the annotation io.kubernetes.cri-o.Devices (devices.crio.io), such as "/dev/fuse"; empty: it is not read.',
    path('', ''),
  ),
  passwd_entry: flag(
    true,
    'A user and a group that the image does not have get lines in its /etc/passwd and /etc/group, where the user cannot write to these files.',
  ),
  blockio_config_file: optionalPath(
    'YAML file of the classes of block IO that pods may name in allowed annotations, in the form of containerd and CRI-O (goresctrl). Read at the start and at a reload; its devices are looked up for each container.',
  ),
  rdt_classes: list(
    [],
    'Groups of /sys/fs/resctrl that pods may name as RDT class in allowed annotations; crisp makes and changes none.',
    text('', '', {
      pattern: /^(?!(info|mon_groups|mon_data)$)[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/,
      expected: 'the name of a directory in /sys/fs/resctrl',
    }),
  ),
  log_size_max: logSize(
    'At this size a log is begun anew, whatever the kubelet does, and what was in it is lost: a last resort far above its containerLogMaxSize, for containers that write faster than it looks. 0: no limit.',
  ),
  absent_mount_sources_to_reject: list(
    [],
    'Paths of the node that are not made as directories: a container with a mount of one that is missing is refused.',
    path('', ''),
  ),
  ...shared,
});
