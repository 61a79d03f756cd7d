/** The channel protocols, with valid and with hostile messages. */
import assert from 'node:assert/strict';
import { type Duplex, duplexPair } from 'node:stream';
import test from 'node:test';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { Channels } from './channels.ts';

const STDIN = 0;
const LIMIT = 1 << 20;

/** One end of a WebSocket whose handshake is over. */
function peer(socket: Duplex, isServer: boolean): WebSocket {
  const made = new WebSocket(null as never, [], {}) as WebSocket & {
    setSocket(socket: Duplex, head: Buffer, options: object): void;
  };
  Object.assign(made, { _isServer: isServer });
  made.setSocket(socket, Buffer.alloc(0), {
    maxPayload: LIMIT,
    skipUTF8Validation: true,
    allowSynchronousEvents: true,
  });
  return made;
}

for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io', '']) {
  test(`${protocol || 'no protocol'}: any messages: those of the input arrive in order, until its end`, async () => {
    const base64 = protocol.includes('base64');
    const message = fc.tuple(fc.oneof(fc.constant(STDIN), fc.nat(255)), fc.uint8Array({ maxLength: 200 }));
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 12 }), async (messages) => {
        const [near, far] = duplexPair();
        const client = peer(far, false);
        const channels = new Channels(peer(near, true), protocol);
        const input = channels.source(STDIN);
        const got: Buffer[] = [];
        input.on('data', (bytes: Buffer) => got.push(bytes));
        const expected: Buffer[] = [];
        let over = false;
        for (const [channel, payload] of messages) {
          const bytes = Buffer.from(payload);
          const isInput = base64 ? channel % 10 === STDIN : channel === STDIN;
          if (isInput && !over) expected.push(bytes);
          if (protocol.startsWith('v5') && channel === 255 && bytes[0] === STDIN) over = true;
          client.send(
            base64
              ? `${channel % 10}${bytes.toString('base64')}`
              : Buffer.concat([Buffer.of(channel), bytes]),
          );
        }
        client.close(1000);
        assert.equal(await channels.ended, undefined);
        if (!input.readableEnded) await new Promise((resolve) => input.once('end', resolve));
        assert.deepEqual(Buffer.concat(got), Buffer.concat(expected));
      }),
    );
  });
}

test('any bytes instead of frames are survived', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 10 }), async (parts) => {
      const [near, far] = duplexPair();
      far.on('error', () => {});
      far.resume();
      const channels = new Channels(peer(near, true), 'v5.channel.k8s.io');
      channels.source(STDIN).resume();
      for (const part of parts) if (!far.destroyed && !far.writableEnded) far.write(part);
      far.end();
      channels.destroy();
      await channels.ended;
    }),
    { numRuns: 200 },
  );
});
