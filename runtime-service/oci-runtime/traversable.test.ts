import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { requireTraversable } from './traversable.ts';

test('a directory on the way that bars others is named, with what to do', async (t) => {
  const top = mkdtempSync('/var/tmp/crisp-passable-');
  t.after(() => rmSync(top, { recursive: true }));
  const state = join(top, 'deep/state');
  mkdirSync(state, { recursive: true, mode: 0o755 });
  await assert.rejects(requireTraversable(state), (error: Error & { code?: string; hint?: string }) => {
    assert.equal(error.code, 'FailedPrecondition');
    assert.ok(error.message.includes(`${top} (mode 0700)`), error.message);
    assert.match(error.hint ?? '', /chmod o\+x/);
    return true;
  });
  chmodSync(top, 0o711);
  await requireTraversable(state);
});
