/** Reads files of pods and containers; renders JSON and YAML. */
import { readFile } from 'node:fs/promises';
import { parseDocument, stringify } from 'yaml';
import { fromJson, type MessageName, type MessageOf } from '#api/cri/v1/index.ts';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { UsageError } from './command.ts';

/** Parses JSON, or YAML (a superset of JSON), with a bound on aliases. Errors name the line. */
export function parseText(text: string, file: string): unknown {
  try {
    if (/^\s*[{[]/.test(text)) return JSON.parse(text);
  } catch {
    // YAML's flow style begins the same way; its parser also has better messages
  }
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true });
  const [problem] = document.errors;
  if (problem) {
    throw new UsageError(
      `${file}:${problem.linePos?.[0].line ?? 1}: ${problem.message.split('\n')[0]}`,
      'correct the file',
    );
  }
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new UsageError(`${file}: ${describeError(error)}`, 'correct the file');
  }
}

/** The text of a file, or of the standard input for `-`. */
export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file === '-' ? '/dev/stdin' : file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: cannot be read (${errnoOf(error)})`, 'name a file with JSON or YAML');
  }
}

/** The message in a file. Throws UsageError naming file and field. */
export async function readMessage<N extends MessageName>(name: N, file: string): Promise<MessageOf<N>> {
  const value = parseText(await readText(file), file);
  try {
    return fromJson(name, value);
  } catch (error) {
    if (!(error instanceof CrispError)) throw error;
    throw new UsageError(`${file}: ${describeError(error)}`, error.hint);
  }
}

/** A value as the text of `-o json` or `-o yaml`. */
export function renderDocument(value: unknown, format: 'json' | 'yaml'): string {
  return format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : stringify(value, { lineWidth: 0 });
}
