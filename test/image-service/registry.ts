/** Debian's docker-registry on loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Registry extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly host: string;
  /** `http://127.0.0.1:port`. */
  readonly url: string;
}

/** user `user`, password `secret`. */
const HTPASSWD = 'user:$2b$04$safb6vvDzFlNan/oAJXud.M6TWx5.1SGK6GiSnGQ9YGKPGvhJncCa\n';

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address ? address.port : 0;
}

/** Starts one that keeps its blobs below the directory. */
export async function startRegistry(directory: string, options: { login?: boolean } = {}): Promise<Registry> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'htpasswd'), HTPASSWD);
  const auth = options.login ? `auth: {htpasswd: {realm: test, path: ${directory}/htpasswd}}\n` : '';
  writeFileSync(
    join(directory, 'config.yml'),
    `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\nhttp: {addr: '${host}'}\n${auth}`,
  );
  const child = spawn('docker-registry', ['serve', join(directory, 'config.yml')], { stdio: 'ignore' });
  process.once('exit', () => child.kill('SIGKILL'));
  await answers(`http://${host}/v2/`, child);
  return {
    host,
    url: `http://${host}`,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function answers(url: string, child: ChildProcess): Promise<void> {
  for (let n = 0; n < 500; n++) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
    const answer = await fetch(url).catch(() => undefined);
    if (answer) return;
    await sleep(20);
  }
  throw new Error('docker-registry does not answer');
}
