import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { newerRecords } from '#core/newer-records.ts';
import { newerTroubles } from './newer-records.ts';

const none = { count: 0, mayRun: 0 };

test('records of a newer crisp are counted; the node gets no pods while one of them may run', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'newer-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'a'));
  const broken = (key: string, isNewer: boolean) => ({
    key,
    reason: '',
    isMissing: false,
    isPassing: isNewer,
    isNewer,
    hint: undefined,
  });
  const found = newerRecords([broken('a', true), broken('b', true), broken('a', false)], directory);
  assert.deepEqual(found, { count: 2, mayRun: 1 });
  assert.deepEqual(newerTroubles({ newerRecords: none }, { newerRecords: none }), []);
  const [running] = newerTroubles({ newerRecords: { count: 1, mayRun: 0 } }, { newerRecords: found });
  assert.equal(running?.podsFail, true);
  assert.match(running?.message ?? '', /recorded 1 pod and 2 containers, which may run unlisted$/);
  assert.match(running?.hint ?? '', /start the newer crisp, or drain the node first/);
  const [ended] = newerTroubles({ newerRecords: { count: 1, mayRun: 0 } }, { newerRecords: none });
  assert.equal(ended?.podsFail, false);
  assert.match(ended?.message ?? '', /recorded 1 pod, which are not listed/);
});
