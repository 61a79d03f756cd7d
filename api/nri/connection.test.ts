/** Calls in both directions, and what the other side must not do. */
import assert from 'node:assert/strict';
import { type Duplex, duplexPair } from 'node:stream';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { MAX_CALLS } from './client.ts';
import { envelopes } from './envelope.ts';
import { FrameReader, framed, MAX_MESSAGE, type Message, MessageReader, MessageType } from './frames.ts';
import {
  type Handlers,
  hasFailed,
  messages,
  openPluginConnection,
  openRuntimeConnection,
  type PluginConnection,
  PluginError,
  type PluginMethods,
  type RuntimeConnection,
  type RuntimeMethods,
} from './index.ts';
import { MAX_REQUESTS } from './server.ts';

const SERVICE = 'nri.pkg.api.v1alpha1.Runtime';
const soon = { timeoutMs: 60_000 };
const describe = () => 'plugin 10-test';

function pair(
  plugin: Partial<Handlers<PluginMethods>> = {},
  runtime: Partial<Handlers<RuntimeMethods>> = {},
): { readonly runtime: PluginConnection; readonly plugin: RuntimeConnection } {
  const [one, other] = duplexPair();
  const ends = {
    runtime: openPluginConnection(one, { describe }),
    plugin: openRuntimeConnection(other, { describe: () => 'the runtime' }),
  };
  ends.runtime.serve(runtime);
  ends.plugin.serve(plugin);
  return ends;
}

/** A plugin that is written by hand: what it sends and gets are messages. */
class RawPlugin {
  readonly runtime: PluginConnection;
  readonly socket: Duplex;
  readonly #frames = new FrameReader();
  readonly #readers = new Map([1, 2].map((id) => [id, new MessageReader()]));
  readonly #got: (Message & { readonly connection: number })[] = [];
  #wake = () => {};

  constructor(handlers: Partial<Handlers<RuntimeMethods>> = {}) {
    const [one, other] = duplexPair();
    this.socket = other;
    this.runtime = openPluginConnection(one, { describe });
    this.runtime.serve(handlers);
    other.on('error', () => {});
    other.on('data', (bytes: Buffer) => {
      for (const { connection, piece } of this.#frames.read(bytes))
        for (const message of this.#readers.get(connection)?.read(piece) ?? [])
          this.#got.push({ connection, ...message, data: Buffer.from(message.data) });
      this.#wake();
    });
  }

  async next(): Promise<Message & { readonly connection: number }> {
    while (this.#got.length === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    return this.#got.shift() as Message & { connection: number };
  }

  /** The status of the next answer. */
  async status(): Promise<{ stream: number; code: number; message: string }> {
    const { stream, data } = await this.next();
    const { code = 0, message = '' } = envelopes.decode('Response', data).status ?? {};
    return { stream, code, message };
  }

  send(connection: number, stream: number, type: number, data: Uint8Array = Buffer.alloc(0)): void {
    this.socket.write(framed(connection, { stream, type, data }));
  }

  request(stream: number, method: string, service = SERVICE, timeoutNano = 0n): void {
    this.send(2, stream, MessageType.request, envelopes.encode('Request', { service, method, timeoutNano }));
  }
}

const failed = (failure: PluginError['failure'], pattern: RegExp) => (error: unknown) => {
  assert.ok(hasFailed(error, failure), String(error));
  assert.match(error.message, pattern);
  return true;
};

test('each side calls the other, at the same time', async () => {
  const { runtime, plugin } = pair(
    { CreateContainer: ({ container }) => ({ adjust: { args: [container?.id ?? ''] } }) },
    { UpdateContainers: async ({ update }) => ({ failed: update }) },
  );
  const calls = Array.from({ length: 50 }, async (_, index) => {
    const { adjust } = await runtime.call('CreateContainer', { container: { id: `c${index}` } }, soon);
    assert.deepEqual(adjust?.args, [`c${index}`]);
    const update = [{ containerId: `u${index}`, ignoreFailure: true }];
    const { failed: back } = await plugin.call('UpdateContainers', { update }, soon);
    assert.deepEqual([back[0]?.containerId, back[0]?.ignoreFailure], [`u${index}`, true]);
  });
  await Promise.all(calls);
  runtime.close();
  assert.deepEqual(await Promise.all([runtime.closed, plugin.closed]), [undefined, undefined]);
});

test('nothing is handled before serve', async () => {
  const [one, other] = duplexPair();
  const runtime = openPluginConnection(one, { describe });
  const plugin = openRuntimeConnection(other, { describe });
  plugin.serve({});
  let registered = '';
  const call = plugin.call('RegisterPlugin', { pluginName: 'a', pluginIdx: '10' }, soon);
  await new Promise((resolve) => setImmediate(resolve));
  runtime.serve({
    RegisterPlugin: ({ pluginName, pluginIdx }) => {
      registered = `${pluginIdx}-${pluginName}`;
      return {};
    },
  });
  assert.deepEqual(await call, {});
  assert.equal(registered, '10-a');
  runtime.close();
});

test("a plugin's own error has its code and its text on one line", async () => {
  const text = `no\u001b[31m room\n\u202e${'x'.repeat(10_000)}`;
  const raw = new RawPlugin();
  const call = raw.runtime.call('CreateContainer', {}, soon);
  const data = envelopes.encode('Response', { status: { code: 8, message: text } });
  raw.send(1, (await raw.next()).stream, MessageType.response, data);
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.failure, error.status, error.code], ['status', 8, 'RuntimeFailed']);
    assert.match(
      error.message,
      /^plugin 10-test: CreateContainer: no \[31m room x+… \(RESOURCE_EXHAUSTED\)$/u,
    );
    assert.ok(error.message.length < 4300);
    return true;
  });
});

