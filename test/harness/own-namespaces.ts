import { spawnSync } from 'node:child_process';

/** Prefixes of an argv: network and mount namespaces of its own, and in these a loopback that is up. */
export const ISOLATED = ['unshare', '--mount', '--net', '--propagation', 'private', '--'];
export const WITH_LOOPBACK = ['sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

/** Runs a script of this Node in such namespaces, with its output here; its exit status, null after a signal. */
export function runIsolated(script: string, environment: Readonly<Record<string, string>>): number | null {
  const [program = '', ...args] = [...ISOLATED, ...WITH_LOOPBACK, process.execPath, script];
  return spawnSync(program, args, {
    stdio: 'inherit',
    env: { ...process.env, ...environment, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
  }).status;
}
