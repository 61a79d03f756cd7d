import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { LowerView } from './lower-view.ts';

test('paths are found through symlinks of any layer, in any order of lookups', () => {
  const base = mkdtempSync(join(tmpdir(), 'lower-'));
  try {
    const [top, bottom] = [join(base, 'top'), join(base, 'bottom')];
    for (const path of [join(top, 'usr/lib'), join(bottom, 'usr/lib/deep'), join(bottom, 'opt')])
      mkdirSync(path, { recursive: true });
    symlinkSync('usr/lib', join(bottom, 'lib'));
    symlinkSync('../lib/deep/..', join(bottom, 'opt/back'));
    writeFileSync(join(bottom, 'usr/lib/deep/so'), '');
    writeFileSync(join(top, 'usr/lib/new'), '');
    const lookups: [string, string | undefined][] = [
      ['lib', 'lib'],
      ['lib/new', 'usr/lib/new'],
      ['lib/deep/so', 'usr/lib/deep/so'],
      ['usr/lib/deep', 'usr/lib/deep'],
      ['opt/back/new', 'usr/lib/new'],
      ['opt/back', 'opt/back'],
      ['lib/new/below', undefined],
      ['nothing/here', undefined],
      ['', ''],
      [`${'x/'.repeat(2040)}y`, undefined],
    ];
    for (const order of [lookups, lookups.toReversed()]) {
      const view = new LowerView([top, bottom]);
      for (const [path, found] of [...order, ...order]) assert.equal(view.find(path)?.path, found, path);
    }
  } finally {
    rmSync(base, { recursive: true });
  }
});
