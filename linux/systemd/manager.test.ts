/** The client of systemd against a bus of the test's own, for faults that a real systemd does not make on request. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import type { ScopeRequest } from '../ports/systemd-units.ts';
import { decodeMessage, encodeMessage, type Message, messageLength } from './dbus-message.ts';
import type { DBusValue } from './dbus-values.ts';
import { Systemd } from './manager.ts';

/** One client of the bus. */
interface Peer {
  reply(call: Message, signature: string, body: readonly DBusValue[]): void;
  refuse(call: Message, error: string, text: string): void;
  signal(member: string, signature: string, body: readonly DBusValue[]): void;
  close(): void;
}

interface Bus {
  readonly systemd: Systemd;
  readonly calls: Message[];
  /** What is done about calls other than the greeting's. */
  answer: (call: Message, peer: Peer) => void;
  /** When its subscription is answered. */
  subscribe: Promise<void>;
  /** Another client, with its limit of the greeting. */
  again(openMs: number): Systemd;
}

const JOB = '/org/freedesktop/systemd1/job/1';
const request: ScopeRequest = {
  name: 'crisp-pod-1.scope',
  slice: 'a-b.slice',
  description: 'a pod',
  pids: [17],
  slices: [{ name: 'a-b.slice', properties: [{ name: 'MemoryMax', type: 't', value: 5n }] }],
};
const soon = () => AbortSignal.timeout(20_000);

async function bus(t: TestContext, answer: Bus['answer']): Promise<Bus> {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-bus-'));
  const path = join(directory, 'bus');
  const again = (openMs: number) => {
    const another = new Systemd({ socket: path, booted: true, openMs });
    t.after(() => another[Symbol.dispose]());
    return another;
  };
  const systemd = new Systemd({ socket: path, booted: true });
  const state: Bus = { systemd, calls: [], answer, subscribe: Promise.resolve(), again };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    serve(socket, state);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(async () => {
    state.systemd[Symbol.dispose]();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  });
  return state;
}

function serve(socket: Socket, state: Bus): void {
  let serial = 0;
  let greeted = false;
  let received = Buffer.alloc(0);
  const send = (message: Partial<Message> & Pick<Message, 'type'>) => {
    serial++;
    socket.write(encodeMessage({ signature: '', body: [], ...message, serial }));
  };
  const peer: Peer = {
    reply: (call, signature, body) => send({ type: 'return', replyTo: call.serial, signature, body }),
    refuse: (call, error, text) =>
      send({ type: 'error', replyTo: call.serial, error, signature: 's', body: [text] }),
    signal: (member, signature, body) =>
      send({ type: 'signal', path: '/o', interface: 'i.m', member, signature, body }),
    close: () => socket.destroy(),
  };
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    received = Buffer.concat([received, bytes]);
    if (!greeted) {
      if (received.includes('AUTH') && !received.includes('BEGIN\r\n'))
        socket.write('OK 0123456789abcdef\r\n');
      if (!received.includes('BEGIN\r\n')) return;
      received = received.subarray(received.indexOf('BEGIN\r\n') + 7);
      greeted = true;
    }
    for (
      let size = messageLength(received);
      size && received.length >= size;
      size = messageLength(received)
    ) {
      const call = decodeMessage(received.subarray(0, size));
      received = received.subarray(size);
      if (call.member === 'Hello') peer.reply(call, 's', [':1.1']);
      else if (call.member === 'AddMatch') peer.reply(call, '', []);
      else if (call.member === 'Subscribe') void state.subscribe.then(() => peer.reply(call, '', []));
      else {
        state.calls.push(call);
        state.answer(call, peer);
      }
    }
  });
}

const done = (call: Message, peer: Peer, result = 'done') =>
  peer.signal('JobRemoved', 'uoss', [1, JOB, call.body[0] ?? '', result]);

test('a scope and its slice are one call, and it waits for the job of its own unit', async (t) => {
  const { systemd, calls } = await bus(t, (call, peer) => {
    peer.signal('JobRemoved', 'uoss', [1, JOB, 'other.scope', 'failed']);
    peer.signal('JobRemoved', 'uoss', [2, '/another/job', call.body[0] ?? '', 'failed']);
    peer.reply(call, 'o', [JOB]);
    done(call, peer);
  });
  await systemd.startScope(request, soon());
  assert.equal(calls.length, 1);
  const [call] = calls;
  assert.equal(call?.member, 'StartTransientUnit');
  const [name, mode, properties, slices] = call?.body ?? [];
  assert.deepEqual([name, mode], ['crisp-pod-1.scope', 'fail']);
  const named = Object.fromEntries(properties as [string, { value: DBusValue }][]);
  assert.deepEqual(named['PIDs']?.value, [17]);
  assert.equal(named['Slice']?.value, 'a-b.slice');
  assert.equal(named['Delegate']?.value, true);
  assert.deepEqual(slices, [['a-b.slice', [['MemoryMax', { type: 't', value: 5n }]]]]);
});

test("a job's end that comes before the call's reply counts", async (t) => {
  const { systemd } = await bus(t, (call, peer) => {
    done(call, peer);
    peer.reply(call, 'o', [JOB]);
  });
  await systemd.startScope(request, soon());
});

test('a job that does not end well is an error that names unit, properties and result', async (t) => {
  for (const result of ['failed', 'timeout', 'canceled', 'dependency']) {
    const { systemd } = await bus(t, (call, peer) => {
      peer.reply(call, 'o', [JOB]);
      done(call, peer, result);
    });
    await assert.rejects(systemd.startScope(request, soon()), (error) => {
      assert.ok(hasCode(error, 'RuntimeFailed'));
      assert.match(error.message, new RegExp(`crisp-pod-1.scope.*a-b.slice MemoryMax=5.*"${result}"`));
      return true;
    });
  }
});

