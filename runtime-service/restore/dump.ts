/**
 * The description of the container that a checkpoint was made of, and whether the new one matches it where CRIU needs
 * that: terminal, namespaces, mounts. CRIU's own messages for such a mismatch do not help. Pure.
 */
import { CrispError } from '#core/errors.ts';
import { damaged } from '#core/tar/entry.ts';
import type { OciSpec } from '../spec/oci.ts';

export interface Dump {
  /** Names of the image that the container was made from, the most exact first. */
  readonly images: readonly string[];
  readonly terminal: boolean;
  /** By kind: whether the container had one of its own or joined another's; a kind that was the host's is absent. */
  readonly namespaces: ReadonlyMap<string, 'own' | 'joined'>;
  /** Destinations of bind mounts, sorted. */
  readonly binds: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

/** From `config.dump` and `spec.dump`, which are not trusted. Throws DataLoss where they are not such documents. */
export function parseDump(config: string, spec: string): Dump {
  const { rootfsImageRef, rootfsImageName, rootfsImage } = object('config.dump', config);
  const document = object('spec.dump', spec);
  const linux = child(document, 'linux');
  return {
    images: [rootfsImageRef, rootfsImageName, rootfsImage].filter(isText),
    terminal: child(document, 'process')['terminal'] === true,
    namespaces: new Map(
      objects(linux['namespaces']).flatMap(({ type, path }) =>
        isText(type) ? [[type, isText(path) ? 'joined' : 'own'] as const] : [],
      ),
    ),
    binds: bindsOf(objects(document['mounts'])),
  };
}

/** From `deleted.files`, a list of paths. Throws DataLoss for another document, or a path that does not end in a name. */
export function deletedFiles(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  const paths = parse('deleted.files', text);
  const usable = (path: unknown): path is string =>
    isText(path) && !path.includes('\0') && !/(^|\/)\.{0,2}$/.test(path);
  if (paths === null) return [];
  if (Array.isArray(paths) && paths.every(usable)) return paths.map((path) => `/${path}`);
  throw damaged('deleted.files is not a list of paths');
}

/**
 * Throws FailedPrecondition where the new container, in the specification that was made for it, lacks what the
 * processes had. A terminal's other end is gone with the old container, so there is none to be restored.
 */
export function checkCompatible(dump: Dump, spec: OciSpec): void {
  if (dump.terminal || spec.process.terminal) {
    throw incompatible('it has a terminal', 'restore containers without a terminal (tty)');
  }
  const now = new Map(spec.linux.namespaces.map(({ type, path }) => [type, path ? 'joined' : 'own']));
  if (dump.namespaces.has('user') || now.has('user')) {
    throw incompatible('it was in a user namespace', 'restore it from and in pods without a user namespace');
  }
  for (const kind of ['pid', 'network', 'ipc', 'uts'] as const) {
    const [before, after] = [dump.namespaces.get(kind) ?? "the node's", now.get(kind) ?? "the node's"];
    if (before === after) continue;
    throw incompatible(
      `its ${kind} namespace was ${before}, this container's is ${after}`,
      'give pod and container the namespace options that they had',
    );
  }
  const binds = new Set(bindsOf(spec.mounts));
  const missing = dump.binds.filter((destination) => !binds.has(destination));
  if (missing.length > 0) {
    throw incompatible(
      `its mounts ${missing.slice(0, 20).join(', ')} are missing`,
      'add mounts with these container paths to the request',
    );
  }
}

const bindsOf = (mounts: readonly { destination?: unknown; type?: unknown }[]): string[] =>
  mounts
    .flatMap(({ destination, type }) => (type === 'bind' && isText(destination) ? [destination] : []))
    .toSorted();

const incompatible = (why: string, hint: string): CrispError =>
  new CrispError('FailedPrecondition', `the checkpoint cannot be restored here: ${why}`, { hint });

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length < 4096;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);
const child = (parent: Json, name: string): Json => {
  const value = parent[name];
  return isObject(value) ? value : {};
};

function parse(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw damaged(`${name} is not JSON`);
  }
}

function object(name: string, text: string): Json {
  const value = parse(name, text);
  if (!isObject(value)) throw damaged(`${name} is not an object`);
  return value;
}
