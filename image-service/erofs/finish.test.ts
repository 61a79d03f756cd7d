import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { TarEntry } from '#core/tar/entry.ts';
import { defaultImageOptions } from '../options.ts';
import { ErofsLayer } from './erofs-layer.ts';

const directory = (name: string): TarEntry => ({
  type: 'directory',
  name,
  ...{ link: '', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0n, major: 0, minor: 0, xattrs: new Map() },
});

test('the end of an image ends at an abort, also between its directories, and gives the same bytes in turns', async (t) => {
  const base = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'finish-'));
  t.after(() => rmSync(base, { recursive: true }));
  const make = (name: string) => {
    const layer = new ErofsLayer(join(base, name), defaultImageOptions.limits);
    for (let n = 0; n < 20; n++) {
      layer.entry(directory(`directory-${n}/`));
      layer.entryEnd();
    }
    return layer;
  };
  // Each step is as long as a turn.
  let now = 0;
  t.mock.method(performance, 'now', () => {
    now += 1000;
    return now;
  });
  const controller = new AbortController();
  const reason = new CrispError('Cancelled', 'not wanted');
  let turns = 0;
  const next = (): void => {
    if (++turns < 30) setImmediate(next);
    else controller.abort(reason);
  };
  setImmediate(next);
  using cancelled = make('cancelled');
  await assert.rejects(cancelled.finish(controller.signal), (error) => error === reason);
  using whole = make('whole');
  using again = make('again');
  const never = new AbortController().signal;
  const inTurns = await whole.finish(never);
  t.mock.restoreAll();
  assert.deepEqual(inTurns, await again.finish(never));
});
