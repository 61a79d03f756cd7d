/** `crisp ctl` in this process against a minimal runtime on a real socket. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach } from 'node:test';
import { ctl } from '../../cli/ctl.ts';
import { FakeRuntime } from './fake-runtime.ts';

export const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'ctl-'));
export const socket = join(directory, 's');

interface Result {
  code: number;
  out: string;
  err: string;
}

/** The runtime of this file's tests; emptied before each test. */
export const runtime = await FakeRuntime.listen(socket);

export async function crisp(words: string[], signal = new AbortController().signal): Promise<Result> {
  const result = { code: 0, out: '', err: '' };
  const terminal = {
    out: (text: string | Uint8Array) => {
      result.out += Buffer.from(text).toString();
    },
    err: (text: string | Uint8Array) => {
      result.err += Buffer.from(text).toString();
    },
    interactive: false,
  };
  result.code = await ctl(['-r', `unix://${socket}`, ...words], terminal, signal);
  return result;
}

export const ok = async (...words: string[]): Promise<string> => {
  const { code, out, err } = await crisp(words);
  assert.equal(err, '');
  assert.equal(code, 0);
  return out;
};

export function file(name: string, value: object): string {
  const path = join(directory, name);
  writeFileSync(path, JSON.stringify(value));
  return path;
}

export const podFile = () =>
  file('pod.json', {
    metadata: { name: 'web', uid: 'u', namespace: 'default' },
    labels: { app: 'x' },
    log_directory: join(directory, 'logs'),
  });
export const containerFile = (args: string[] = []) =>
  file('container.json', {
    metadata: { name: 'main' },
    image: { image: 'busybox:latest' },
    log_path: 'main.log',
    args,
  });
export const lines = (text: string): string[][] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {4,}/));

beforeEach(() => {
  for (const map of [runtime.pods, runtime.containers, runtime.images]) map.clear();
  runtime.requests.length = 0;
  rmSync(join(directory, 'logs'), { recursive: true, force: true });
});

after(() => {
  runtime.close();
  rmSync(directory, { recursive: true });
});
