/** Where crun works: on cgroup v2, or on v1 with the cgroup2 tree out of its sight, in a mount namespace of the test's. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { after } from 'node:test';

const HIDE = 'umount -l /sys/fs/cgroup/unified && echo && exec sleep infinity';

/** What to put before the daemon's argv. One namespace for all daemons of a test file: pins outlive a restart. */
export async function crunWrapper(): Promise<string[]> {
  if (!existsSync('/sys/fs/cgroup/unified/cgroup.controllers')) return [];
  const holder = spawn('unshare', ['-m', '--propagation', 'private', 'sh', '-c', HIDE], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  const end = () => holder.kill('SIGKILL');
  process.once('exit', end);
  after(end);
  return ['nsenter', '-t', `${holder.pid}`, '-m', '--'];
}
