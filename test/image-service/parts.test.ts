/** The rest of a large blob in parts, where the connection is slower than what takes its bytes. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '#core/ids.ts';
import { Sessions } from '#image-service/download/sessions.ts';
import { defaultImageOptions, parseReference } from '#image-service/index.ts';
import { EndpointHealth } from '#image-service/registry/endpoint-health.ts';
import { PartBudget } from '#image-service/registry/parts.ts';
import { digestOf } from '../harness/images.ts';
import { type Front, type Rule, startFront } from './front.ts';

const never = new AbortController().signal;
const bytes = Buffer.from(Array.from({ length: 1_000_000 }, (_, n) => ((n + 3) * 2654435761) >>> 24));
const blob = { digest: digestOf(bytes) as Digest, size: bytes.length };
const PART = 64 << 10;

async function slowly(res: ServerResponse, piece: Buffer): Promise<void> {
  for (let at = 0; at < piece.length && !res.destroyed; at += 16_384) {
    res.write(piece.subarray(at, at + 16_384));
    await sleep(4);
  }
  res.end();
}

/** Serves the blob, each connection at a rate of its own. `part`: replies to a request for a part itself (true). */
const serving =
  (part: (from: number, to: number, res: ServerResponse) => boolean = () => false): Rule =>
  (req, res) => {
    const range = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? '');
    const [from, to] = [Number(range?.[1] ?? 0), range?.[2] ? Number(range[2]) + 1 : bytes.length];
    if (range?.[2] && part(from, to, res)) return true;
    const common = { 'accept-ranges': 'bytes', 'content-length': String(to - from) };
    if (range) res.writeHead(206, { ...common, 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` });
    else res.writeHead(200, common);
    void slowly(res, bytes.subarray(from, to));
    return true;
  };

const ranges = (front: Front) => front.seen.map(({ range }) => range ?? '-');
const parts = (front: Front) => ranges(front).filter((range) => /-\d+$/.test(range));

async function get(rule: Rule, budget = new PartBudget({ part: PART, leastRest: 4 * PART, watchedMs: 0 })) {
  await using front = await startFront('http://127.0.0.1:1', rule);
  const options = { ...defaultImageOptions, attempts: 3, retryWaitMs: 10 };
  const sessions = new Sessions(options, new EndpointHealth(), budget);
  sessions.open(1, parseReference(`${front.host}/app:v1`), undefined);
  const result = (await sessions.perform(1, { act: 'bytes', blob }, () => {}, never)) as { bytes: Buffer };
  assert.ok(result.bytes.equals(bytes));
  // All that was held is free again.
  const free = Array.from({ length: 7 }, () => budget.take());
  assert.deepEqual(free, [true, true, true, true, true, true, false]);
  return front;
}

test('a slow connection is joined by others, each for a part, and all bytes are there once', async () => {
  const front = await get(serving());
  assert.ok(parts(front).length >= 8, ranges(front).join());
  assert.equal(new Set(parts(front)).size, parts(front).length, 'none is asked for twice');
});

test('a server without ranges, and a small blob: one connection', async () => {
  const whole: Rule = (_, res) => {
    res.writeHead(200, { 'content-length': String(bytes.length) });
    void slowly(res, bytes);
    return true;
  };
  assert.deepEqual(ranges(await get(whole)), ['-']);
  const large = new PartBudget({ part: PART, leastRest: bytes.length, watchedMs: 0 });
  assert.deepEqual(ranges(await get(serving(), large)), ['-']);
});

const faults: Readonly<Record<string, Parameters<typeof serving>[0]>> = {
  refused: (_from, _to, res) => !!res.writeHead(403).end(),
  whole: (_from, _to, res) => !!res.writeHead(200, { 'content-length': String(bytes.length) }).end(bytes),
  short: (from, to, res) => {
    res.writeHead(206, {
      'content-range': `bytes ${from}-${to - 1}/${bytes.length}`,
      'content-length': String(to - from),
    });
    res.write(bytes.subarray(from, from + 1000), () => res.destroy());
    return true;
  },
  'of another place': (from, to, res) => {
    res.writeHead(206, { 'content-range': `bytes ${from + 1}-${to}/${bytes.length}` });
    res.end(bytes.subarray(from + 1, to + 1));
    return true;
  },
  wrong: (from, to, res) => {
    res.writeHead(206, { 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` });
    res.end(Buffer.alloc(to - from));
    return true;
  },
};

for (const [what, fault] of Object.entries(faults)) {
  test(`a part that is ${what}: the blob comes by one connection`, async () => {
    const third = (from: number, to: number, res: ServerResponse): boolean =>
      from > 3 * PART && (fault?.(from, to, res) ?? false);
    const front = await get(serving(third));
    assert.ok(parts(front).length > 0);
    // A part that was requested before may reach the registry behind it.
    const rest = ranges(front).filter((range) =>
      what === 'wrong' ? range === '-' : /^bytes=\d+-$/.test(range),
    );
    assert.equal(rest.length, what === 'wrong' ? 2 : 1, ranges(front).join(' '));
  });
}
