/** Who is not root: each command says so, with what to do, and without a stack. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const NOBODY = 65534;
const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'permissions-'));
chmodSync(directory, 0o755);
after(() => rmSync(directory, { recursive: true }));

/** What the command prints as nobody, and its exit code. */
async function asNobody(...words: readonly string[]): Promise<string> {
  const program = `
    process.setgroups([]);
    process.setgid(${NOBODY});
    process.setuid(${NOBODY});
    const { main, report } = await import(${JSON.stringify(MAIN)});
    const terminal = { out() {}, err() {}, interactive: false };
    const { signal } = new AbortController();
    const ended = await main(${JSON.stringify(words)}, { terminal, signal }).catch((error) => error);
    process.stdout.write(report(ended).join(''));
    process.exit();
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (piece) => (out += piece));
  await new Promise((resolve) => child.once('close', resolve));
  return out;
}

test('serve needs root', async () => {
  const at = ['root', 'state'].flatMap((name) => [`--${name}`, join(directory, name)]);
  const text = await asNobody('serve', ...at);
  assert.match(text, /^crisp serve needs root: .*\nhint: start it as root, .*systemctl start crisp\n1$/);
});

test('the admin socket is for root, which is no daemon that has gone', async (t) => {
  const socket = join(directory, 'admin.sock');
  const server = createServer().listen(socket);
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  chmodSync(socket, 0o600);
  const text = await asNobody('status', '--admin-socket', socket);
  assert.match(
    text,
    /^crisp: no permission to open \S+admin\.sock: .*EACCES.*\nhint: run the command with sudo/,
  );
  const pods = await asNobody('ctl', '-r', `unix://${socket}`, 'pods');
  assert.match(pods, /^crisp: connect EACCES .*\nhint: run the command with sudo/);
});
