import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { parseTimestamp } from './format.ts';
import { type LogOptions, parseRecord, readLog } from './log-file.ts';
import { LogPrinter } from './log-printer.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-log-'));
after(() => rmSync(directory, { recursive: true }));

let files = 0;
function logOf(text: string): string {
  const path = join(directory, `${files++}.log`);
  writeFileSync(path, text);
  return path;
}

const line = (content: string, { tag = 'F', stream = 'stdout', second = 0 } = {}): string =>
  `2026-01-01T00:00:${String(second).padStart(2, '0')}.000000001Z ${stream} ${tag} ${content}\n`;

async function read(path: string, options: Partial<LogOptions> = {}): Promise<string[]> {
  const contents: string[] = [];
  for await (const record of readLog(path, { signal: new AbortController().signal, ...options }))
    contents.push(String(record.content));
  return contents;
}

test('records are parsed, whatever their content', () => {
  const record = parseRecord(Buffer.from('T stderr P:x:y  two  spaces '));
  assert.deepEqual(
    { ...record, content: String(record?.content) },
    { time: 'T', stream: 'stderr', partial: true, content: ' two  spaces ' },
  );
  assert.equal(String(parseRecord(Buffer.from('T stdout F '))?.content), '');
  for (const bad of ['', 'T', 'T stdout', 'T stdout F', 'T stdin F x', 'T stdout X x', ' stdout F x']) {
    assert.equal(parseRecord(Buffer.from(bad)), undefined, bad);
  }
  const bytes = Buffer.concat([Buffer.from('T stdout F '), Buffer.from([0xff, 0x00, 0xfe])]);
  assert.deepEqual(parseRecord(bytes)?.content, Buffer.from([0xff, 0x00, 0xfe]));
});

test('a log is read to its end; what is not a record is skipped', async () => {
  const many = Array.from({ length: 5000 }, (_, index) => line(`line ${index} ${'x'.repeat(index % 90)}`));
  assert.equal((await read(logOf(many.join('')))).length, 5000);
  assert.deepEqual(
    await read(logOf(`${line('a')}garbage\n\n${line('b')}2026-01-01T00:00:00Z stdout F unfinished`)),
    ['a', 'b'],
  );
  assert.deepEqual(await read(logOf('')), []);
  await assert.rejects(read(join(directory, 'missing.log')), { code: 'ENOENT' });
});

test('tail counts whole lines, partial records joined, per stream', async () => {
  const text = [
    line('1'),
    line('2a', { tag: 'P' }),
    line('e', { stream: 'stderr' }),
    line('2b', { tag: 'P' }),
    line('2c'),
    line('3'),
  ].join('');
  assert.deepEqual(await read(logOf(text), { tail: 1 }), ['3']);
  assert.deepEqual(await read(logOf(text), { tail: 3 }), ['2a', 'e', '2b', '2c', '3']);
  assert.deepEqual(await read(logOf(text), { tail: 100 }), ['1', '2a', 'e', '2b', '2c', '3']);
  assert.deepEqual(await read(logOf(text), { tail: 0 }), []);
});

test('since skips older records', async () => {
  const text = [1, 2, 3].map((second) => line(String(second), { second })).join('');
  const since = parseTimestamp('2026-01-01T00:00:02.000000001Z') ?? 0n;
  assert.deepEqual(await read(logOf(text), { since }), ['2', '3']);
  assert.deepEqual(await read(logOf(text), { since: since + 1n }), ['3']);
});

test('following a log continues after rotation and truncation, and ends with its container', async () => {
  const path = logOf(line('1'));
  let ended = false;
  const seen: string[] = [];
  const steps: (() => void)[] = [
    () => appendFileSync(path, line('2').slice(0, 20)),
    () => appendFileSync(path, `${line('2').slice(20)}${line('3')}`),
    () => {
      renameSync(path, `${path}.1`);
      appendFileSync(`${path}.1`, line('4')); // the monitor writes on until it is notified to reopen
      writeFileSync(path, line('5'));
    },
    () => appendFileSync(path, line('6')),
    () => {
      truncateSync(path, 0);
      appendFileSync(path, line('7'));
    },
    () => {
      appendFileSync(path, line('8'));
      ended = true;
    },
  ];
  let done = 0;
  const expectedBefore = [1, 1, 3, 5, 6, 7];
  const finished = async () => {
    const [needed, step] = [expectedBefore[done], steps[done]];
    if (step && seen.length === needed && (done !== 1 || ++partial > 2)) {
      done++;
      step();
    }
    return ended;
  };
  let partial = 0;
  for await (const record of readLog(path, { finished, signal: AbortSignal.timeout(20_000) }))
    seen.push(String(record.content));
  assert.deepEqual(seen, ['1', '2', '3', '4', '5', '6', '7', '8']);
});

test('an abort ends following', async () => {
  const controller = new AbortController();
  const reading = read(logOf(line('1')), { finished: async () => false, signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await reading;
});

test('printing joins partial records and keeps the streams separate', async () => {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const terminal = {
    out: (text: string | Uint8Array) => out.push(Buffer.from(text)),
    err: (text: string | Uint8Array) => err.push(Buffer.from(text)),
    interactive: false,
  };
  const printer = new LogPrinter(terminal, { timestamps: true });
  const text = [
    line('a', { tag: 'P' }),
    line('E', { stream: 'stderr' }),
    line('b', { second: 1 }),
    line('c'),
  ];
  for (const each of text) {
    const record = parseRecord(Buffer.from(each.trimEnd()));
    assert.ok(record);
    printer.print(record);
  }
  assert.equal(
    Buffer.concat(out).toString(),
    '2026-01-01T00:00:00.000000001Z ab\n2026-01-01T00:00:00.000000001Z c\n',
  );
  assert.equal(Buffer.concat(err).toString(), '2026-01-01T00:00:00.000000001Z E\n');
});
