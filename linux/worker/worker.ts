/** The namespace worker: takes one request, carries it out with synchronous calls only, replies, waits. */

import { closeSync, readlinkSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { type SerializedError, serializeError } from '#core/errors.ts';
import { beginConnection, type Family } from '../io/begin-connection.ts';
import { check } from '../libc/errno.ts';
import { kill, sethostname, waitpid } from '../libc/libc.ts';
import { threadLoaded } from '../libc/worker-thread.ts';
import { type SpawnedPause, spawnPause } from '../namespace/pause-spawn.ts';
import { NamespaceLost, NamespaceThread, pinAt, pinFile, type ReversibleKind } from '../namespace/setns.ts';
import { writeSysctls } from '../namespace/sysctl.ts';
import { findRemovable, isThere, limitLink } from '../net/bandwidth.ts';
import { carriesFrames, hasLink, join, type PortState, prepareLeave } from '../net/bridge.ts';
import { forgetUdp } from '../net/conntrack.ts';
import { inspectLink } from '../net/inspect-link.ts';
import type { Removable } from '../net/link-removal.ts';
import { type BegunPair, beginPair, finishPair } from '../net/pair.ts';
import { LOOPBACK, RtnetlinkSocket } from '../net/rtnetlink.ts';
import { tuneLink } from '../net/tune-link.ts';
import type {
  InspectRequest,
  JoinedBridge,
  JoinRequest,
  LeaveRequest,
  LimitRequest,
  NamespaceKind,
  PairRequest,
  PodLink,
  TuneRequest,
  UdpFlows,
} from '../ports/kernel.ts';
import type { ProcessStats } from '../ports/stats.ts';
import { countProcesses, type GroupFile, readGroups, readTexts, Walk, type WalkState } from './readings.ts';
import { type NamespaceSpawn, type NamespaceSpawnRequest, spawnInNamespace } from './spawn-in-namespace.ts';

threadLoaded();

/** The thread's first message. */
export interface WorkerReady {
  /** Its thread id (gettid(2)). */
  readonly task: number;
  /** What it keeps open while it lives; nothing closes them with the thread. */
  readonly descriptors: readonly number[];
}

/** What is set inside the namespaces, as far as the pod has its own. */
export interface Settings {
  readonly kinds: readonly ReversibleKind[];
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
  | { readonly act: 'pin empty network'; readonly path: string }
  | { readonly act: 'join bridge'; readonly request: JoinRequest }
  | { readonly act: 'begin pair'; readonly request: PairRequest }
  /** The result is false while the addresses of the pair are not settled. */
  | { readonly act: 'finish pair'; readonly request: PairRequest; readonly begun: BegunPair }
  | { readonly act: 'limit'; readonly request: LimitRequest }
  /** A link of the node, to be removed. */
  | { readonly act: 'find link'; readonly name: string }
  | { readonly act: 'is there'; readonly name: string }
  /** The result is what remains to be removed. */
  | { readonly act: 'leave bridge'; readonly request: LeaveRequest }
  | {
      readonly act: 'has link';
      readonly netns: string;
      readonly interfaceName: string;
    }
  /** Begins a connection to localhost; the result is its descriptor. */
  | { readonly act: 'connect'; readonly netns: string; readonly family: Family; readonly port: number }
  | { readonly act: 'spawn in namespace'; readonly request: NamespaceSpawnRequest }
  /** Whether a link of the node carries frames. */
  | { readonly act: 'is up'; readonly name: string }
  | { readonly act: 'inspect link'; readonly request: InspectRequest }
  | { readonly act: 'tune link'; readonly request: TuneRequest }
  | { readonly act: 'forget udp'; readonly flows: UdpFlows }
  /** Reads that belong together, in one message: waking a thread costs more than most of them. */
  | { readonly act: 'batch'; readonly requests: readonly Reading[] }
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
  | { readonly act: 'close walk'; readonly walk: number };

/** Requests that only read. */
export type Reading = Extract<WorkerRequest, { act: 'read' | 'read groups' | 'count processes' }>;

/** The result of each request. */
export interface WorkerResults {
  readonly make: SpawnedPause | undefined;
  readonly adopt: undefined;
  readonly 'pin empty network': undefined;
  readonly 'join bridge': JoinedBridge & PortState;
  readonly 'begin pair': BegunPair & { readonly done: boolean };
  readonly 'finish pair': boolean;
  readonly limit: string | undefined;
  readonly 'find link': Removable | undefined;
  readonly 'is there': boolean;
  readonly 'leave bridge': Removable | undefined;
  readonly 'has link': boolean;
  readonly 'inspect link': PodLink | undefined;
  readonly 'spawn in namespace': NamespaceSpawn;
  readonly connect: number;
  readonly 'is up': boolean;
  readonly 'tune link': undefined;
  readonly 'forget udp': undefined;
  readonly batch: readonly WorkerResults[Reading['act']][];
  readonly read: readonly (string | undefined)[];
  readonly 'read groups': readonly (string | undefined)[];
  readonly 'count processes': readonly ProcessStats[];
  readonly walk: WalkState;
  readonly 'close walk': undefined;
}

export type WorkerReply =
  | { readonly value: WorkerResults[keyof WorkerResults] }
  | {
      readonly error: SerializedError;
      readonly threadLost: boolean;
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
  using links = new RtnetlinkSocket();
  links.setUp(LOOPBACK);
}

function setHostname(name: string): void {
  check(sethostname(name, Buffer.byteLength(name)), `set the host name ${JSON.stringify(name)}`);
}

function make(request: Extract<WorkerRequest, { act: 'make' }>): SpawnedPause | undefined {
  const { settings, pins, program, argv } = request;
  let made: SpawnedPause | undefined;
  try {
    thread.inNewNamespaces(settings.kinds, () => {
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

function handle(request: WorkerRequest): WorkerResults[keyof WorkerResults] {
  switch (request.act) {
    case 'make':
      return make(request);
    case 'adopt':
      thread.inNamespacesOf(
        request.pid,
        request.settings.kinds.filter((kind) => kind !== 'pid'),
        () => {
          configure(request.settings, request.owner);
        },
      );
      for (const kind of request.pinned) pinAt(request.pins, kind, `/proc/${request.pid}/ns/${kind}`);
      return undefined;
    case 'pin empty network':
      thread.inNewNamespaces(['net'], () => pinFile(request.path, '/proc/thread-self/ns/net'));
      return undefined;
    case 'join bridge':
      return join(thread, request.request);
    case 'begin pair': {
      const begun = beginPair(thread, request.request);
      return { ...begun, done: finishPair(thread, request.request, begun) };
    }
    case 'finish pair':
      return finishPair(thread, request.request, request.begun);
    case 'limit':
      return limitLink(request.request);
    case 'find link':
      return findRemovable(request.name);
    case 'is there':
      return isThere(request.name);
    case 'leave bridge':
      return prepareLeave(thread, request.request);
    case 'has link':
      return hasLink(thread, request);
    case 'inspect link':
      return inspectLink(thread, request.request);
    case 'tune link':
      tuneLink(thread, request.request);
      return undefined;
    case 'spawn in namespace':
      return spawnInNamespace(thread, request.request);
    case 'connect':
      return thread.inNetwork(request.netns, () => beginConnection(request.family, request.port));
    case 'is up':
      return carriesFrames(request.name);
    case 'forget udp':
      forgetUdp(request.flows);
      return undefined;
    case 'batch':
      return request.requests.map(read);
    case 'read':
    case 'read groups':
    case 'count processes':
      return read(request);
    case 'walk':
      return continueWalk(request.walk, request.path);
    case 'close walk':
      endWalk(request.walk);
      return undefined;
  }
}

function read(request: Reading): WorkerResults[Reading['act']] {
  if (request.act === 'read') return readTexts(request.paths);
  if (request.act === 'read groups') return readGroups(request.files, request.groups);
  return countProcesses(request.directories, request.descriptors);
}

function continueWalk(id: number, path: string): WalkState {
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
    parentPort?.postMessage({ value: handle(request) } satisfies WorkerReply);
  } catch (error) {
    const threadLost = error instanceof NamespaceLost;
    parentPort?.postMessage({ error: serializeError(error), threadLost } satisfies WorkerReply);
    if (threadLost) process.exit(1); // ends this thread; its namespaces end with it
  }
});
