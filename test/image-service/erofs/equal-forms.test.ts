/** Random archives as layers: mounted, an EROFS image shows what the directory has, alone and below an overlay. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { rounds } from '../../crash/seed.ts';
import type { EntrySpec } from '../../harness/tar.ts';
import { anyArchive, anyMember } from './archives.ts';
import { Ground } from './forms.ts';
import { type BothForms, holdsFor, inBothForms, nothing, timeless } from './layers.ts';
import { assertSameTree, type SeenTree, seeTree } from './tree-view.ts';

test('an archive at random gives an image that shows what the directory has', async () => {
  await using ground = await Ground.make();
  const piece = fc.constantFrom(1, 511, 512, 4096, 65_536);
  await holdsFor(fc.tuple(anyArchive, piece), rounds(80), async ([members, size]) => {
    await inBothForms(ground, members, nothing, size);
    await ground.clear();
  });
});

/** Fewer members: most of them meet what is below. */
const layer: fc.Arbitrary<EntrySpec[]> = fc.array(anyMember, { maxLength: 12, size: 'max' });

test('layers at random merge to the same tree in either form, and mixed', async () => {
  await using ground = await Ground.make();
  const stack = fc.array(layer, { minLength: 2, maxLength: 4, size: 'max' });
  await holdsFor(fc.tuple(stack, fc.nat(15)), rounds(40), async ([archives, mix]) => {
    const layers: BothForms[] = [];
    for (const members of archives) {
      layers.unshift(
        await inBothForms(ground, members, {
          directories: layers.map(({ directory }) => directory),
          mounted: layers.map(({ mounted }) => mounted),
        }),
      );
    }
    // As `LayerStore.stack`: what is below a layer with an opaque root is omitted.
    const bottom = layers.findIndex(({ image }) => image.report.rootOpaque);
    const visible = bottom < 0 ? layers : layers.slice(0, bottom + 1);
    const merged = async (choose: (layer: BothForms, at: number) => string) =>
      seeTree(await ground.overlay(visible.map(choose)));
    const expected = await merged(({ directory }) => directory);
    const same = (actual: SeenTree, what: string) =>
      assertSameTree(timeless(actual, expected), timeless(expected, expected), what);
    same(await merged(({ mounted }) => mounted), 'images');
    const mixed = (one: BothForms, at: number) => (mix & (1 << at) ? one.mounted : one.directory);
    same(await merged(mixed), 'images and directories');
    await ground.clear();
  });
});

test('a directory in the place of a symlink that the layer deletes is no way through that symlink', async () => {
  await using ground = await Ground.make();
  const one = (name: string, more: Partial<EntrySpec> = {}): EntrySpec => ({ name, ...more });
  const lower = await inBothForms(ground, [
    one('b', { type: 'symlink', link: 'a' }),
    one('d/', {}),
    one('d/e', { type: 'symlink', link: '../a' }),
  ]);
  const below = { directories: [lower.directory], mounted: [lower.mounted] };
  const members = [
    one('.wh.b'),
    one('b/file', { content: 'in b' }),
    one('.wh.d'),
    one('d/e/file', { content: 'in d' }),
  ];
  const { mounted, image } = await inBothForms(ground, members, below);
  assert.equal(readFileSync(join(mounted, 'b/file'), 'utf8'), 'in b');
  assert.equal(readFileSync(join(mounted, 'd/e/file'), 'utf8'), 'in d');
  assert.ok(!image.report.implied.includes('a'));
});

test('a hard link takes the place of a directory, with its target in another one', async () => {
  await using ground = await Ground.make();
  const { mounted } = await inBothForms(ground, [
    { name: 'tree/in/it', content: 'gone' },
    { name: 'other/target', content: 'kept' },
    { name: 'tree', type: 'hardlink', link: 'other/target' },
  ]);
  assert.equal(readFileSync(join(mounted, 'tree'), 'utf8'), 'kept');
});
