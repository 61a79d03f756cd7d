import assert from 'node:assert/strict';
import test from 'node:test';
import { LayerSize } from './layer-size.ts';
import type { LayerReport } from './layer-writer.ts';
import { receivedReport, sentReport } from './sent-report.ts';

const empty: LayerReport = {
  rootDeclared: true,
  rootOpaque: false,
  implied: [],
  links: [],
  bytes: 1,
  inodes: 2,
  dropped: [{ name: 'user.a', path: 'a', files: 3 }],
};

test('a report is the same behind a thread, and no text of it more than one value', () => {
  const names = { implied: ['a', 'a/\xff'], links: [['b\n', 'c'] as const, ['d', 'e/f'] as const] };
  for (const report of [empty, { ...empty, ...names }]) {
    const sent = sentReport(report);
    assert.deepEqual(receivedReport(sent), report);
    assert.deepEqual([typeof sent.implied, typeof sent.links], ['string', 'string']);
  }
});

test('the names of hard links to lower layers have a limit', () => {
  const size = new LayerSize({ layerEntries: Number.POSITIVE_INFINITY });
  const add = () => size.link('a'.repeat(1 << 12), 'b'.repeat(1 << 12));
  for (let n = 0; n < 1 << 13; n++) add();
  assert.throws(add, /ResourceExhausted|more than 67108864 bytes/);
});