test('a method or a service that is not there is not implemented', async () => {
  const { runtime } = pair();
  await assert.rejects(
    runtime.call('PostStartContainer', {}, soon),
    failed('unimplemented', /PostStartContainer/),
  );
  runtime.close();
  const raw = new RawPlugin({ RegisterPlugin: () => ({}) });
  raw.request(1, 'UpdateContainers');
  assert.equal((await raw.status()).code, 12);
  raw.request(3, 'toString');
  assert.equal((await raw.status()).code, 12);
  raw.request(5, 'RegisterPlugin', 'nri.pkg.api.v1alpha1.Plugin');
  assert.equal((await raw.status()).code, 12);
  raw.request(7, 'RegisterPlugin');
  assert.deepEqual(await raw.status(), { stream: 7, code: 0, message: '' });
});

test('an error of this side is a status with its code', async () => {
  const { plugin } = pair(
    {},
    {
      RegisterPlugin: () => {
        throw new CrispError('AlreadyExists', 'there is one', { cause: new Error('called 10-a') });
      },
      UpdateContainers: () => Promise.reject(new TypeError('a bug')),
    },
  );
  await assert.rejects(plugin.call('RegisterPlugin', {}, soon), (error) => {
    assert.ok(error instanceof PluginError);
    assert.equal(error.status, 6);
    assert.match(error.message, /there is one: called 10-a/);
    return true;
  });
  await assert.rejects(plugin.call('UpdateContainers', {}, soon), failed('status', /a bug \(INTERNAL\)/));
  plugin.close();
});

test('a call ends at its deadline; the plugin is told, and its late answer is ignored', async () => {
  const raw = new RawPlugin();
  const call = raw.runtime.call('StopContainer', {}, { timeoutMs: 1.5 });
  const { stream, data } = await raw.next();
  assert.equal(envelopes.decode('Request', data).timeoutNano, 1_500_000n);
  await assert.rejects(call, failed('deadline', /plugin 10-test: StopContainer: no answer within 1.5 ms/));
  raw.send(1, stream, MessageType.response);
  const next = raw.runtime.call('RemoveContainer', {}, soon);
  raw.send(1, (await raw.next()).stream, MessageType.response);
  assert.deepEqual(await next, {});
});

test('a call ends when its caller gives up', async () => {
  const raw = new RawPlugin();
  const controller = new AbortController();
  const call = raw.runtime.call('StopContainer', {}, { ...soon, signal: controller.signal });
  await raw.next();
  controller.abort(new Error('enough'));
  await assert.rejects(call, failed('cancelled', /the caller gave up/));
  const again = raw.runtime.call('StopContainer', {}, { ...soon, signal: controller.signal });
  await assert.rejects(again, failed('cancelled', /the caller gave up/));
});

