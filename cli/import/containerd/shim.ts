/** Options of a runtime handler for its shim, of which the one for OCI runtimes, io.containerd.runc.v2, has a counterpart. */
import { lacks, maps, moot, type PeerOption, type Result, type Surroundings } from '../option.ts';
import { RUNTIME } from './names.ts';

export const CONTAINERD = ['plugins', RUNTIME, 'containerd'];
export const RUNTIMES = [...CONTAINERD, 'runtimes'];
const DEFAULT_NAME = [...CONTAINERD, 'default_runtime_name'];
/** The shims that execute an OCI runtime by its command line. */
export const RUNC_SHIM = /^io\.containerd\.runc\.v[12]$/;
export const NO_SHIM =
  'shims are not executed: name an OCI runtime in path (gVisor: runsc), or keep these pods on nodes with containerd';

/** A handler whose shim crisp does not execute is not made. */
export const isExecuted = ({ get }: Surroundings): boolean =>
  RUNC_SHIM.test(String(get(...RUNTIMES, '*', 'runtime_type')));

function binaryName(value: unknown, around: Surroundings): Result {
  const [name = ''] = around.names;
  if (!isExecuted(around)) return value === '' ? { same: NO_SHIM } : { cannot: NO_SHIM };
  const path = value === '' ? 'runc' : value;
  if (path === name) return { same: `the same here: ${name} in PATH` };
  return { set: [[['runtime', 'handlers', name, 'path'], path]] };
}

/** crisp has one driver, as the kubelet has: that of the default runtime. */
function systemdCgroup(value: unknown, { names, get }: Surroundings): Result {
  const isDefault = names[0] === get(...DEFAULT_NAME);
  const ofDefault = get(...RUNTIMES, String(get(...DEFAULT_NAME)), 'options', 'SystemdCgroup');
  if (!isDefault && value !== ofDefault)
    return { cannot: 'one driver is for all handlers: cgroup.driver is that of the default runtime' };
  return value === true
    ? { same: 'the same here: systemd where it is PID 1' }
    : { set: [[['cgroup', 'driver'], 'cgroupfs']], note: 'it must be the driver of the kubelet' };
}

export const shimOptions: readonly PeerOption[] = [
  maps('BinaryName', '', 'runtime.handlers.*.path', { convert: binaryName }),
  maps('SystemdCgroup', false, 'cgroup.driver', {
    convert: systemdCgroup,
    note: 'that of the default runtime: false is "cgroupfs", true is "auto"',
  }),
  moot('Root', '', 'each handler has its own root in the state directory'),
  moot('ShimCgroup', '', 'the monitors of a pod are in a cgroup of that pod'),
  lacks('NoPivotRoot', false, 'pivot_root is always used: a root on a ramfs is not supported'),
  lacks('NoNewKeyring', false, 'the OCI runtime makes a new keyring for each container'),
  moot('IoUid', 0, 'conmon owns the pipes of a container'),
  moot('IoGid', 0, 'conmon owns the pipes of a container'),
  maps('CriuPath', '', 'runtime.handlers.*.options.*', {
    note: 'the option criu, which runc up to 1.1 has',
    convert: (value, { names: [name = ''] }) =>
      value === ''
        ? { same: 'criu in PATH' }
        : { set: [[['runtime', 'handlers', name, 'options', 'criu'], value]] },
  }),
  moot(
    'CriuImagePath',
    '',
    'the files of a checkpoint are in the state directory until they are in the archive',
  ),
  moot(
    'CriuWorkPath',
    '',
    'the files of a checkpoint are in the state directory until they are in the archive',
  ),
  lacks('TaskApiAddress', '', NO_SHIM),
  lacks('TaskApiVersion', 0, NO_SHIM),
  lacks('TypeUrl', '', NO_SHIM),
  lacks('ConfigPath', '', NO_SHIM),
  lacks('ConfigBody', '', NO_SHIM),
  lacks('**', undefined, NO_SHIM),
];
