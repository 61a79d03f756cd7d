/**
 * A reporter for node:test beside the one that prints: a line of JSON for each test that begins, ends or fails. test/run.ts prints
 * the failures once more at the end of a run, and what still ran where the runner was killed.
 */
import { relative, resolve } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

export interface Failure {
  /** Of the file and the test, with the seeds that the file has printed. */
  readonly name: string;
  /** The error's message, and the first lines of its stack that are not node's. */
  readonly lines: readonly string[];
}

export type Report =
  | { readonly failure: Failure }
  | { readonly file: string }
  | { readonly begun: string }
  | { readonly ended: string };

const STACK_LINES = 3;
/** Of the errors that a file prints which fails as a whole. */
const LAST_LINES = 12;

interface Problem {
  readonly message?: string;
  readonly stack?: string;
  readonly cause?: unknown;
  readonly failureType?: string;
  /** Of the process of a file. */
  readonly signal?: string | null;
}

const filled = (lines: readonly string[]): string[] => lines.filter((line) => line.trim() !== '');

function linesOf(error: Problem): string[] {
  // node:test wraps what the test has thrown.
  const thrown = (error.failureType && error.cause ? error.cause : error) as Problem | string;
  if (typeof thrown !== 'object') return String(thrown).split('\n');
  const message = (thrown.message ?? String(thrown)).split('\n');
  const frames = (thrown.stack ?? '').split('\n').filter((line) => /^\s+at .*\d:\d+\)?$/.test(line));
  const own = frames.filter((line) => !/node:|node_modules/.test(line));
  return filled([...message, ...own.slice(0, STACK_LINES)]);
}

/** Of a test that stands for its whole file. */
const isFile = ({ name, file = '' }: { readonly name: string; readonly file?: string }): boolean =>
  resolve(name) === resolve(file);

/** Collects what the processes of files print: the seeds, and of errors the last lines. */
class Printed {
  readonly #lines = new Map<string, string[]>();

  add(file: string, message: string, limit: number): void {
    const path = resolve(file);
    this.#lines.set(path, [...this.of(path), ...filled(message.split('\n'))].slice(-limit));
  }

  of(file: string): readonly string[] {
    return this.#lines.get(resolve(file)) ?? [];
  }
}

// biome-ignore lint/style/noDefaultExport: node:test takes the default export
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const names: string[] = [];
  const errors = new Printed();
  const seeds = new Printed();
  const line = (one: Report): string => `${JSON.stringify(one)}\n`;
  for await (const { type, data } of events) {
    if (type === 'test:stderr') errors.add(data.file, data.message, LAST_LINES);
    if (type === 'test:stdout' && /\bseed\b/.test(data.message)) seeds.add(data.file, data.message, 2);
    if (type === 'test:start') names[data.nesting] = data.name;
    if (type === 'test:dequeue' && data.nesting === 0)
      yield line(isFile(data) ? { file: data.name } : { begun: data.name });
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.nesting === 0) yield line({ ended: data.name });
    const error: Problem = type === 'test:fail' && !data.todo ? data.details.error : {};
    // What has failed inside of it is reported by itself.
    if (error.failureType === undefined || error.failureType === 'subtestsFailed') continue;
    const file = data.file ?? '';
    const whole = isFile(data) ? [...(error.signal ? [error.signal] : []), ...errors.of(file)] : [];
    const path = [...names.slice(0, data.nesting), data.name].join(' › ');
    const name = isFile(data) ? data.name : `${relative(process.cwd(), resolve(file))}: ${path}`;
    const seeded = [name, ...seeds.of(file).map((seed) => `[${seed.replace(/^# /, '')}]`)].join(' ');
    yield line({ failure: { name: seeded, lines: [...linesOf(error), ...whole] } });
  }
}
