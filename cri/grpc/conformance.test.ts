/**
 * crisp's gRPC server and @grpc/grpc-js under the same tests, with the client of @grpc/grpc-js and with node:http2, which shows what
 * is on the wire. Where the reference differs from the specification, only crisp is asked, and the test says so.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before, describe, type TestContext } from 'node:test';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  MAX_CALLS,
  MAX_REQUEST,
  type Methods,
  own,
  type Running,
  reference,
  SERVICE,
} from './conformance-subjects.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-grpc-'));
after(() => rmSync(directory, { recursive: true }));
const same = (bytes: Buffer): Buffer => bytes;

/** What a test holds back: each call of `Wait` and each turn of `Slow` passes here. */
interface Gate {
  readonly begun: (() => void)[];
  readonly cancelled: (() => void)[];
  open: Promise<void>;
}

function methodsOf(gate: Gate, seen: { sent: number }): Methods {
  return {
    unary: {
      Echo: async (request) => request,
      Header: async (request, { header }) => Buffer.from(header(request.toString()) ?? '(none)'),
      Fail: async (request) => {
        throw { code: status.NOT_FOUND, details: request.toString() };
      },
      Large: async (request) => Buffer.alloc(Number(request), 'x'),
      Wait: async (_request, { signal }) => {
        signal.addEventListener('abort', () => gate.cancelled.shift()?.());
        gate.begun.shift()?.();
        await gate.open;
        return Buffer.from('waited');
      },
    },
    streaming: {
      async *Count(request) {
        for (let at = 0; at < Number(request); at += 1) yield Buffer.from(String(at));
      },
      async *Blocks(request) {
        for (let at = 0; at < Number(request); at += 1) {
          seen.sent += 1;
          yield Buffer.alloc(1 << 16, 'y');
        }
      },
      async *FailLate() {
        yield Buffer.from('first');
        throw { code: status.ABORTED, details: 'later' };
      },
    },
  };
}

const prefixed = (message: Buffer, flag = 0): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders | undefined;
  readonly body: Buffer;
  readonly reset: number | undefined;
}

