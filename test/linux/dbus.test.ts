/** The client of D-Bus against Debian's dbus-daemon. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import { DBusConnection, type MethodCall } from '#linux/systemd/dbus.ts';
import type { Message } from '#linux/systemd/dbus-message.ts';
import { scratch } from './scratch.ts';

const soon = () => AbortSignal.timeout(60_000);
const missing = existsSync('/usr/bin/dbus-daemon') ? undefined : 'the package dbus is not installed';
const ofBus = (member: string, signature = '', body: MethodCall['body'] = []): MethodCall => ({
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
  member,
  signature,
  body,
});

test('a real bus understands calls, and its answers, errors and signals are read', {
  skip: missing,
}, async (t) => {
  const socket = join(scratch(t), 'bus');
  const daemon = spawn(
    '/usr/bin/dbus-daemon',
    ['--session', `--address=unix:path=${socket}`, '--nofork', '--nopidfile', '--nosyslog'],
    { stdio: 'ignore' },
  );
  const ended = once(daemon, 'exit');
  t.after(async () => {
    daemon.kill();
    await ended;
  });
  while (!existsSync(socket)) await sleep(20);

  const signals: Message[] = [];
  const closed: unknown[] = [];
  const on = {
    signal: (message: Message) => signals.push(message),
    close: (why: unknown) => closed.push(why),
  };
  using bus = await DBusConnection.open(socket, on, soon());

  const named = await bus.call(ofBus('RequestName', 'su', ['org.crisp.Test', 4]), soon());
  assert.deepEqual(named, { ok: true, body: [1] });
  const names = await bus.call(ofBus('ListNames'), soon());
  assert.ok(names.ok && (names.body[0] as string[]).includes('org.crisp.Test'));
  const credentials = await bus.call(ofBus('GetConnectionCredentials', 's', ['org.crisp.Test']), soon());
  assert.ok(credentials.ok);
  const entries = Object.fromEntries(credentials.body[0] as [string, unknown][]);
  assert.deepEqual(entries['ProcessID'], { type: 'u', value: process.pid });

  // A body longer than any buffer that the writer begins with, of every kind of value that systemd is sent.
  const properties = Array.from({ length: 300 }, (_, n) => [`Name${n}`, { type: 't', value: BigInt(n) }]);
  const unknown = await bus.call(
    { ...ofBus('Nothing', 'ssa(sv)a(sa(sv))', ['a', 'b', properties, [['c', properties]]]) },
    soon(),
  );
  assert.ok(!unknown.ok);
  assert.equal(unknown.error, 'org.freedesktop.DBus.Error.UnknownMethod');
  assert.match(unknown.text, /Nothing/);

  assert.ok((await bus.call(ofBus('AddMatch', 's', ["type='signal',member='NameOwnerChanged'"]), soon())).ok);
  const [, second] = await Promise.all([
    bus.call(ofBus('ReleaseName', 's', ['org.crisp.Test']), soon()),
    bus.call(ofBus('GetId'), soon()),
  ]);
  assert.ok(second.ok);
  assert.ok(
    signals.some(({ member, body }) => member === 'NameOwnerChanged' && body[0] === 'org.crisp.Test'),
  );

  daemon.kill();
  await ended;
  await assert.rejects(bus.call(ofBus('GetId'), soon()), (error) => hasCode(error, 'Unavailable'));
  assert.equal(bus.closed, true);
  assert.equal(closed.length, 1);
});
