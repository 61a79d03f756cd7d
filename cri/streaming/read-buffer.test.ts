/** Connections with a reused read buffer: a buffer that was kept is never written again. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { Socket } from 'node:net';
import { type Duplex, Writable } from 'node:stream';
import test from 'node:test';
import { BufferedSocket, takeReads, writeReusedBuffer } from './read-buffer.ts';

/** A connection after its upgrade: the server's side taken over by the test, and the client's. */
async function upgraded(): Promise<{
  old: Socket;
  server: Duplex;
  client: Duplex;
  end: () => Promise<void>;
}> {
  const http = createServer();
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  assert.ok(typeof address === 'object' && address);
  const call = request({
    port: address.port,
    host: '127.0.0.1',
    headers: { Connection: 'Upgrade', Upgrade: 'x' },
  });
  const made = once(call, 'upgrade') as Promise<[unknown, Duplex]>;
  const asked = once(http, 'upgrade') as Promise<[unknown, Socket]>;
  call.end();
  const [, old] = await asked;
  const server = BufferedSocket.of(old);
  server.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
  const [, client] = await made;
  client.on('error', () => {});
  const end = async (): Promise<void> => {
    client.destroy();
    server.destroy();
    await new Promise((resolve) => http.close(resolve)); // waits for each connection that it has accepted
  };
  return { old, server, client, end };
}

test('reads reuse one buffer until it is kept', async () => {
  const { server, client, end } = await upgraded();
  assert.ok(server instanceof BufferedSocket);
  const buffers = new Set<ArrayBufferLike>();
  const kept: Buffer[] = [];
  takeReads(server, (bytes) => {
    buffers.add(bytes.buffer);
    const keeps = bytes[0] === 0x6b;
    if (keeps) kept.push(bytes);
    server.write(`${bytes.length}`);
    return keeps;
  });
  for (const word of ['a', 'bb', 'keep', 'cc', 'dd', 'keep too', 'ee']) {
    client.write(word);
    assert.equal(String((await once(client, 'data'))[0]), String(word.length));
  }
  assert.equal(buffers.size, 3);
  assert.deepEqual(kept.map(String), ['keep', 'keep too']);
  await end();
});

test('both sockets of a connection end with it, and its end is reported', async () => {
  const { old, server, client, end } = await upgraded();
  takeReads(server, () => false);
  client.end();
  await once(server, 'end');
  const closed = [once(old, 'close'), once(server, 'close')];
  old.destroy();
  await Promise.all(closed);
  await end();
});

test('a socket without a handle is left as it is', async () => {
  const { old, end } = await upgraded();
  assert.equal(BufferedSocket.of(old), old);
  await end();
});

test('what a sink does not take at once is kept; what would queue behind it is copied', () => {
  const done: (() => void)[] = [];
  const chunks: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      chunks.push(chunk);
      done.push(callback);
    },
  });
  const [first, second] = [Buffer.from('first'), Buffer.from('second')];
  assert.equal(writeReusedBuffer(sink, first), true);
  assert.equal(writeReusedBuffer(sink, second), false);
  second.fill(0);
  done.shift()?.();
  assert.deepEqual(chunks.map(String), ['first', 'second']);
  const quick = new Writable({ write: (_chunk, _encoding, callback) => callback() });
  assert.equal(writeReusedBuffer(quick, first), false);
});

test('a client that pauses its reads still gets all bytes, unchanged', async () => {
  const { server, client, end } = await upgraded();
  client.pause();
  let reused = Buffer.alloc(64 << 10);
  const sent: Buffer[] = [];
  for (let n = 0; n < 200; n++) {
    reused.fill(n);
    sent.push(Buffer.from(reused));
    if (writeReusedBuffer(server as Socket, reused)) reused = Buffer.alloc(reused.length);
  }
  const got: Buffer[] = [];
  let size = 0;
  client.on('data', (bytes: Buffer) => {
    got.push(bytes);
    size += bytes.length;
    if (size === 200 * reused.length) client.emit('all');
  });
  await once(client.resume(), 'all');
  assert.ok(Buffer.concat(got).equals(Buffer.concat(sent)));
  await end();
});
