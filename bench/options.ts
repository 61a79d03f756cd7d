/** The command line of the bench. */
import { parseArgs } from 'node:util';
import { CrispError } from '#core/errors.ts';

export type OciRuntime = 'runc' | 'crun';
export type Network = 'exec' | 'native';
/** The value of crisp's option image.layers. */
export type LayerForms = 'auto' | 'erofs' | 'directory';
/** A snapshotter of containerd. */
export type Snapshotter = 'overlayfs' | 'erofs';

/** What crisp is compared with. */
export type Peer = 'containerd' | 'crio';
/** Their names in tables and charts. */
export const peerNames: Readonly<Record<Peer, string>> = { containerd: 'containerd', crio: 'CRI-O' };

/** What can be measured: calls of pods, a node with 250 pods, idle daemons, pulls of large images, pulls of many files, the accesses of containers to their files, the start of a pod with NRI. */
export const PARTS = ['calls', 'full-node', 'idle', 'pulls', 'many-files', 'feel', 'nri'] as const;
export type Part = (typeof PARTS)[number];

/** `quick`: few samples, to check that it works; `nightly`: each part for some minutes (pace.ts). */
export type Form = 'quick' | 'usual' | 'nightly';

export interface BenchOptions {
  readonly peer: Peer | 'none';
  /** The program of the peer CRI-O where it is not the first in PATH. */
  readonly crio?: string;
  /** How crisp sets up the pods' network: by running the plugins as the peer does, or in-process with the same result. */
  readonly network: Network;
  /** In this order; crun's rounds run in a mount namespace without the cgroup2 tree of a hybrid machine. */
  readonly runtimes: readonly OciRuntime[];
  readonly form: Form;
  /** Alternating rounds of each part except the pulls, unless it is nightly. */
  readonly rounds: number;
  /** Pods created one after another in each round. */
  readonly podsPerRound: number;
  /** Restarts of the daemon in each round of the 24 pods. */
  readonly restartsPerRound: number;
  /** Pulls of each compression, in the last set of rounds only: they do not involve the OCI runtime. May be 0. */
  readonly pulls: number;
  /** All of them unless some are chosen; of a quick run only the calls. */
  readonly parts: readonly Part[];
  /** The form of crisp's layers in all parts but `feel`, which compares the forms. */
  readonly layers: LayerForms;
  /** containerd's; the one for EROFS needs containerd 2.1 and erofs-utils 1.8.2. */
  readonly snapshotter: Snapshotter;
  /** CPU profile of crisp's daemon and a waterfall of stages instead of rows. */
  readonly profile: boolean;
}

const USAGE = `usage: npm run bench -- [--peer containerd|crio|none] [--crio PATH] [--only crisp] [--network exec|native] [--runtime runc|crun]
                        [--part calls|full-node|idle|pulls|many-files|feel|nri]... [--layers auto|erofs|directory] [--snapshotter overlayfs|erofs]
                        [--quick | --nightly] [--rounds N] [--pulls N] [--profile]`;

const refuse = (message: string): CrispError =>
  new CrispError('InvalidArgument', `bench: ${message}`, { hint: USAGE });

function oneOf<T extends string>(flag: string, value: string, known: readonly T[]): T {
  const found = known.find((entry) => entry === value);
  if (found === undefined) throw refuse(`--${flag} is ${known.join(' or ')}, not '${value}'`);
  return found;
}

function count(flag: string, text: string | undefined, fallback: number, min = 1): number {
  if (text === undefined) return fallback;
  const value = /^\d{1,4}$/.test(text) ? Number(text) : -1;
  if (value < min) throw refuse(`--${flag} is a number from ${min} to 9999, not '${text}'`);
  return value;
}

function parseWords(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        peer: { type: 'string' },
        crio: { type: 'string' },
        only: { type: 'string' },
        network: { type: 'string' },
        runtime: { type: 'string' },
        rounds: { type: 'string' },
        pulls: { type: 'string' },
        part: { type: 'string', multiple: true },
        layers: { type: 'string' },
        snapshotter: { type: 'string' },
        quick: { type: 'boolean', default: false },
        nightly: { type: 'boolean', default: false },
        profile: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error));
  }
}

type Given = ReturnType<typeof parseWords>;

function peerOf(given: Given): Peer | 'none' {
  if (given.only !== undefined) oneOf('only', given.only, ['crisp']);
  const alone = given.only !== undefined || given.profile;
  const peer = oneOf('peer', given.peer ?? (alone ? 'none' : 'containerd'), ['containerd', 'crio', 'none']);
  if (alone && peer !== 'none') throw refuse('--only crisp and --profile measure only crisp: omit --peer');
  if (peer !== 'containerd' && given.snapshotter !== undefined)
    throw refuse("--snapshotter is containerd's: omit it");
  if (peer !== 'crio' && given.crio !== undefined) throw refuse('--crio is for --peer crio: omit it');
  if (given.crio === '') throw refuse('--crio is the path of the program');
  return peer;
}

function formOf({ quick, nightly, profile, rounds, pulls }: Given): Form {
  if (quick && nightly) throw refuse('--quick or --nightly, not both');
  if (nightly && profile) throw refuse('--nightly has no profile: omit one of the two');
  if (nightly && (rounds !== undefined || pulls !== undefined))
    throw refuse('--nightly measures by minutes: omit --rounds and --pulls');
  return quick ? 'quick' : nightly ? 'nightly' : 'usual';
}

function runtimesOf({ runtime, quick }: Given): readonly OciRuntime[] {
  if (runtime !== undefined) return [oneOf('runtime', runtime, ['runc', 'crun'])];
  return quick ? ['crun'] : ['runc', 'crun'];
}

/** Throws InvalidArgument with the usage as its hint. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const given = parseWords(args);
  const peer = peerOf(given);
  const form = formOf(given);
  const isQuick = form === 'quick';
  return {
    peer,
    ...(given.crio === undefined ? {} : { crio: given.crio }),
    runtimes: runtimesOf(given),
    network: oneOf('network', given.network ?? 'exec', ['exec', 'native']),
    form,
    rounds: count('rounds', given.rounds, isQuick ? 2 : 6),
    podsPerRound: isQuick ? 3 : 6,
    restartsPerRound: isQuick ? 1 : 5,
    pulls: count('pulls', given.pulls, isQuick ? 1 : 30, 0),
    parts: given.part?.map((part) => oneOf('part', part, PARTS)) ?? (isQuick ? ['calls'] : PARTS),
    layers: oneOf('layers', given.layers ?? 'auto', ['auto', 'erofs', 'directory']),
    snapshotter: oneOf('snapshotter', given.snapshotter ?? 'overlayfs', ['overlayfs', 'erofs']),
    profile: given.profile,
  };
}