test('the handler of a request is told of its deadline and of the end of the connection', async () => {
  const aborted: unknown[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const raw = new RawPlugin({
    RegisterPlugin: (_, { signal }) =>
      new Promise((done) =>
        signal.addEventListener('abort', () => {
          aborted.push(signal.reason);
          if (aborted.length === 2) resolve();
          done({});
        }),
      ),
  });
  raw.request(1, 'RegisterPlugin', SERVICE, 1_000_000n);
  assert.equal((await raw.status()).stream, 1);
  assert.ok(hasFailed(aborted[0], 'deadline'));
  raw.request(3, 'RegisterPlugin', SERVICE);
  raw.request(5, 'Unknown');
  assert.equal((await raw.status()).stream, 5);
  raw.runtime.close(new Error('reload'));
  await promise;
  assert.equal((aborted[1] as Error).message, 'reload');
});

test('a message is sent whole or not at all', async () => {
  const { runtime, plugin } = pair(
    { Synchronize: ({ pods, more }) => ({ more: more && pods[0]?.name.length === 4_000_000 }) },
    { UpdateContainers: () => ({ failed: [{ containerId: 'x'.repeat(MAX_MESSAGE) }] }) },
  );
  const name = 'n'.repeat(4_000_000);
  assert.equal((await runtime.call('Synchronize', { more: true, pods: [{ name }] }, soon)).more, true);
  const tooLarge = runtime.call('Synchronize', { pods: [{ name: `${name}${name}` }] }, soon);
  await assert.rejects(tooLarge, (error) => {
    assert.ok(error instanceof PluginError && error.failure === 'oversized');
    assert.equal(error.maximum, MAX_MESSAGE);
    assert.ok((error.length ?? 0) > 8_000_000);
    return true;
  });
  const answer = plugin.call('UpdateContainers', {}, soon);
  await assert.rejects(answer, failed('status', /RESOURCE_EXHAUSTED/));
  runtime.close();
});

test('a bounded number of calls waits for a plugin', async () => {
  const raw = new RawPlugin();
  const calls = Array.from({ length: MAX_CALLS }, () => raw.runtime.call('StopContainer', {}, soon));
  const ended = Promise.allSettled(calls);
  await assert.rejects(raw.runtime.call('StopContainer', {}, soon), failed('busy', /128 calls wait/));
  raw.send(1, (await raw.next()).stream, MessageType.response);
  await calls[0];
  const further = raw.runtime.call('StopContainer', {}, soon);
  raw.runtime.close();
  await assert.rejects(further, failed('closed', /has been closed/));
  await ended;
});

test('a bounded number of requests is handled at a time', async () => {
  const { promise, resolve } = Promise.withResolvers<object>();
  const raw = new RawPlugin({ UpdateContainers: () => promise });
  for (let index = 0; index <= MAX_REQUESTS; index++) raw.request(2 * index + 1, 'UpdateContainers');
  const refused = await raw.status();
  assert.deepEqual([refused.stream, refused.code], [2 * MAX_REQUESTS + 1, 8]);
  resolve({});
  for (let index = 0; index < MAX_REQUESTS; index++) assert.equal((await raw.status()).code, 0);
  raw.request(1001, 'UpdateContainers');
  assert.deepEqual(await raw.status(), { stream: 1001, code: 0, message: '' });
});

test('breaches of the rules of streams are answered, as ttrpc does', async () => {
  const raw = new RawPlugin({ RegisterPlugin: () => ({}) });
  raw.request(2, 'RegisterPlugin');
  assert.deepEqual(await raw.status(), {
    stream: 2,
    code: 3,
    message: 'the streams of a client have odd numbers',
  });
  raw.request(5, 'RegisterPlugin');
  assert.equal((await raw.status()).code, 0);
  raw.request(5, 'RegisterPlugin');
  assert.equal((await raw.status()).code, 3);
  raw.request(3, 'RegisterPlugin');
  assert.equal((await raw.status()).code, 3);
  raw.send(2, 5, MessageType.data, Buffer.from('x'));
  assert.deepEqual(await raw.status(), { stream: 5, code: 3, message: 'this service takes no stream data' });
  raw.send(2, 9, 77); // of a later ttrpc: ignored
  raw.send(
    2,
    7,
    MessageType.request,
    envelopes.encode('Request', { service: SERVICE, method: 'RegisterPlugin', payload: Buffer.from([0xff]) }),
  );
  assert.deepEqual(await raw.status(), {
    stream: 7,
    code: 3,
    message: 'malformed RegisterPluginRequest: index out of range: 1 + 1 > 1',
  });
});

const breaches: Readonly<Record<string, [(raw: RawPlugin, stream: number) => void, RegExp]>> = {
  'bytes of another protocol': [
    ({ socket }) => socket.write('GET / HTTP/1.1\r\n\r\n'),
    /a frame for connection \d+/,
  ],
  'a frame that is too large': [
    ({ socket }) => socket.write(Buffer.from('00000001ffffffff', 'hex')),
    /a frame of 4294967295 bytes/,
  ],
  'a message that is too large': [
    ({ socket }) => socket.write(Buffer.from(`000000010000000a${'7fffffff'}000000010200`, 'hex')),
    /a message of 2147483647 bytes/,
  ],
  'a malformed answer': [
    (raw, stream) => raw.send(1, stream, MessageType.response, Buffer.from([0x0a])),
    /a malformed answer to StopContainer/,
  ],
  'a malformed payload': [
    (raw, stream) => {
      const data = envelopes.encode('Response', { payload: Buffer.from([0x0a, 5]) });
      raw.send(1, stream, MessageType.response, data);
    },
    /a malformed StopContainerResponse/,
  ],
  'too many values': [
    (raw, stream) => {
      const update = Array.from({ length: 200_001 }, () => ({}));
      const data = envelopes.encode('Response', {
        payload: messages.encode('StopContainerResponse', { update }),
      });
      raw.send(1, stream, MessageType.response, data);
    },
    /a malformed StopContainerResponse: it holds more values/,
  ],
  'an answer to nothing': [
    (raw) => raw.send(1, 99, MessageType.response),
    /an answer on stream 99, which was not opened/,
  ],
  'an answer on an even stream': [(raw) => raw.send(1, 2, MessageType.response), /stream 2/],
  'stream data': [
    (raw, stream) => raw.send(1, stream, MessageType.data),
    /stream data in answer to StopContainer/,
  ],
  'a request where it serves': [
    (raw) => raw.send(1, 1, MessageType.request),
    /a request on the connection on which it serves/,
  ],
  'an answer where it calls': [
    (raw) => raw.send(2, 1, MessageType.response),
    /an answer on the connection on which it calls/,
  ],
  'a malformed request': [
    (raw) => raw.send(2, 1, MessageType.request, Buffer.from([0x0a])),
    /a malformed request/,
  ],
  'half a message': [({ socket }) => socket.end(Buffer.from('0000000100', 'hex')), /a part of a message/],
};

for (const [name, [breach, pattern]] of Object.entries(breaches))
  test(`${name} ends the connection, which names the plugin and the rule`, async () => {
    const raw = new RawPlugin();
    const call = raw.runtime.call('StopContainer', {}, soon);
    const settled = call.catch((error: unknown) => error);
    breach(raw, (await raw.next()).stream);
    const error = await raw.runtime.closed;
    failed('protocol', pattern)(error);
    assert.match(String(error), /plugin 10-test: it has sent/);
    const answer = await settled;
    assert.ok(hasFailed(answer, 'closed', 'protocol'), String(answer));
    assert.match(answer.message, pattern);
    await assert.rejects(raw.runtime.call('StopContainer', {}, soon), failed('closed', pattern));
  });

test('a plugin that closes the connection ends all waits', async () => {
  const raw = new RawPlugin();
  const calls = [raw.runtime.call('StopContainer', {}, soon), raw.runtime.call('RemoveContainer', {}, soon)];
  const ended = calls.map((call) => assert.rejects(call, failed('closed', /it has closed the connection/)));
  await raw.next();
  raw.socket.end();
  await Promise.all(ended);
  assert.equal(await raw.runtime.closed, undefined);
});

test('a connection that breaks says why', async () => {
  const [one] = duplexPair();
  const runtime = openPluginConnection(one, { describe });
  runtime.serve({});
  one.destroy(new Error('read ECONNRESET'));
  failed('closed', /plugin 10-test: the connection broke: read ECONNRESET/)(await runtime.closed);
});

test('a connection that this side closes names its reason, and sends what was answered before', async () => {
  const reason = new CrispError('DeadlineExceeded', 'it did not register');
  const { runtime, plugin } = pair(
    {},
    {
      RegisterPlugin: () => {
        setImmediate(() => runtime.close(reason));
        throw new CrispError('InvalidArgument', 'no such index');
      },
    },
  );
  const call = runtime.call('Configure', {}, soon);
  const ended = assert.rejects(call, failed('unimplemented', /Configure/));
  await assert.rejects(plugin.call('RegisterPlugin', {}, soon), failed('status', /no such index/));
  await ended;
  assert.equal(await runtime.closed, reason);
  await assert.rejects(runtime.call('Shutdown', {}, soon), failed('closed', /it did not register/));
  await plugin.closed;
});
