import { CrispError } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import {
  type Descriptor,
  isObject,
  type Json,
  malformedImage,
  parseDescriptor,
  refusedImage,
} from './descriptor.ts';

/** A blob of an artifact. */
export interface ArtifactLayer extends Descriptor {
  /** The components of its file's name; undefined for a blob without a name, which is no file of the volume. */
  readonly path: readonly string[] | undefined;
  /** Whether it is an archive whose entries are below its name (oras packs directories so). */
  readonly unpack: boolean;
  /** Of the unpacked archive, where known. */
  readonly unpackedDigest: Digest | undefined;
}

/** Content that is not a container image (OCI image-spec, manifest.md, "Guidelines for Artifact Usage"): files by name. */
export interface ArtifactManifest {
  readonly kind: 'artifact';
  /** What it is: its artifactType, else the media type of its config. */
  readonly type: string;
  readonly config: Descriptor;
  readonly layers: readonly ArtifactLayer[];
}

/** A model of many parts has hundreds of files. */
const LAYER_LIMIT = 5000;
/** Of the names of its files: each is made, and flushed by itself. */
const DIRECTORY_LIMIT = 20_000;
const TYPE_LIMIT = 255;
const NAME_LIMIT = 255;
const PATH_LIMIT = 4095;
/** Names of files: of OCI, and of the CNCF's model-spec. */
const NAMES = ['org.opencontainers.image.title', 'org.cncf.model.filepath'];
const UNPACK = 'io.deis.oras.content.unpack';
const UNPACKED_DIGEST = 'io.deis.oras.content.digest';

/** Reads the manifest of an artifact. Throws DataLoss where it is malformed, InvalidArgument for a hostile name. */
export function parseArtifact(json: Json, config: Descriptor, what: string): ArtifactManifest {
  const own = json['artifactType'];
  const type = (typeof own === 'string' && own !== '' ? own : config.mediaType).slice(0, TYPE_LIMIT);
  const list = json['layers'];
  if (!Array.isArray(list)) throw malformedImage(what, 'it has no list of layers');
  if (list.length > LAYER_LIMIT)
    throw refusedImage(
      what,
      `${list.length} layers; ${LAYER_LIMIT} are the most of an artifact`,
      'push its files as packed directories, or as several artifacts',
    );
  const layers = list.map((item, index) => parseLayer(item, `${what}: layer ${index}`));
  checkNames(layers, what);
  return { kind: 'artifact', type, config, layers };
}

function parseLayer(item: unknown, what: string): ArtifactLayer {
  const descriptor = parseDescriptor(item, what);
  const annotations = isObject(item) && isObject(item['annotations']) ? item['annotations'] : {};
  const name = NAMES.map((key) => annotations[key]).find(
    (value) => typeof value === 'string' && value !== '',
  );
  const digest = annotations[UNPACKED_DIGEST];
  const path = typeof name === 'string' ? pathOf(name, what) : undefined;
  return {
    ...descriptor,
    path,
    unpack: path !== undefined && annotations[UNPACK] === 'true',
    unpackedDigest: typeof digest === 'string' && isDigest(digest) ? digest : undefined,
  };
}

/** The components of a file's name. It is relative and leads nowhere else. */
function pathOf(name: string, what: string): readonly string[] {
  const refused = (why: string) => hostileName(`${what}: its file name ${shown(name)} ${why}`);
  if (name.startsWith('/')) throw refused('is absolute');
  if (name.includes('\0')) throw refused('has a NUL');
  if (Buffer.byteLength(name) > PATH_LIMIT) throw refused('is too long');
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw refused('leads upwards');
  if (parts.length === 0) throw refused('names no file');
  if (parts.some((part) => Buffer.byteLength(part) > NAME_LIMIT)) throw refused('has too long a component');
  return parts;
}

/** Each name is one file: none is given twice, and none is below another. */
function checkNames(layers: readonly ArtifactLayer[], what: string): void {
  const files = new Map<string, number>();
  const directories = new Set<string>();
  for (const [index, { path }] of layers.entries()) {
    if (path === undefined) continue;
    const name = path.join('/');
    if (files.has(name))
      throw hostileName(`${what}: layer ${index}: the file name ${shown(name)} is given twice`);
    files.set(name, index);
    addDirectories(directories, name);
    if (directories.size > DIRECTORY_LIMIT)
      throw refusedImage(
        what,
        `its files are in more than ${DIRECTORY_LIMIT} directories`,
        'push them as packed directories, or as several artifacts',
      );
  }
  for (const above of files.keys()) {
    if (!directories.has(above)) continue;
    const [below = '', index] = [...files].find(([name]) => name.startsWith(`${above}/`)) ?? [];
    throw hostileName(
      `${what}: layer ${index}: the file name ${shown(below)} is below the file ${shown(above)}`,
    );
  }
}

/** The directories of these files, each once; '' is the topmost one. */
export function directoriesOf(layers: readonly Pick<ArtifactLayer, 'path'>[]): Set<string> {
  const directories = new Set(['']);
  for (const { path } of layers) if (path) addDirectories(directories, path.join('/'));
  return directories;
}

/** From the file upwards, as far as they are new: of a thousand files in one deep directory most are not. */
function addDirectories(directories: Set<string>, file: string): void {
  for (let at = file.lastIndexOf('/'); at > 0; at = file.lastIndexOf('/', at - 1)) {
    const directory = file.slice(0, at);
    if (directories.has(directory)) return;
    directories.add(directory);
  }
}

const shown = (name: string): string => JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);

const hostileName = (message: string): CrispError =>
  new CrispError('InvalidArgument', message, {
    hint: 'push the artifact with relative file names, each one once',
  });
