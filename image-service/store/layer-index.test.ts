import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { LayerIndex } from './layer-index.ts';
import {
  chainKey,
  checkLayerRecord,
  diffKey,
  type LayerRecord,
  layerRecordOf,
  type NewLayer,
} from './layer-record.ts';

const id = (digit: string): Digest => `sha256:${digit.repeat(64)}` as Digest;
const layer = (key: string, more: Partial<NewLayer> = {}): LayerRecord =>
  layerRecordOf({ key, diffId: id('1'), rootOpaque: false, bytes: 1, inodes: 1, ...more });
const image = { digest: id('2'), bytes: 4096 };

test('a layer has the first version that says all of it, and no other is taken', () => {
  const records = [
    layer('diff-1'),
    layer('diff-1', { image }),
    layer('diff-1', { rootDeclared: false }),
    layer('diff-1', { image, rootDeclared: false }),
  ];
  assert.deepEqual(
    records.map(({ version }) => version),
    [1, 2, 3, 3],
  );
  for (const record of records) {
    checkLayerRecord(record, 'diff-1');
    for (const version of [1, 2, 3].filter((one) => one !== record.version))
      assert.throws(
        () => checkLayerRecord({ ...record, version }, 'diff-1'),
        (error) => hasCode(error, 'DataLoss'),
      );
  }
  const wrong = { ...records[2], rootDeclared: true } as unknown as LayerRecord;
  assert.throws(() => checkLayerRecord(wrong, 'diff-1'), /lacks fields/);
});

test('what its images have of a chain stays theirs beside the layer of the diff, and is replaced where it is damaged', () => {
  const index = new LayerIndex();
  const [diff, chain] = [layer(diffKey(id('1'))), layer(chainKey(id('3')))];
  assert.equal(index.keyOf(id('1'), id('3'), true), diff.key);
  assert.equal(index.keyOf(id('1'), id('3'), false), chain.key);
  index.add(diff);
  assert.equal(index.find(id('1'), id('3')), diff);
  index.add(chain);
  assert.equal(index.find(id('1'), id('3')), chain);
  assert.equal(index.find(id('1'), id('4')), diff, 'on top of others');
  index.suspect(chain.key);
  assert.equal(index.find(id('1'), id('3')), undefined);
  assert.equal(index.keyOf(id('1'), id('3'), true), chain.key);
  index.add(layer(chain.key, { rootDeclared: false }));
  assert.equal(index.find(id('1'), id('3'))?.rootDeclared, false);
});

test('the root is that of the topmost layer with an entry for it, of an earlier crisp of any', () => {
  const index = new LayerIndex();
  for (const key of ['a', 'b']) index.add(layer(key));
  for (const key of ['c', 'd']) index.add(layer(key, { rootDeclared: false }));
  assert.deepEqual(
    [['a', 'b', 'c', 'd'], ['a', 'c', 'b'], ['c', 'd'], []].map((keys) => index.rootOf(keys)),
    ['b', 'b', undefined, undefined],
  );
});
