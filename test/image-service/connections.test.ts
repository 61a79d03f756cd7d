/** Connections to registries: certificates that are refused, silence before the response, the next request on the same connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createPlain, type Server } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { EndpointOptions } from '#image-service/index.ts';
import { fails } from './scene.ts';
import { operation, startService } from './service.ts';
import { makeAuthority, type Pair } from './tls.ts';

const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'connections-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const authority = makeAuthority(directory, 'corp');
const good = authority.issue('good', ['IP:127.0.0.1']);

interface Listening extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  /** Number of connections so far. */
  readonly connections: () => number;
}

async function listening(server: Server): Promise<Listening> {
  let connections = 0;
  server.on('connection', () => connections++).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    server,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const secure = ({ cert, key }: Pair) =>
  listening(createServer({ key, cert }, (_, res) => void res.writeHead(404).end()));

let count = 0;

/** Pulls from a registry host whose one endpoint is this. */
async function pull(endpoint: EndpointOptions, attempts = 1, noByteMs = 60_000): Promise<unknown> {
  await using pulled = await startService(join(directory, `service-${count++}`), {
    registries: { 'registry.test': [endpoint] },
    noByteMs,
    attempts,
  });
  return await pulled.service.pull({ reference: 'registry.test/app:v1' }, operation('pull'));
}

test('a certificate is accepted with its authority, or without verification', async () => {
  await using server = await secure(good);
  const url = `https://127.0.0.1:${server.port}`;
  await fails(
    pull({ url }),
    'RegistryUnavailable',
    url,
    'unknown authority',
    'CN=good',
    'issued by O=Test, CN=corp',
  );
  await fails(pull({ url, caFile: authority.certFile }), 'NotFound', url);
  await fails(pull({ url, insecureSkipVerify: true }), 'NotFound', url);
});

test('a refused certificate: the host, what the certificate says, the remedy, and one try', async () => {
  const self = makeAuthority(directory, 'self');
  for (const [pair, address, words, hint] of [
    [
      authority.issue('expired', ['IP:127.0.0.1'], -1),
      '127.0.0.1',
      ['has expired', 'CN=expired', 'valid from 20'],
      'renew',
    ],
    [
      authority.issue('other', ['DNS:other.test', 'IP:127.0.0.2']),
      '127.0.0.1',
      ['not for this name', 'DNS:other.test, IP:127.0.0.2'],
      'names of its certificate',
    ],
    [
      authority.issue('nameless', []),
      'localhost',
      ['not for this name', 'CN=nameless'],
      'names of its certificate',
    ],
    [self, '127.0.0.1', ['unknown authority', 'issued by O=Test, CN=self'], 'update-ca-certificates'],
  ] as const) {
    await using server = await secure(pair);
    const host = `${address}:${server.port}`;
    const pulled = pull({ url: `https://${host}`, caFile: authority.certFile }, 3);
    const error = await fails(pulled, 'RegistryUnavailable', `TLS with ${host}`, ...words);
    assert.ok(error.hint.includes(hint), error.hint);
    assert.equal(server.connections(), 1);
  }
});

test('http to a server with TLS, and https to one without, are told apart', async () => {
  await using plain = await listening(createPlain((_, res) => void res.writeHead(404).end()));
  const wrong = pull({ url: `https://127.0.0.1:${plain.port}` }, 3);
  const error = await fails(
    wrong,
    'RegistryUnavailable',
    `TLS with 127.0.0.1:${plain.port}`,
    'does not use TLS',
  );
  assert.match(error.hint, /insecure = true/);
  assert.equal(plain.connections(), 1);
  await using tls = await secure(good);
  const other = pull({ url: `http://127.0.0.1:${tls.port}` });
  await fails(other, 'RegistryUnavailable', `http://127.0.0.1:${tls.port}`);
});

test('what does not reply by HTTP is named as that, and not asked again', async () => {
  for (const reply of [Buffer.from('15030300020246', 'hex'), 'SSH-2.0-OpenSSH_9.2\r\n', 'hello']) {
    await using server = await listening(createPlain());
    let asked = 0;
    server.server.removeAllListeners('connection').on('connection', (socket: Socket) => {
      asked++;
      socket.on('error', () => {}).once('data', () => socket.end(reply));
    });
    const url = `http://127.0.0.1:${server.port}`;
    const error = await fails(pull({ url }, 3), 'RegistryUnavailable', url, 'the response is not HTTP');
    assert.match(error.hint, /http:\/\//);
    assert.equal(asked, 1);
  }
});

test('informational responses are skipped, and end where they do not', async () => {
  await using server = await listening(createPlain());
  const sockets = new Set<Socket>();
  let endless = true;
  server.server.removeAllListeners('connection').on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.once('data', () => {
      const hint = 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n';
      if (!endless) {
        socket.end(`${hint}${hint}HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n`);
        return;
      }
      const timer = setInterval(() => socket.write(hint), 20);
      socket.once('close', () => clearInterval(timer));
    });
  });
  const url = `http://127.0.0.1:${server.port}`;
  await fails(pull({ url }, 2), 'RegistryUnavailable', url, 'informational responses');
  endless = false;
  await fails(pull({ url }), 'NotFound', url);
  for (const socket of sockets) socket.destroy();
});

test('a server that asks for TLS in words', async () => {
  for (const text of [
    'Client sent an HTTP request to an HTTPS server.\n',
    '<h1>400 The plain HTTP request was sent to HTTPS port</h1>',
  ]) {
    await using server = await listening(createPlain((_, res) => void res.writeHead(400).end(text)));
    const error = await fails(
      pull({ url: `http://127.0.0.1:${server.port}` }),
      'FailedPrecondition',
      '400',
      'requires TLS',
    );
    assert.match(error.hint, /https/);
  }
});

test('a registry that does not reply times out, with its name', async () => {
  await using server = await listening(createPlain(() => {}));
  const url = `http://127.0.0.1:${server.port}`;
  await fails(pull({ url }, 1, 300), 'RegistryUnavailable', url, 'no byte for 0.3 s before the response');
});

test('requests one after another go over kept connections, with TLS, too', async () => {
  const reply: Parameters<typeof createPlain>[1] = (req, res) => {
    if (req.url?.includes('manifests')) res.writeHead(200, { 'content-type': 'text/plain' }).end('{}');
    else res.writeHead(404).end();
  };
  await using plain = await listening(createPlain(reply));
  await using tls = await listening(createServer({ key: good.key, cert: good.cert }, reply));
  await using pulled = await startService(join(directory, 'kept'), {
    registries: {
      'plain.test': [{ url: `http://127.0.0.1:${plain.port}` }],
      'secure.test': [{ url: `https://127.0.0.1:${tls.port}`, caFile: authority.certFile }],
    },
  });
  for (const host of ['plain.test', 'secure.test'])
    for (let n = 0; n < 6; n++)
      await assert.rejects(pulled.service.pull({ reference: `${host}/app:v1` }, operation('pull')));
  // undici opens another one where the first is still being returned to its pool.
  for (const { connections } of [plain, tls]) assert.ok(connections() <= 2, `${connections()} connections`);
});
