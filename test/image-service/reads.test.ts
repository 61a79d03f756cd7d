/** Connections that read into one buffer: nothing that is kept of one read may be in the memory of the next one. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { createServer as createSecure } from 'node:tls';
import { Agent } from 'undici';
import { ReadBuffer } from '#image-service/registry/http/read-buffer.ts';
import { ResponseBody } from '#image-service/registry/http/response-body.ts';
import { tlsConnector } from '#image-service/registry/http/tls-connector.ts';
import { noTls } from '#image-service/registry/http/tls-settings.ts';
import { makeAuthority } from './tls.ts';

const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'reads-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const { cert, key } = makeAuthority(directory, 'corp').issue('good', ['IP:127.0.0.1']);

interface Answered {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Buffer;
}

/** A server that writes what `answer` has for the path, `end` being that of the connection, and a client whose connections share a buffer of this size. */
async function exchange(
  scheme: 'http' | 'https',
  size: number,
  answer: (path: string) => readonly (string | Buffer)[],
) {
  let connections = 0;
  const serve = (socket: Socket): void => {
    connections++;
    socket.on('error', () => {});
    let request = '';
    socket.on('data', (data) => {
      request += data.toString('latin1');
      if (!request.endsWith('\r\n\r\n')) return;
      const path = request.split(' ')[1] ?? '';
      request = '';
      for (const piece of answer(path)) {
        if (piece === 'end') socket.end();
        else socket.write(piece);
      }
    });
  };
  const server = scheme === 'http' ? createServer(serve) : createSecure({ cert, key }, serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const reads = new ReadBuffer(size);
  const tls = scheme === 'http' ? noTls : { ...noTls, options: { rejectUnauthorized: false } };
  const agent = new Agent({ connections: 4, connect: tlsConnector(tls, 10_000, reads) });
  return {
    connections: () => connections,
    /** `taken`: called before each piece is taken. */
    async get(path: string, lend: boolean, taken = async () => {}): Promise<Answered> {
      const head = Promise.withResolvers<{ headers: Answered['headers']; body: ResponseBody }>();
      const done = agent.stream({ origin: `${scheme}://127.0.0.1:${port}`, path, method: 'GET' }, (found) => {
        const body = new ResponseBody(undefined);
        if (lend) reads.lend(body);
        head.resolve({ headers: found.headers, body });
        return body;
      });
      done.catch(head.reject);
      const { headers, body } = await head.promise;
      const pieces: Buffer[] = [];
      for await (const piece of body) {
        pieces.push(Buffer.from(piece));
        await taken();
      }
      return { headers, bytes: Buffer.concat(pieces) };
    },
    async [Symbol.asyncDispose]() {
      await agent.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

const body = randomBytes(3 << 20);
const turn = (): Promise<void> => new Promise(setImmediate);

for (const scheme of ['http', 'https'] as const) {
  test(`${scheme}: heads and bodies are whole, over many reads of few bytes and on the same connection`, async () => {
    const rest = body.subarray(0, 5000);
    await using client = await exchange(scheme, 48, (path) => [
      `HTTP/1.1 200 OK\r\nX-Path: ${path}\r\nX-Long: ${'abcdefgh'.repeat(40)}\r\n`,
      `Content-Length: ${rest.length}\r\nX-Last: ${'0123456789'.repeat(20)}\r\n\r\n`,
      rest,
    ]);
    for (const path of ['/first', '/second', '/third']) {
      const { headers, bytes } = await client.get(path, true);
      assert.equal(headers['x-path'], path);
      assert.equal(headers['x-long'], 'abcdefgh'.repeat(40));
      assert.equal(headers['x-last'], '0123456789'.repeat(20));
      assert.ok(bytes.equals(rest));
      await turn(); // undici uses it again in a later turn
    }
    assert.equal(client.connections(), 1);
  });

  test(`${scheme}: large bodies are whole on connections that share the buffer and wait for their readers`, async () => {
    await using client = await exchange(scheme, 65_536, () => [
      `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`,
      body,
    ]);
    // While this one is not read others are.
    const slow = client.get('/slow', true, async () => {
      const [first, second] = await Promise.all([client.get('/a', true), client.get('/b', false)]);
      assert.ok(first.bytes.equals(body));
      assert.ok(second.bytes.equals(body));
    });
    assert.ok((await slow).bytes.equals(body));
  });

  test(`${scheme}: a chunked body is whole, with trailers, on connections that wait for their readers`, async () => {
    const chunks = Array.from({ length: 200 }, (_, n) => body.subarray(n * 10_000, (n + 1) * 10_000));
    await using client = await exchange(scheme, 4096, () => [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      ...chunks.flatMap((chunk) => [`${chunk.length.toString(16)}\r\n`, chunk, '\r\n']),
      `0\r\nX-Trailer: ${'t'.repeat(300)}\r\n\r\n`,
    ]);
    const whole = Buffer.concat(chunks);
    const slow = client.get('/slow', true, async () => {
      for (const lend of [false, true]) assert.ok((await client.get('/', lend)).bytes.equals(whole));
    });
    assert.ok((await slow).bytes.equals(whole));
  });
}

test('a body that ends with its connection is whole, one that is cut fails', async () => {
  const rest = body.subarray(0, 100_000);
  await using client = await exchange('http', 4096, (path) => [
    `HTTP/1.1 200 OK\r\n${path === '/cut' ? 'Content-Length: 100001' : 'Connection: close'}\r\n\r\n`,
    rest,
    'end',
  ]);
  for (const lend of [false, true]) {
    assert.ok((await client.get('/', lend)).bytes.equals(rest));
    await assert.rejects(client.get('/cut', lend), { code: 'UND_ERR_SOCKET' });
  }
});
