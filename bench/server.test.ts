import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { Server } from './server.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-server-'));
test.after(() => rmSync(directory, { recursive: true }));

const start = (...argv: string[]) =>
  Server.start(
    { argv, socket: join(directory, 'none.sock'), logFile: join(directory, 'log') },
    async () => true,
  );

test('a server that exits instead of serving is an error with the end of its log', async () => {
  await assert.rejects(
    start('sh', '-c', 'echo no such option >&2; exit 3'),
    (error) =>
      error instanceof CrispError &&
      error.code === 'Unavailable' &&
      /exited with 3[\s\S]*no such option/.test(error.message),
  );
});

test('a server that is not installed is an error that names it', async () => {
  await assert.rejects(start('/no/such/containerd'), /\/no\/such\/containerd does not serve: .*ENOENT/);
});
