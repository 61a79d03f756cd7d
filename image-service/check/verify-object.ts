import { basename } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { Fault, Finding } from './findings.ts';
import type { HashRequest } from './hash-file.ts';
import { type CheckedObject, type CheckedStores, isPromised } from './objects.ts';
import { layerOfBlob } from './stored-manifest.ts';
import type { CheckThread, ReadSettings } from './thread.ts';

/** How often a file that is replaced while it is read is read again. */
const ROUNDS = 3;

type Wrong = Pick<Finding, 'fault' | 'message'>;
const wrong = (fault: Fault, message: string): Wrong => ({ fault, message });

/**
 * Reads what the record promises and compares. undefined: it is whole, or is not promised any more. Throws what is wrong
 * with the check itself: its cancellation, or a thread that failed.
 */
export async function verifyObject(
  object: CheckedObject,
  stores: CheckedStores,
  thread: CheckThread,
  settings: ReadSettings,
): Promise<Finding | undefined> {
  for (let round = 0; round < ROUNDS; round++) {
    if (!isPromised(object, stores)) return undefined;
    const found = await look(object, stores, thread, settings);
    if (!isPromised(object, stores)) return undefined;
    if (found !== 'replaced') return found && { object, ...found };
  }
  return undefined;
}

async function look(
  object: CheckedObject,
  stores: CheckedStores,
  thread: CheckThread,
  settings: ReadSettings,
): Promise<Wrong | 'replaced' | undefined> {
  try {
    if (object.kind === 'image') return await lookAtImage(object, stores);
    if (object.kind === 'blob') {
      const path = stores.content.path(object.digest);
      const request = { path, bytes: object.bytes, order: 'as it is' } as const;
      return await compare(request, object.digest, thread, settings);
    }
    const { image } = object.record;
    if (!image) return await lookAtTree(object, stores, thread, settings);
    const path = stores.layers.image(object.name);
    const request = { path, bytes: image.bytes, order: 'first block last' } as const;
    return await compare(request, image.digest, thread, settings);
  } catch (error) {
    const errno = errnoOf(error);
    const isOurs = error instanceof CrispError && errno === undefined;
    if (isOurs || errno === undefined || settings.signal.aborted) throw error;
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return wrong('missing', 'its file is missing');
    return wrong('unreadable', describeError(error));
  }
}

async function compare(
  request: HashRequest,
  digest: string,
  thread: CheckThread,
  settings: ReadSettings,
): Promise<Wrong | 'replaced' | undefined> {
  const found = await thread.hash(request, settings);
  if (found.kind === 'no file') return wrong('missing', `${basename(request.path)} is not a regular file`);
  if (found.isReplaced) return 'replaced';
  if (found.kind === 'other size')
    return wrong('size', `it has ${found.bytes} bytes instead of ${request.bytes}`);
  return found.digest === digest ? undefined : wrong('digest', `its bytes have the digest ${found.digest}`);
}

/**
 * Of a directory only numbers are known: how many inodes the archive had, and their whole blocks, the latter where nothing
 * was copied from layers below.
 */
async function lookAtTree(
  { name, record }: CheckedObject & { readonly kind: 'layer' },
  { layers }: CheckedStores,
  thread: CheckThread,
  settings: ReadSettings,
): Promise<Wrong | undefined> {
  const tree = await thread.measure(layers.fs(name), settings);
  if (name.startsWith('artifact-')) return undefined; // its files are its blobs, which are checked themselves
  if (tree.inodes !== record.inodes)
    return wrong('tree', `it has ${tree.inodes} files and directories, by its record ${record.inodes}`);
  if (!name.startsWith('diff-') || tree.bytes === undefined || tree.bytes === record.bytes) return undefined;
  return wrong('tree', `its files take ${tree.bytes} bytes, by its record ${record.bytes}`);
}

/** Layers' blobs may be missing: only an export needs them. */
async function lookAtImage(
  { record }: CheckedObject & { readonly kind: 'image' },
  stores: CheckedStores,
): Promise<Wrong | undefined> {
  const layers = record.layers.filter((key) => !stores.layers.get(key));
  const isRemoved = stores.images.removedInUse().includes(record);
  const absent = isRemoved ? [] : record.blobs.filter((digest) => !stores.content.has(digest));
  const blobs: string[] = [];
  for (const digest of absent)
    if ((await layerOfBlob(digest, record, stores.content)) === undefined) blobs.push(digest);
  if (layers.length === 0 && blobs.length === 0) return undefined;
  const parts = [...layers.map((key) => `layer ${key}`), ...blobs.map((digest) => `blob ${digest}`)];
  return wrong('incomplete', `it lacks ${parts.join(', ')}`);
}
