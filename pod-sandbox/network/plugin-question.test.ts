import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import type { Output } from '#linux/ports/kernel.ts';
import { parseNetworkConfig } from './cni/conflist.ts';
import { askPlugin } from './plugin-question.ts';

test('a question that is cancelled waits until the killed plugin has ended', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-question-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, 'slow'), '', { mode: 0o755 });
  const config = parseNetworkConfig('x', '{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"slow"}]}');
  const [begun, ended] = [Promise.withResolvers<AbortSignal>(), Promise.withResolvers<Output>()];
  const processes = {
    run(_: unknown, signal: AbortSignal) {
      begun.resolve(signal);
      return ended.promise;
    },
  };
  const observer = { called() {}, collected() {} } as never;
  const calls = { processes, observer, binDirs: [directory], environment: {}, maxOutput: 1_000 };
  const [plugin] = config.plugins;
  assert.ok(plugin);
  const closing = new AbortController();
  const op = new Operation('test', { signal: closing.signal });
  let settled = false;
  const asked = askPlugin({ command: 'GC', plugin, config, more: {}, limit: 60_000 }, calls, op).finally(
    () => {
      settled = true;
    },
  );
  asked.catch(() => {});
  const signal = await begun.promise;
  const aborted = once(signal, 'abort');
  closing.abort();
  await aborted;
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(settled, false);
  ended.reject(new Error('killed'));
  await assert.rejects(asked, (error) => hasCode(error, 'Cancelled'));
});
