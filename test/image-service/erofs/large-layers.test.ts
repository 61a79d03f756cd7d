/** Layers of as many members as are permitted: the memory of the writer, and that the kernel finds them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { defaultImageOptions } from '#image-service/index.ts';
import { Ground } from './forms.ts';

const MOST = 1 << 20;
const PROGRAM = join(import.meta.dirname, 'many-entries.ts');
/** Of the writer alone, for a million members: a few hundred bytes each. */
const MOST_MIB = 320;

interface Result {
  /** KiB. */
  readonly before: number;
  readonly peak: number;
  readonly bytes: number;
  readonly inodes: number;
  readonly implied: number;
}

async function large(
  kind: string,
  count: number,
  look: (mounted: string, result: Result) => void,
): Promise<void> {
  await using ground = await Ground.make();
  const image = ground.freshImage();
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, kind, String(count), image], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as Result;
  const mib = (result.peak - result.before) >> 10;
  console.log(`# ${count} ${kind}: ${mib} MiB more memory at the peak, image of ${result.bytes >> 20} MiB`);
  look(await ground.mount(image), result);
  assert.ok(mib < MOST_MIB, `${mib} MiB for ${count} ${kind}`);
}

test('a million hard links to one file', () =>
  large('links', MOST - 1025, (mounted, { inodes, implied }) => {
    const one = lstatSync(join(mounted, 'one'));
    assert.equal(one.nlink, MOST - 1025);
    assert.equal(inodes, implied + 2);
    const found = readdirSync(join(mounted, 'd517'));
    assert.equal(found.length, 1024);
    assert.equal(lstatSync(join(mounted, 'd517', found[77] ?? '')).ino, one.ino);
  }));

test('a million tiny files', () =>
  large('files', MOST - 1025, (mounted, { inodes, implied }) => {
    assert.equal(inodes, MOST - 1025 + implied + 1);
    for (const n of [0, 1, 1023, 1024, 524_288, MOST - 1026])
      assert.equal(readFileSync(join(mounted, `d${n >> 10}/file-${n}`), 'utf8').trim(), `${n}`);
  }));

test('a directory of a hundred thousand names, and as many attributes of their own', async () => {
  const count = 100_000;
  await large('flat', count, (mounted) => {
    const names = new Set(readdirSync(mounted));
    assert.equal(names.size, count);
    for (let n = 0; n < count; n += 997) lstatSync(join(mounted, `file-${n}`));
    assert.throws(() => lstatSync(join(mounted, 'file-')), { code: 'ENOENT' });
  });
  await large('attributes', count, () => {});
});

test('the limit of entries holds', () => {
  const { layerEntries } = defaultImageOptions.limits;
  assert.ok(layerEntries >= MOST - 1025, `${layerEntries}`);
});
