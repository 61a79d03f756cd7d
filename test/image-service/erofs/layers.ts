/** What of an archive both forms accept, and its layers in both. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { UnpackLimits } from '#image-service/options.ts';
import type { LayerReport } from '#image-service/unpack/layer-writer.ts';
import { type EntrySpec, makeTar } from '../../harness/tar.ts';
import { assertSound, type Ground, type Image, Refusal } from './forms.ts';
import { assertSameTree, type SeenTree, seeTree } from './tree-view.ts';

export const seed = Number(process.env['CRISP_TEST_SEED'] ?? Date.now() % 2 ** 31);

/** A counterexample is made smaller, and a slow machine has fewer runs, until then. */
const LIMIT_MS = 20_000;
const HOUR = 3600_000_000_000n;
const started = BigInt(Date.now() - 60_000) * 1_000_000n;

/** As a test: fast-check's own report has the seed, too, and the smallest counterexample. */
export async function holdsFor<T>(
  arbitrary: fc.Arbitrary<T>,
  numRuns: number,
  predicate: (value: T) => Promise<void>,
): Promise<void> {
  console.log(`# ${numRuns} runs of seed ${seed}; to have the same again: CRISP_TEST_SEED=${seed}`);
  /** At the limit of time the last run is left alone; it is still at work in the places of the test. */
  let last: Promise<void> = Promise.resolve();
  const property = fc.asyncProperty(arbitrary, (value) => {
    last = predicate(value);
    return last;
  });
  try {
    await fc.assert(property, { numRuns, seed, interruptAfterTimeLimit: LIMIT_MS });
  } finally {
    await last.catch(() => {});
  }
}

/** A layer in its two forms: the directory is the reference. */
export interface BothForms {
  readonly directory: string;
  readonly image: Image;
  /** Where the image is mounted. */
  readonly mounted: string;
}

/** The layers below, of each form, the top first. */
export interface Below {
  readonly directories: readonly string[];
  readonly mounted: readonly string[];
}
export const nothing: Below = { directories: [], mounted: [] };

/**
 * Makes the layer in both forms and asserts that they are the same. A member that the reference refuses is left out, after
 * the image's writer has refused the archive for the same reason.
 */
export async function inBothForms(
  ground: Ground,
  members: readonly EntrySpec[],
  below: Below = nothing,
  piece = 65_536,
): Promise<BothForms> {
  const left = [...members];
  for (;;) {
    const tar = makeTar(left);
    const reference = await ground.unpack(tar, below.directories).catch((error: unknown) => error);
    if (reference instanceof Refusal) {
      await assertRefused(ground, tar, below, reference);
      const lastLink = left.findLastIndex(({ type }) => type === 'hardlink');
      left.splice(reference.member ?? Math.max(0, lastLink), 1);
      continue;
    }
    if (reference instanceof Error) throw reference;
    const { directory, report } = reference as Awaited<ReturnType<Ground['unpack']>>;
    const image = await ground.write(tar, below.mounted, { piece });
    assert.deepEqual(contained(image.report), contained(report));
    assertSound(image);
    const mounted = await ground.mount(image.path);
    const [actual, expected] = [seeTree(mounted), seeTree(directory)];
    assertSameTree(timeless(actual, expected), timeless(expected, expected));
    const inodes = [...expected].filter(([path, { sharesInode }]) => (sharesInode ?? path) === path).length;
    assert.equal(image.written.inodes, inodes, 'inodes of the image');
    const again = await ground.write(tar, below.mounted, { piece: 1000 });
    if (!process.env['ET_STANDIN'])
      assert.deepEqual(again.written, image.written, 'the same archive in other pieces gives another image');
    return { directory, image, mounted };
  }
}

/** What both forms report alike: parents come first, but in either order of their own. */
function contained({ bytes: _bytes, inodes: _inodes, implied, ...rest }: LayerReport): object {
  for (const [at, path] of implied.entries())
    assert.ok(!implied.slice(0, at).some((earlier) => earlier.startsWith(`${path}/`)), `${path} comes late`);
  return { ...rest, implied: implied.toSorted() };
}

/** Directories that no layer has an entry for, and whiteouts, have no time of their own: as a directory, that of the unpacking. */
export function timeless(tree: SeenTree, reference: SeenTree): SeenTree {
  const isNow = (path: string) => {
    const mtime = reference.get(path)?.mtime;
    return mtime !== undefined && mtime >= started && mtime < started + HOUR;
  };
  return new Map([...tree].map(([path, entry]) => [path, isNow(path) ? { ...entry, mtime: 0n } : entry]));
}

/** Asserts that the image's writer refuses what the reference refuses, for the same reason. */
export async function assertRefused(
  ground: Ground,
  tar: Buffer,
  below: Below,
  expected: Refusal,
  limits?: UnpackLimits,
): Promise<void> {
  const found = await ground
    .write(tar, below.mounted, limits ? { limits } : {})
    .catch((error: unknown) => error);
  assert.ok(found instanceof Refusal, `refused as a directory (${expected}), but as an image: ${found}`);
  assert.ok(isSameReason(found, expected), `${found} (${found.reason.code}), but as a directory ${expected}`);
  assert.notEqual(found.reason.hint, '', String(found));
}

/** What the kernel refuses when a directory is written is refused in its place when an image is. */
const isSameReason = ({ reason: found }: Refusal, { reason: expected }: Refusal): boolean =>
  found.code === expected.code || (expected.code === 'KernelRefused' && found.code === 'InvalidArgument');

/** Both forms refuse these bytes, or both accept them and are the same. */
export async function assertSameResult(ground: Ground, tar: Buffer): Promise<void> {
  const reference = await ground.unpack(tar).catch((error: unknown) => error);
  if (reference instanceof Refusal) return assertRefused(ground, tar, nothing, reference);
  if (reference instanceof Error) throw reference;
  const { directory } = reference as Awaited<ReturnType<Ground['unpack']>>;
  const image = await ground.write(tar);
  assertSound(image);
  const expected = seeTree(directory);
  const mounted = await ground.mount(image.path);
  assertSameTree(timeless(seeTree(mounted), expected), timeless(expected, expected));
}