test('errors of systemd have codes of crisp', async (t) => {
  const systemd1 = 'org.freedesktop.systemd1';
  const wanted = {
    [`${systemd1}.UnitExists`]: 'AlreadyExists',
    'org.freedesktop.DBus.Error.UnixProcessIdUnknown': 'NotFound',
    'org.freedesktop.DBus.Error.AccessDenied': 'PermissionDenied',
    'org.freedesktop.DBus.Error.ServiceUnknown': 'Unavailable',
    'org.freedesktop.DBus.Error.PropertyReadOnly': 'RuntimeFailed',
    toString: 'RuntimeFailed',
  } as const;
  for (const [name, code] of Object.entries(wanted)) {
    const { systemd } = await bus(t, (call, peer) => peer.refuse(call, name, 'no'));
    await assert.rejects(systemd.startScope(request, soon()), (error) => hasCode(error, code), name);
  }
});

test('stopping what is not loaded is success', async (t) => {
  const { systemd } = await bus(t, (call, peer) =>
    peer.refuse(call, 'org.freedesktop.systemd1.NoSuchUnit', 'Unit a.slice not loaded.'),
  );
  await systemd.stop('a.slice', soon());
});

test('a bus that goes is an error, and the next call connects anew', async (t) => {
  const state = await bus(t, (_call, peer) => peer.close());
  await assert.rejects(state.systemd.stop('a.slice', soon()), (error) => {
    assert.ok(hasCode(error, 'Unavailable'));
    assert.match(`${error.message} ${error.hint}`, /stop a\.slice.*dbus\.service/);
    return true;
  });
  state.answer = (call, peer) => {
    peer.reply(call, 'o', [JOB]);
    peer.close();
  };
  await assert.rejects(state.systemd.stop('a.slice', soon()), (error) => hasCode(error, 'Unavailable'));
  state.answer = (call, peer) => {
    peer.reply(call, 'o', [JOB]);
    done(call, peer);
  };
  await state.systemd.stop('a.slice', soon());
});

test('a bus that is silent is left at the abort, with its reason', async (t) => {
  const reason = new CrispError('DeadlineExceeded', 'systemd: start a.scope: no end after 1.0 s');
  for (const answers of [false, true]) {
    const controller = new AbortController();
    const { systemd } = await bus(t, (call, peer) => {
      if (answers) peer.reply(call, 'o', [JOB]);
      setTimeout(() => controller.abort(reason), 20);
    });
    await assert.rejects(systemd.startScope(request, controller.signal), (error) => error === reason);
  }
});

/** A bus whose call to systemd blocks until it is released. */
async function slowBus(t: TestContext, openMs?: number) {
  const gate = Promise.withResolvers<void>();
  const state = await bus(t, (call, peer) => {
    peer.reply(call, 'o', [JOB]);
    done(call, peer);
  });
  state.subscribe = gate.promise;
  return { systemd: openMs === undefined ? state.systemd : state.again(openMs), greet: gate.resolve };
}

test('the first caller gives up while the connection is made: those who wait beside it get theirs', async (t) => {
  const { systemd, greet } = await slowBus(t);
  const first = new AbortController();
  const begun = systemd.startScope(request, first.signal);
  const second = systemd.startScope({ ...request, name: 'crisp-pod-2.scope' }, soon());
  first.abort(new CrispError('DeadlineExceeded', 'join cgroup: no end after 10.0 s'));
  await assert.rejects(begun, (error) => hasCode(error, 'DeadlineExceeded'));
  greet();
  await second;
});

test('a systemd that never greets is an error of its own, and the next call connects anew', async (t) => {
  const { systemd, greet } = await slowBus(t, 200);
  await assert.rejects(systemd.startScope(request, soon()), (error) => {
    assert.ok(hasCode(error, 'Unavailable'));
    assert.match(`${error.message} ${error.cause}`, /has not replied/);
    return true;
  });
  greet();
  await systemd.startScope(request, soon());
});

test('no bus and no systemd are errors that say what to do', async () => {
  const none = new Systemd({ socket: '/nowhere/bus', booted: true });
  await assert.rejects(none.stop('a.slice', soon()), (error) => {
    assert.ok(hasCode(error, 'Unavailable'));
    assert.match(error.hint, /start dbus\.service/);
    return true;
  });
  const other = new Systemd({ socket: '/nowhere/bus', booted: false });
  await assert.rejects(other.stop('a.slice', soon()), (error) => hasCode(error, 'FailedPrecondition'));
});

test('a peer that talks nonsense ends the connection, not the daemon', async (t) => {
  const { systemd } = await bus(t, (_call, peer) => peer.signal('JobRemoved', 's', ['x'.repeat(5 << 20)]));
  await assert.rejects(systemd.stop('a.slice', soon()), CrispError);
});

test('reloads are reported, and that systemd can be reached again', async (t) => {
  const { systemd } = await bus(t, (call, peer) => {
    peer.signal('Reloading', 'b', [true]);
    peer.signal('Reloading', 'b', [false]);
    peer.reply(call, 'o', [JOB]);
    done(call, peer);
  });
  let reported = 0;
  const forget = systemd.onReload(() => reported++);
  await systemd.listen(soon());
  assert.equal(reported, 1);
  await systemd.stop('a.slice', soon());
  assert.equal(reported, 2);
  forget();
  await systemd.stop('a.slice', soon());
  assert.equal(reported, 2);
});
