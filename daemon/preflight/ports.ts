/** TCP addresses and unix sockets of the configuration: whether they can be bound, and who listens there. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { describeError } from '#core/errors.ts';
import { endpointOf, tryAddress } from '#cri/streaming/address.ts';
import { listenersAt } from '../activation.ts';

export type PortState =
  | { readonly state: 'free' }
  | { readonly state: 'used'; readonly pid: number | undefined; readonly program: string }
  | { readonly state: 'unusable'; readonly why: string };

/** Of `127.0.0.1:9090`. */
export async function portState(address: string): Promise<PortState> {
  try {
    await tryAddress(address);
    return { state: 'free' };
  } catch (error) {
    const why = describeError(error);
    if (!why.includes('EADDRINUSE')) return { state: 'unusable', why };
    const pid = listenerOf(endpointOf(address).port);
    return { state: 'used', pid, program: pid === undefined ? 'another program' : nameOf(pid) };
  }
}

/** `free`: also where a socket is left from a process that has ended. */
export type ListenerState =
  | { readonly state: 'free' | 'not a socket' }
  | { readonly state: 'used'; readonly pid: number | undefined; readonly program: string };

/** Of the path of a unix socket, without a connection. */
export function listenerState(path: string): ListenerState {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found && !found.isSocket()) return { state: 'not a socket' };
  const sockets = listenersAt(path);
  if (sockets.length === 0) return { state: 'free' };
  const pid = holderOf(new Set(sockets.map((inode) => `socket:[${inode}]`)));
  return { state: 'used', pid, program: pid === undefined ? 'another program' : nameOf(pid) };
}

const LISTEN = '0A';

/** A process with a listening socket of the port; undefined where none of this pid namespace has one. */
function listenerOf(port: number): number | undefined {
  const sockets = new Set(
    ['tcp', 'tcp6'].flatMap((table) =>
      textOf(`/proc/self/net/${table}`)
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter(([, local = '', , state]) => state === LISTEN && portOf(local) === port)
        .map((fields) => `socket:[${fields[9]}]`),
    ),
  );
  return holderOf(sockets);
}

/** The first process that has one of the sockets open; they are named as links of descriptors are. */
function holderOf(sockets: ReadonlySet<string>): number | undefined {
  if (sockets.size === 0) return undefined;
  const pids = namesIn('/proc').filter((name) => /^\d+$/.test(name));
  const found = pids.find((pid) => namesIn(`/proc/${pid}/fd`).some((fd) => sockets.has(linkOf(pid, fd))));
  return found === undefined ? undefined : Number(found);
}

/** `0100007F:1F90`. */
const portOf = (local: string): number => Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16);

const nameOf = (pid: number): string => textOf(`/proc/${pid}/comm`).trim() || 'a process';

function linkOf(pid: string, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return '';
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // it has ended
  }
}
