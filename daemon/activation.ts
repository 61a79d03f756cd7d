/** Socket activation (sd_listen_fds(3)): systemd has opened the socket of CRI, keeps it, and passes it on to each daemon. */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CrispError } from '#core/errors.ts';

/** The first descriptor that is passed on. */
const FIRST = 3;
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'];

/**
 * The descriptor of the listening socket that was passed on to this process; undefined where none was. The variables are taken
 * out of the environment: the daemon's children get no socket. Throws FailedPrecondition where what was passed on is something
 * else than the one socket at `path`.
 */
export function passedSocket(environment: NodeJS.ProcessEnv, path: string): number | undefined {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = environment;
  for (const name of VARIABLES) delete environment[name];
  // Inherited from a service that started this process: meant for that one.
  if (Number(pid) !== process.pid || Number(count) === 0) return undefined;
  if (count !== '1') throw wrong(`systemd has passed on ${count} sockets`, path);
  const inode = inodeOf(`/proc/self/fd/${FIRST}`);
  const passed = listening().find((socket) => socket.inode === inode);
  if (!passed) throw wrong('what systemd has passed on is not a listening unix socket', path);
  if (!isSame(passed.path, path)) throw wrong(`systemd has passed on the socket ${passed.path}`, path);
  return FIRST;
}

/** Whether PID 1 keeps the socket open at which `path` listens. Other processes' descriptors are for root only. */
export function isKeptByInit(path: string): boolean {
  const inodes = listenersAt(path);
  if (inodes.length === 0) return false;
  return readdirSync('/proc/1/fd').some((fd) => inodes.includes(inodeOf(`/proc/1/fd/${fd}`) ?? ''));
}

/** The inodes of the sockets that accept connections at `path`, in this network namespace. */
export const listenersAt = (path: string): readonly string[] =>
  listening().flatMap((socket) => (isSame(socket.path, path) ? [socket.inode] : []));

const wrong = (what: string, path: string): CrispError =>
  new CrispError('FailedPrecondition', `${what}; crisp serves one, ${path}`, {
    hint: 'give crisp.socket one ListenStream=, the socket of the configuration, or disable that unit',
  });

const isSame = (one: string, other: string): boolean => resolved(one) === resolved(other);

/** With the directory's links resolved, such as /var/run. */
function resolved(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

function inodeOf(descriptor: string): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(descriptor))?.[1];
  } catch {
    return undefined; // closed meanwhile
  }
}

/** `Num RefCount Protocol Flags Type St Inode Path`: streams (type 1) that accept connections (__SO_ACCEPTCON), in this network namespace. */
function listening(): { readonly inode: string; readonly path: string }[] {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n');
  return lines.flatMap((line) => {
    const found = /^\S+ \S+ \S+ 00010000 0001 \S+ +(\d+) (\/.*)$/.exec(line);
    return found ? [{ inode: found[1] ?? '', path: found[2] ?? '' }] : [];
  });
}