/** Opens a stream as a gRPC client does. */
const open = (
  session: ClientHttp2Session,
  method: string,
  more: Record<string, string> = {},
): ClientHttp2Stream =>
  session.request({
    ':method': 'POST',
    ':path': `/${SERVICE}/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...more,
  });

async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders | undefined;
  const pieces: Buffer[] = [];
  stream.on('response', (received) => {
    headers = received;
  });
  stream.on('trailers', (received) => {
    trailers = received;
  });
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('error', () => {});
  await once(stream, 'close');
  return { headers, trailers, body: Buffer.concat(pieces), reset: stream.rstCode || undefined };
}

/** The status of an answer, in trailers or, where there is no message, in the only headers. */
function statusOf({ headers, trailers }: Answer): [code: number, details: string] {
  const fields = trailers ?? headers;
  const code = Number(fields['grpc-status'] ?? -1);
  // The words of a success are nobody's: the reference sends 'OK'.
  return [code, code === status.OK ? '' : decodeURIComponent(String(fields['grpc-message'] ?? ''))];
}

for (const subject of [own, reference]) {
  describe(subject.name, () => {
    const isOwn = subject === own;
    const socket = join(directory, `${isOwn ? 'own' : 'reference'}.sock`);
    const gate: Gate = { begun: [], cancelled: [], open: Promise.resolve() };
    const seen = { sent: 0 };
    let running: Running;
    let client: Client;

    before(async () => {
      running = await subject.listen(socket, methodsOf(gate, seen));
      client = new Client(`unix:${socket}`, credentials.createInsecure(), {
        'grpc.max_receive_message_length': -1,
      });
    });
    after(() => {
      client.close();
      running.destroy();
    });

    function session(t: TestContext, settings: object = {}): ClientHttp2Session {
      const made = connect('http://localhost', { createConnection: () => connectSocket(socket), settings });
      made.on('error', () => {});
      t.after(() => made.destroy());
      return made;
    }

    /** Sends one request, whole. */
    async function ask(
      made: ClientHttp2Session,
      method: string,
      body: Buffer,
      more: Record<string, string> = {},
    ) {
      const stream = open(made, method, more);
      const answer = answerOf(stream);
      stream.end(body);
      return answer;
    }

    const unary = (
      method: string,
      request: Buffer,
      options = {},
      metadata = new Metadata(),
    ): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          `/${SERVICE}/${method}`,
          same,
          same,
          request,
          metadata,
          options,
          (error, reply) => (error ? reject(error) : resolve(reply as Buffer)),
        );
      });

    /** Holds `Wait` until what is returned is called. */
    function hold(t: TestContext): { begun: Promise<void>; cancelled: Promise<void>; release: () => void } {
      const [begun, cancelled, held] = Array.from({ length: 3 }, () => Promise.withResolvers<void>()) as [
        PromiseWithResolvers<void>,
        PromiseWithResolvers<void>,
        PromiseWithResolvers<void>,
      ];
      gate.begun.push(begun.resolve);
      gate.cancelled.push(cancelled.resolve);
      gate.open = held.promise;
      t.after(() => {
        held.resolve();
        gate.begun.length = 0;
        gate.cancelled.length = 0;
      });
      return { begun: begun.promise, cancelled: cancelled.promise, release: held.resolve };
    }

    test('an answer is headers, one message and trailers', async (t) => {
      const message = Buffer.from('hello');
      const answer = await ask(session(t), 'Echo', prefixed(message));
      assert.equal(answer.headers[':status'], 200);
      assert.match(String(answer.headers['content-type']), /^application\/grpc(\+proto)?$/);
      assert.deepEqual(answer.body, prefixed(message));
      assert.deepEqual(statusOf(answer), [status.OK, '']);
      assert.equal(answer.reset, undefined);
    });

    test('requests and replies of any size are the same on the other side', async () => {
      for (const size of [0, 1, 16_379, 16_380, 65_530, 65_531, 70_000, MAX_REQUEST]) {
        const message = Buffer.alloc(size, 'z');
        assert.ok((await unary('Echo', message)).equals(message), String(size));
      }
      assert.equal((await unary('Large', Buffer.from('5000000'))).length, 5_000_000);
    });

    test('a request may come in pieces of any size', async (t) => {
      const made = session(t);
      const body = prefixed(Buffer.from('in pieces'));
      const stream = open(made, 'Echo');
      const answer = answerOf(stream);
      for (const byte of body) {
        stream.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      stream.end();
      assert.deepEqual((await answer).body, body);
    });

    test('an error has its code and its words, whatever their characters', async (t) => {
      const words = 'a\u4e2d\n%\ud83d\ude00 \u007f~';
      const error = (await unary('Fail', Buffer.from(words)).catch(
        (thrown: unknown) => thrown,
      )) as ServiceError;
      assert.deepEqual([error.code, error.details], [status.NOT_FOUND, words]);
      const answer = await ask(session(t), 'Fail', prefixed(Buffer.from('gone')));
      assert.deepEqual(statusOf(answer), [status.NOT_FOUND, 'gone']);
      assert.equal(answer.trailers, undefined, 'without a message all is in the headers');
    });

    test('fields of the request reach the method, a long one in several frames too', async () => {
      for (const value of ['1', 'v'.repeat(3000), 'w'.repeat(6000)]) {
        const metadata = new Metadata();
        metadata.set('x-test', value);
        assert.equal(String(await unary('Header', Buffer.from('x-test'), {}, metadata)), value);
      }
    });

    test('a method that is not there is UNIMPLEMENTED', async () => {
      const error = (await unary('Missing', Buffer.alloc(0)).catch(
        (thrown: unknown) => thrown,
      )) as ServiceError;
      assert.equal(error.code, status.UNIMPLEMENTED);
    });

    test('what is not gRPC is refused by a status of HTTP', async (t) => {
      const answer = await ask(session(t), 'Echo', Buffer.alloc(0), { 'content-type': 'application/json' });
      assert.equal(answer.headers[':status'], 415);
    });

    test('the deadline ends the call on this side, too', async (t) => {
      const { begun, cancelled } = hold(t);
      const answer = ask(session(t), 'Wait', prefixed(Buffer.alloc(0)), { 'grpc-timeout': '100m' });
      await begun;
      await cancelled;
      assert.equal(statusOf(await answer)[0], status.DEADLINE_EXCEEDED);
    });

    test('a deadline that has no form is refused; one of thousands of years is none', async (t) => {
      const made = session(t);
      const wrong = await ask(made, 'Echo', prefixed(Buffer.alloc(0)), { 'grpc-timeout': 'soon' });
      assert.equal(statusOf(wrong)[0], status.INTERNAL);
      if (!isOwn) return; // the reference takes it for the past
      const far = await ask(made, 'Echo', prefixed(Buffer.alloc(0)), { 'grpc-timeout': '99999999H' });
      assert.equal(statusOf(far)[0], status.OK);
    });

    test('a client that resets its stream, or goes, cancels the call', async (t) => {
      const made = session(t);
      const first = hold(t);
      const stream = open(made, 'Wait');
      stream.on('error', () => {});
      stream.end(prefixed(Buffer.alloc(0)));
      await first.begun;
      stream.close(constants.NGHTTP2_CANCEL);
      await first.cancelled;
      const second = hold(t);
      const other = open(made, 'Wait');
      other.on('error', () => {});
      other.end(prefixed(Buffer.alloc(0)));
      await second.begun;
      made.destroy();
      await second.cancelled;
      assert.equal(String(await unary('Echo', Buffer.from('still there'))), 'still there');
    });

    test('a request that is too large is RESOURCE_EXHAUSTED, before all of it has come', {
      skip: !isOwn && 'the reference answers when it has come',
    }, async (t) => {
      const head = Buffer.alloc(5);
      head.writeUInt32BE(MAX_REQUEST + 1, 1);
      const stream = open(session(t), 'Echo');
      const answer = answerOf(stream);
      stream.write(head);
      assert.equal(statusOf(await answer)[0], status.RESOURCE_EXHAUSTED);
    });

    test('no message, or two of them, are UNIMPLEMENTED', async (t) => {
      const made = session(t);
      const two = Buffer.concat([prefixed(Buffer.from('1')), prefixed(Buffer.from('2'))]);
      for (const body of [Buffer.alloc(0), two])
        assert.equal(statusOf(await ask(made, 'Echo', body))[0], status.UNIMPLEMENTED);
    });

    test('a compression that is not known is UNIMPLEMENTED, and what is known is said', async (t) => {
      const made = session(t);
      const body = prefixed(Buffer.from('x'), 1);
      const answer = await ask(made, 'Echo', body, { 'grpc-encoding': 'snappy' });
      assert.equal(statusOf(answer)[0], status.UNIMPLEMENTED);
      if (!isOwn) return; // the reference decompresses gzip, and says what it takes in every answer
      assert.match(String(answer.headers['grpc-accept-encoding']), /identity/);
      assert.equal(
        statusOf(await ask(made, 'Echo', body, { 'grpc-encoding': 'gzip' }))[0],
        status.UNIMPLEMENTED,
      );
      assert.equal(
        statusOf(await ask(made, 'Echo', body))[0],
        status.INTERNAL,
        'the flag without an encoding',
      );
    });

    test('a request that ends amid its message is an error', {
      skip: !isOwn && 'the reference gives no answer',
    }, async (t) => {
      const answer = await ask(session(t), 'Echo', prefixed(Buffer.from('whole')).subarray(0, 7));
      assert.equal(statusOf(answer)[0], status.INTERNAL);
    });

    test('pings are answered while a call runs', async (t) => {
      const made = session(t);
      const { begun, release } = hold(t);
      const answer = ask(made, 'Wait', prefixed(Buffer.alloc(0)));
      await begun;
      const payload = Buffer.from('12345678');
      for (let count = 0; count < 3; count += 1) {
        const echoed = await new Promise<Buffer>((resolve) =>
          made.ping(payload, (_error, _ms, bytes) => resolve(bytes)),
        );
        assert.deepEqual(echoed, payload);
      }
      release();
      assert.equal(statusOf(await answer)[0], status.OK);
    });

    test('a server stream: each message, then the trailers; an error may come after messages', async (t) => {
      const made = session(t);
      const counted = await ask(made, 'Count', prefixed(Buffer.from('300')));
      const all = Array.from({ length: 300 }, (_, at) => prefixed(Buffer.from(String(at))));
      assert.deepEqual(counted.body, Buffer.concat(all));
      assert.deepEqual(statusOf(counted), [status.OK, '']);
      const empty = await ask(made, 'Count', prefixed(Buffer.from('0')));
      assert.deepEqual([empty.body.length, statusOf(empty)[0]], [0, status.OK]);
      const failed = await ask(made, 'FailLate', prefixed(Buffer.alloc(0)));
      assert.deepEqual(failed.body, prefixed(Buffer.from('first')));
      assert.deepEqual(statusOf(failed), [status.ABORTED, 'later']);
    });

    test('a client that does not read holds up its own stream alone', async (t) => {
      const made = session(t, { initialWindowSize: 1 << 15 });
      seen.sent = 0;
      const slow = open(made, 'Blocks');
      slow.on('error', () => {});
      slow.end(prefixed(Buffer.from('1000')));
      slow.pause();
      await once(slow, 'response');
      for (let count = 0; count < 50; count += 1)
        assert.equal(statusOf(await ask(made, 'Echo', prefixed(Buffer.from('x'))))[0], status.OK);
      assert.ok(seen.sent < 200, `${seen.sent} blocks were made for a client that takes none`);
      let size = 0;
      slow.on('data', (piece: Buffer) => {
        size += piece.length;
      });
      slow.resume();
      await once(slow, 'end');
      assert.equal(size, 1000 * ((1 << 16) + 5));
    });

    test('windows may be made smaller, and none, while a reply is sent', async (t) => {
      const made = session(t, { initialWindowSize: 100_000 });
      const stream = open(made, 'Large');
      const answer = answerOf(stream);
      stream.end(prefixed(Buffer.from('300000')));
      await once(stream, 'response');
      await new Promise<void>((resolve) => made.settings({ initialWindowSize: 0 }, () => resolve()));
      await new Promise<void>((resolve) => made.settings({ initialWindowSize: 1 << 20 }, () => resolve()));
      assert.equal((await answer).body.length, 300_005);
    });

    test('a client without a header table is served', async (t) => {
      const made = session(t, { headerTableSize: 0 });
      for (let count = 0; count < 3; count += 1)
        assert.equal(statusOf(await ask(made, 'Fail', prefixed(Buffer.from('x'))))[0], status.NOT_FOUND);
    });

    test('more calls than are allowed are refused, so that the client may send them again', async (t) => {
      const made = session(t);
      await once(made, 'remoteSettings');
      assert.equal(made.remoteSettings.maxConcurrentStreams, MAX_CALLS);
      const held = Promise.withResolvers<void>();
      gate.open = held.promise;
      t.after(() => held.resolve());
      const streams = Array.from({ length: MAX_CALLS }, () => ask(made, 'Wait', prefixed(Buffer.alloc(0))));
      held.resolve();
      for (const answer of await Promise.all(streams)) assert.equal(statusOf(answer)[0], status.OK);
    });
  });

  test(`${subject.name}: closing lets what runs end, takes nothing new, and ends the connection`, async (t) => {
    const socket = join(directory, `closing-${subject === own}.sock`);
    const held = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const gate: Gate = { begun: [begun.resolve], cancelled: [], open: held.promise };
    const running = await subject.listen(socket, methodsOf(gate, { sent: 0 }));
    t.after(() => running.destroy());
    const made = connect('http://localhost', { createConnection: () => connectSocket(socket) });
    made.on('error', () => {});
    t.after(() => made.destroy());
    const stream = open(made, 'Wait');
    const answer = answerOf(stream);
    stream.end(prefixed(Buffer.alloc(0)));
    await begun.promise;
    const away = once(made, 'goaway');
    const closed = running.close();
    const [code] = await away;
    assert.equal(code, constants.NGHTTP2_NO_ERROR);
    held.resolve();
    const ended = await answer;
    assert.deepEqual([ended.body, statusOf(ended)[0]], [prefixed(Buffer.from('waited')), status.OK]);
    await closed;
    if (!made.closed && !made.destroyed) await once(made, 'close');
  });
}
