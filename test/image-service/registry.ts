/** Debian's docker-registry on loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
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
export interface RegistryOptions {
  readonly login?: boolean;
  /** A certificate, and the authorities of the clients' where they must have one. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly clientCaFile?: string };
}

export async function startRegistry(directory: string, options: RegistryOptions = {}): Promise<Registry> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'htpasswd'), HTPASSWD);
  const auth = options.login ? `auth: {htpasswd: {realm: test, path: ${directory}/htpasswd}}\n` : '';
  const { tls } = options;
  const clients = tls?.clientCaFile ? `, clientcas: [${tls.clientCaFile}]` : '';
  const secure = tls ? `, tls: {certificate: ${tls.certFile}, key: ${tls.keyFile}${clients}}` : '';
  writeFileSync(
    join(directory, 'config.yml'),
    `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\nhttp: {addr: '${host}'${secure}}\n${auth}`,
  );
  const child = spawn('docker-registry', ['serve', join(directory, 'config.yml')], { stdio: 'ignore' });
  const orphaned = (): void => void child.kill('SIGKILL');
  process.once('exit', orphaned);
  await answers(port, child);
  return {
    host,
    url: `${tls ? 'https' : 'http'}://${host}`,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      process.removeListener('exit', orphaned);
    },
  };
}

async function answers(port: number, child: ChildProcess): Promise<void> {
  for (let n = 0; n < 500; n++) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    const connected = await once(socket, 'connect').catch(() => undefined);
    socket.destroy();
    if (connected) return;
    await sleep(20);
  }
  throw new Error('docker-registry does not answer');
}
