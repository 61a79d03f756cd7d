/**
 * The archive of a checkpoint on the node: its documents, and its parts as files. It is read twice, as a stream each time:
 * nothing is made before all of it has been checked.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { damaged, type TarEntry, type TarHandler } from '#core/tar/entry.ts';
import { TarReader } from '#core/tar/reader.ts';
import { openRegular } from '#linux/fs/regular-file.ts';
import { naming } from '#linux/libc/errno.ts';
import { LAYER, Members, type TextName } from './members.ts';

const CHUNK = 1 << 20;

export interface CheckpointArchive {
  readonly path: string;
  /** Whether another file, or another content, is at the path since. */
  readonly identity: string;
  readonly texts: ReadonlyMap<TextName, string>;
}

/**
 * Reads all of it once. Throws NotFound for a missing path, InvalidArgument for another kind of file or one that leads out of
 * its directory, DataLoss for a truncated one, Unimplemented for a compressed one.
 */
export async function inspectArchive(path: string, signal: AbortSignal): Promise<CheckpointArchive> {
  await using file = await openArchive(path);
  const reader = new TextReader();
  await readAll(file, path, signal, new TarReader(reader));
  reader.members.finish();
  return { path, identity: await identityOf(file), texts: reader.texts };
}

/**
 * Writes CRIU's files to `checkpoint/` of the directory, which exists and is empty, and the layer beside it. Returns the
 * layer's path, where the archive has one. Throws Aborted where the archive is not the one that was inspected.
 */
export async function extractArchive(
  { path, identity }: CheckpointArchive,
  directory: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  await using file = await openArchive(path);
  const changed = () =>
    new CrispError('Aborted', `checkpoint archive ${path} was changed while it was read`, {
      hint: 'try again when it is written',
    });
  if ((await identityOf(file)) !== identity) throw changed();
  await using parts = new PartWriter(directory);
  await readAll(file, path, signal, new TarReader(parts), () => parts.write());
  if ((await identityOf(file)) !== identity) throw changed();
  return parts.hasLayer ? join(directory, LAYER) : undefined;
}

async function openArchive(path: string): Promise<FileHandle> {
  const file = await naming(`open checkpoint archive ${path}`, () => openRegular(path));
  if (file) return file;
  throw new CrispError('InvalidArgument', `checkpoint archive ${path} is not a file`, {
    hint: 'name the file that CheckpointContainer has written',
  });
}

async function identityOf(file: FileHandle): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await file.stat({ bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

/** `after` each piece, whose bytes are valid until it has settled. */
async function readAll(
  file: FileHandle,
  path: string,
  signal: AbortSignal,
  reader: TarReader,
  after: () => Promise<void> = async () => {},
): Promise<void> {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await naming(`read ${path}`, () => file.read(buffer, 0, CHUNK, at));
    if (bytesRead === 0) break;
    const piece = buffer.subarray(0, bytesRead);
    if (at === 0) refuseCompressed(piece, path);
    reader.write(piece);
    await after();
    at += bytesRead;
  }
  reader.end();
  if (!reader.ended) throw damaged(`${path} is truncated: the blocks that end it are missing`);
}

function refuseCompressed(first: Buffer, path: string): void {
  const magic = first.toString('hex', 0, 4);
  if (!magic.startsWith('1f8b') && magic !== '28b52ffd') return;
  throw new CrispError('Unimplemented', `checkpoint archive ${path} is compressed`, {
    hint: 'decompress it first',
  });
}

class TextReader implements TarHandler {
  readonly members = new Members();
  readonly texts = new Map<TextName, string>();
  #pieces: Buffer[] | undefined;
  #name: string | undefined;

  entry(entry: TarEntry): void {
    const { kind, name } = this.members.take(entry);
    this.#name = name;
    this.#pieces = kind === 'text' ? [] : undefined;
  }

  data(piece: Uint8Array): void {
    this.#pieces?.push(Buffer.from(piece));
  }

  entryEnd(): void {
    if (this.#pieces) this.texts.set(this.#name as TextName, Buffer.concat(this.#pieces).toString('utf8'));
    this.#pieces = undefined;
  }
}

type Step = { readonly open: string } | { readonly write: Uint8Array } | 'close';

/** Collects the parts in one piece of the archive, and writes them when the piece has been read. */
class PartWriter implements TarHandler, AsyncDisposable {
  readonly #directory: string;
  readonly #members = new Members();
  readonly #steps: Step[] = [];
  #file: FileHandle | undefined;
  #wanted = false;
  hasLayer = false;

  constructor(directory: string) {
    this.#directory = directory;
  }

  entry(entry: TarEntry): void {
    const { kind, name } = this.#members.take(entry);
    this.#wanted = kind === 'image' || kind === 'layer';
    this.hasLayer ||= kind === 'layer';
    if (this.#wanted) this.#steps.push({ open: join(this.#directory, name) });
  }

  data(piece: Uint8Array): void {
    if (this.#wanted) this.#steps.push({ write: piece });
  }

  entryEnd(): void {
    if (this.#wanted) this.#steps.push('close');
  }

  async write(): Promise<void> {
    await naming(`write parts of a checkpoint to ${this.#directory}`, async () => {
      for (const step of this.#steps.splice(0)) {
        if (step === 'close') await this[Symbol.asyncDispose]();
        else if ('open' in step) this.#file = await open(step.open, 'wx', 0o600);
        else await this.#file?.writeFile(step.write);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }
}
