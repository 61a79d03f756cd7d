/** Connections to registries: TLS with its authorities, silence before the response, the next request on the same connection. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createPlain, type Server } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { EndpointOptions } from '#image-service/index.ts';
import { fails } from './scene.ts';
import { operation, startService } from './service.ts';

const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'connections-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const [keyFile, certFile] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
const made = spawnSync('openssl', [
  ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry'.split(
    ' ',
  ),
  ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certFile],
]);
assert.equal(made.status, 0, String(made.stderr));
const [key, cert] = [readFileSync(keyFile, 'utf8'), readFileSync(certFile, 'utf8')];

async function listening(server: Server): Promise<AsyncDisposable & { port: number }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

let count = 0;

/** Pulls from a registry host whose one endpoint is this. */
async function pull(endpoint: EndpointOptions): Promise<unknown> {
  await using pulled = await startService(join(directory, `service-${count++}`), {
    registries: { 'registry.test': [endpoint] },
    noByteMs: 300,
    attempts: 1,
  });
  return await pulled.service.pull({ reference: 'registry.test/app:v1' }, operation('pull'));
}

test('a certificate is accepted with its authority, or without verification', async () => {
  await using server = await listening(
    createServer({ key, cert }, (_, res) => void res.writeHead(404).end()),
  );
  const url = `https://127.0.0.1:${server.port}`;
  await fails(pull({ url }), 'RegistryUnavailable', url, 'TLS: ', 'SELF_SIGNED');
  await fails(pull({ url, caFile: certFile }), 'NotFound', url);
  await fails(pull({ url, insecureSkipVerify: true }), 'NotFound', url);
});

test('a registry without TLS is distinguished from a missing one', async () => {
  await using server = await listening(createPlain((_, res) => void res.writeHead(404).end()));
  const url = `https://127.0.0.1:${server.port}`;
  await fails(pull({ url }), 'RegistryUnavailable', url);
});

test('a registry that does not reply times out, with its name', async () => {
  await using server = await listening(createPlain(() => {}));
  const url = `http://127.0.0.1:${server.port}`;
  await fails(pull({ url }), 'RegistryUnavailable', url, 'no byte for 0.3 s before the response');
});

test('requests one after another go over one connection', async () => {
  const server = createPlain((req, res) => {
    if (req.url?.includes('manifests')) res.writeHead(200, { 'content-type': 'text/plain' }).end('{}');
    else res.writeHead(404).end();
  });
  let connections = 0;
  server.on('connection', () => connections++);
  await using open = await listening(server);
  await using pulled = await startService(join(directory, 'kept'), {
    registries: { 'registry.test': [{ url: `http://127.0.0.1:${open.port}` }] },
  });
  for (let n = 0; n < 3; n++)
    await assert.rejects(pulled.service.pull({ reference: 'registry.test/app:v1' }, operation('pull')));
  assert.equal(connections, 1);
});
