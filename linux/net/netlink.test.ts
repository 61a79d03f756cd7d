import assert from 'node:assert/strict';
import test from 'node:test';
import { errnoOf, hasCode } from '#core/errors.ts';
import { encodeRequest, Netlink, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR } from './netlink.ts';

const INTERRUPTED = 0x10;
const LINK = 16;
const OVERRUN = 4;
const MULTI = 2;

type Message = readonly [type: number, flags: number, text: string];

/** A kernel that answers the n-th request with the datagrams of the n-th script, the last one again and again. */
function kernel(...scripts: readonly (readonly Message[])[][]) {
  let request = -1;
  let sequence = 0;
  let left: (readonly Message[])[] = [];
  const netlink = new Netlink(0, {
    send(bytes) {
      request++;
      sequence = Buffer.from(bytes).readUInt32LE(8);
      left = [...(scripts[Math.min(request, scripts.length - 1)] ?? [])];
      return bytes.length;
    },
    receive(buffer) {
      const messages = left.shift() ?? [];
      const bytes = Buffer.concat(
        messages.map(([type, flags, text]) => {
          const encoded = encodeRequest(type, 0, sequence, Buffer.from(text, 'latin1'));
          encoded.writeUInt16LE(flags, 6);
          return encoded;
        }),
      );
      bytes.copy(buffer);
      return bytes.length;
    },
    close() {},
  });
  return { netlink, requests: () => request + 1 };
}
const list = ({ netlink }: ReturnType<typeof kernel>) =>
  netlink.request('list', LINK, NLM_F_DUMP, Buffer.alloc(0)).map(({ body }) => body.toString());
const errno = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(-value);
  return bytes.toString('latin1');
};
const done: Message = [NLMSG_DONE, MULTI, ''];

test('a dump that changes interrupted is requested again: only a complete one counts', () => {
  const early = kernel(
    [[[LINK, MULTI | INTERRUPTED, 'aaaa']], [done]],
    [
      [
        [LINK, MULTI, 'aaaa'],
        [LINK, MULTI, 'bbbb'],
      ],
      [[NLMSG_DONE, MULTI | INTERRUPTED, '']],
    ],
    [[[LINK, MULTI, 'aaaa']], [[LINK, MULTI, 'cccc'], done]],
  );
  assert.deepEqual(list(early), ['aaaa', 'cccc']);
  assert.equal(early.requests(), 3);
});

test('endless changes are an error that names them, and no endless loop', () => {
  const endless = kernel([[[LINK, MULTI | INTERRUPTED, 'aaaa'], done]]);
  assert.throws(
    () => list(endless),
    (error) => hasCode(error, 'Aborted') && /changed during each/.test(error.message),
  );
});

test('an answer that is lost in part, was cut, or failed in its midst is an error, never a shorter list', () => {
  const lost = kernel([
    [
      [LINK, MULTI, 'aaaa'],
      [OVERRUN, 0, ''],
    ],
    [done],
  ]);
  assert.throws(
    () => list(lost),
    (error) => errnoOf(error) === 'ENOBUFS',
  );
  const failed = kernel([[[LINK, MULTI, 'aaaa']], [[NLMSG_DONE, MULTI, errno(12)]]]);
  assert.throws(
    () => list(failed),
    (error) => errnoOf(error) === 'ENOMEM',
  );
  const refused = kernel([[[NLMSG_ERROR, 0, `${errno(1)}${'x'.repeat(16)}`]]]);
  assert.throws(
    () => list(refused),
    (error) => errnoOf(error) === 'EPERM',
  );
  const cut = kernel([[[LINK, MULTI, 'x'.repeat(70_000)]], [done]]);
  assert.throws(() => list(cut), /was cut at 65536/);
});
