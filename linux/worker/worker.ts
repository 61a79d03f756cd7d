/** The thread that visits namespaces: takes one request, does it with synchronous calls only, answers, waits. */

import { closeSync, readlinkSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { CrispError, describeError } from '#core/errors.ts';
import { beginConnection, type Family } from '../io/begin-connection.ts';
import { check } from '../libc/errno.ts';
import { kill, sethostname, waitpid } from '../libc/libc.ts';
import { type SpawnedPause, spawnPause } from '../namespace/pause-spawn.ts';
import { NamespaceLost, NamespaceThread, pinAt, pinFile, type Visited } from '../namespace/setns.ts';
import { writeSysctls } from '../namespace/sysctl.ts';
import { type Carrying, carriesFrames, hasLink, join, prepareLeave } from '../net/bridge.ts';
import { forgetUdp } from '../net/conntrack.ts';
import type { Removable } from '../net/link-removal.ts';
import { LOOPBACK, RouteSocket } from '../net/rtnetlink.ts';
import type { JoinedBridge, JoinRequest, LeaveRequest, NamespaceKind } from '../ports/kernel.ts';
import type { ProcessStats } from '../ports/stats.ts';
import { countProcesses, type GroupFile, readGroups, readTexts, Walk, type WalkState } from './readings.ts';
import { type NamespaceSpawn, type NamespaceSpawnRequest, spawnInNamespace } from './spawn-in-namespace.ts';

/** What the thread says first. */
export interface WorkerReady {
  /** Its number among the threads of the process. */
  readonly task: number;
  /** What it has open for as long as it lives; nothing closes them with the thread. */
  readonly descriptors: readonly number[];
}

/** What is set inside the namespaces, as far as the pod has its own. */
export interface Settings {
  readonly kinds: readonly Visited[];
  readonly hostname: string | undefined;
  readonly sysctls: Readonly<Record<string, string>>;
}

export type WorkerRequest =
  /** Makes namespaces and a pause process in them. */
  | {
      readonly act: 'make';
      readonly settings: Settings;
      readonly pins: string;
      readonly program: string;
      readonly argv: readonly string[];
    }
  /** Sets up and pins the namespaces that a process has made for itself; `owner` is the host's id of their root. */
  | {
      readonly act: 'adopt';
      readonly settings: Settings;
      readonly pins: string;
      readonly pinned: readonly NamespaceKind[];
      readonly pid: number;
      readonly owner: number;
    }
  | { readonly act: 'empty network'; readonly path: string }
  | { readonly act: 'join bridge'; readonly request: JoinRequest }
  /** The answer is what remains to be removed. */
  | { readonly act: 'leave bridge'; readonly request: LeaveRequest }
  | { readonly act: 'has link'; readonly netns: string; readonly interfaceName: string }
  /** Begins a connection to localhost; the answer is its descriptor. */
  | { readonly act: 'connect'; readonly netns: string; readonly family: Family; readonly port: number }
  | { readonly act: 'spawn apart'; readonly request: NamespaceSpawnRequest }
  /** Whether a link of the node carries frames. */
  | { readonly act: 'carries'; readonly name: string }
  | { readonly act: 'forget udp'; readonly families: readonly (4 | 6)[]; readonly ports: readonly number[] }
  /** Reads that belong together, in one message: waking a thread costs more than most of them. */
  | { readonly act: 'several'; readonly requests: readonly Reading[] }
  /** The texts of small files of the kernel. */
  | { readonly act: 'read'; readonly paths: readonly string[] }
  | {
      readonly act: 'read groups';
      readonly files: readonly GroupFile[];
      readonly groups: readonly string[];
    }
  | {
      readonly act: 'count processes';
      readonly directories: readonly string[];
      readonly descriptors: boolean;
    }
  /** The next slice of a walk through a tree; the first begins it. */
  | { readonly act: 'walk'; readonly walk: number; readonly path: string }
  | { readonly act: 'end walk'; readonly walk: number };

/** Requests that only look. */
export type Reading = Extract<WorkerRequest, { act: 'read' | 'read groups' | 'count processes' }>;

/** What each act answers. */
export interface Answers {
  readonly make: SpawnedPause | undefined;
  readonly adopt: undefined;
  readonly 'empty network': undefined;
  readonly 'join bridge': JoinedBridge & Carrying;
  readonly 'leave bridge': Removable | undefined;
  readonly 'has link': boolean;
  readonly 'spawn apart': NamespaceSpawn;
  readonly connect: number;
  readonly carries: boolean;
  readonly 'forget udp': undefined;
  readonly several: readonly Answers[Reading['act']][];
  readonly read: readonly (string | undefined)[];
  readonly 'read groups': readonly (string | undefined)[];
  readonly 'count processes': readonly ProcessStats[];
  readonly walk: WalkState;
  readonly 'end walk': undefined;
}

export type WorkerReply =
  | { readonly value: Answers[keyof Answers] }
  | {
      readonly error: {
        code: CrispError['code'] | undefined;
        message: string;
        hint: string | undefined;
        errno: string | undefined;
      };
      readonly stranded: boolean;
    };

const SIGKILL = 9;
const thread = new NamespaceThread();
const walks = new Map<number, Walk>();

function configure(settings: Settings, owner: number): void {
  const { kinds, hostname, sysctls } = settings;
  if (kinds.includes('net')) bringLoopbackUp();
  if (kinds.includes('uts') && hostname !== undefined) setHostname(hostname);
  writeSysctls(sysctls, (write) => (owner === 0 ? write() : thread.asUser(owner, write)));
}

function bringLoopbackUp(): void {
  using links = new RouteSocket();
  links.setUp(LOOPBACK);
}

function setHostname(name: string): void {
  check(sethostname(name, Buffer.byteLength(name)), `set the host name ${JSON.stringify(name)}`);
}

function make(request: Extract<WorkerRequest, { act: 'make' }>): SpawnedPause | undefined {
  const { settings, pins, program, argv } = request;
  let made: SpawnedPause | undefined;
  try {
    thread.inNew(settings.kinds, () => {
      configure(settings, 0);
      made = spawnPause(program, argv);
    });
    for (const kind of settings.kinds) pinAt(pins, kind, `/proc/${made?.pid}/ns/${kind}`);
    return made;
  } catch (error) {
    if (made) discard(made);
    throw error;
  }
}

function discard(made: SpawnedPause): void {
  closeSync(made.start);
  closeSync(made.status);
  kill(made.pid, SIGKILL);
  waitpid(made.pid, new Int32Array(1), 0);
}

function answer(request: WorkerRequest): Answers[keyof Answers] {
  switch (request.act) {
    case 'make':
      return make(request);
    case 'adopt':
      thread.inThoseOf(
        request.pid,
        request.settings.kinds.filter((kind) => kind !== 'pid'),
        () => {
          configure(request.settings, request.owner);
        },
      );
      for (const kind of request.pinned) pinAt(request.pins, kind, `/proc/${request.pid}/ns/${kind}`);
      return undefined;
    case 'empty network':
      thread.inNew(['net'], () => pinFile(request.path, '/proc/thread-self/ns/net'));
      return undefined;
    case 'join bridge':
      return join(thread, request.request);
    case 'leave bridge':
      return prepareLeave(thread, request.request);
    case 'has link':
      return hasLink(thread, request);
    case 'spawn apart':
      return spawnInNamespace(thread, request.request);
    case 'connect':
      return thread.inNetwork(request.netns, () => beginConnection(request.family, request.port));
    case 'carries':
      return carriesFrames(request.name);
    case 'forget udp':
      for (const family of request.families) forgetUdp(family, new Set(request.ports));
      return undefined;
    case 'several':
      return request.requests.map(read);
    case 'read':
    case 'read groups':
    case 'count processes':
      return read(request);
    case 'walk':
      return walkOn(request.walk, request.path);
    case 'end walk':
      endWalk(request.walk);
      return undefined;
  }
}

function read(request: Reading): Answers[Reading['act']] {
  if (request.act === 'read') return readTexts(request.paths);
  if (request.act === 'read groups') return readGroups(request.files, request.groups);
  return countProcesses(request.directories, request.descriptors);
}

function walkOn(id: number, path: string): WalkState {
  const walk = walks.get(id) ?? new Walk(path);
  walks.set(id, walk);
  const state = walk.slice();
  if (state.done) endWalk(id);
  return state;
}

function endWalk(id: number): void {
  walks.get(id)?.[Symbol.dispose]();
  walks.delete(id);
}

const task = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
parentPort?.postMessage({ task, descriptors: thread.descriptors } satisfies WorkerReady);
parentPort?.on('message', (request: WorkerRequest) => {
  try {
    parentPort?.postMessage({ value: answer(request) } satisfies WorkerReply);
  } catch (error) {
    const own = error instanceof CrispError ? error : undefined;
    const { code, hint, errno } = own ?? {};
    const stranded = error instanceof NamespaceLost;
    const message = own ? own.message : describeError(error);
    parentPort?.postMessage({ error: { code, message, hint, errno }, stranded } satisfies WorkerReply);
    if (stranded) process.exit(1); // ends this thread; its namespaces end with it
  }
});
