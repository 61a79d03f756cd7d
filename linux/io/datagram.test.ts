import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import koffi from 'koffi';
import { CrispError } from '#core/errors.ts';
import { receiveBytes, socket } from '../libc/libc.ts';
import { sendDatagram } from './datagram.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-datagram-'));
after(() => rmSync(directory, { recursive: true }));
const bindCall = koffi.load(null).func('int bind(int fd, const uint8_t *address, unsigned int size)');
const DONTWAIT = 0x40;

/** A bound datagram socket; reads what has come. */
function receiver(name: Uint8Array): Disposable & { read(): string } {
  const fd = socket(1, 2 | 0o2000000, 0);
  const address = Buffer.concat([Buffer.of(1, 0), name]);
  assert.equal(bindCall(fd, address, address.length), 0);
  const bytes = Buffer.alloc(1024);
  return {
    read: () => bytes.subarray(0, receiveBytes(fd, bytes, bytes.length, DONTWAIT)).toString(),
    [Symbol.dispose]: () => closeSync(fd),
  };
}

test('a datagram arrives at a path', () => {
  const path = join(directory, 'socket');
  using socket = receiver(Buffer.from(`${path}\0`));
  sendDatagram(path, Buffer.from('READY=1\n'));
  assert.equal(socket.read(), 'READY=1\n');
});

test('a datagram arrives at a socket without a path', () => {
  const name = `crisp-test-${process.pid}`;
  using socket = receiver(Buffer.from(`\0${name}`));
  sendDatagram(`@${name}`, Buffer.from('STOPPING=1\n'));
  assert.equal(socket.read(), 'STOPPING=1\n');
});

test('a full queue is refused at once', () => {
  const path = join(directory, 'full');
  using _socket = receiver(Buffer.from(`${path}\0`));
  assert.throws(
    () => {
      for (let n = 0; n < 10_000; n++) sendDatagram(path, Buffer.from('x'));
    },
    (error) => error instanceof CrispError && error.code === 'KernelRefused' && error.errno === 'EAGAIN',
  );
});

test('where no socket listens the path is named', () => {
  assert.throws(
    () => sendDatagram(join(directory, 'none'), Buffer.from('x')),
    (error) =>
      error instanceof CrispError && error.code === 'NotFound' && /send to .*\/none/.test(error.message),
  );
  assert.throws(() => sendDatagram(`/${'x'.repeat(200)}`, Buffer.from('x')), CrispError);
});
