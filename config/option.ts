/**
 * The kinds of options. Each kind checks a TOML value, parses the text of a flag and writes a value
 * as TOML.
 */

import type { Kind, Option, Shape, Table } from './node.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.ts';

export const camel = (name: string): string =>
  name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** A key as TOML writes it. */
export const bareKey = (key: string): string => (/^[A-Za-z0-9_-]+$/.test(key) ? key : quote(key));

/** The last one given, unchanged. */
const lastText = (texts: readonly string[]): unknown => texts.at(-1);

/** A number or boolean where the text is one, else the text, which the kind's check then refuses. */
function lastLiteral(texts: readonly string[]): unknown {
  const text = texts.at(-1) ?? '';
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?\d+$/.test(text) ? Number(text) : text;
}

const quote = (text: string): string => JSON.stringify(text).replaceAll('\u007f', '\\u007f');

/** A string; `pattern` and `expected` where not every string is valid. */
export function text(
  fallback: string,
  doc: string,
  rule: { pattern?: RegExp; expected?: string; kind?: Kind['name'] } = {},
): Option<string> {
  const kind: Kind = { name: rule.kind ?? 'string' };
  const expected = rule.expected ?? 'a string';
  const parse = (value: unknown): string | undefined => {
    if (typeof value !== 'string' || value.includes('\0')) return undefined;
    return rule.pattern && !rule.pattern.test(value) ? undefined : value;
  };
  return { node: 'option', kind, doc, fallback, expected, parse, fromFlag: lastText, toToml: quote };
}

/** An http or https URL, or nothing. One with a login is refused: a URL is printed and logged, and fetch refuses it, too. */
export function url(doc: string, example: string): Option<string> {
  const expected = `a URL without user and password such as ${quote(example)}, or ""`;
  const isValid = (value: string): boolean => {
    if (!/^https?:\/\/\S+$/.test(value) || !URL.canParse(value)) return false;
    const { username, password } = new URL(value);
    return username === '' && password === '';
  };
  const parse = (value: unknown): string | undefined =>
    typeof value === 'string' && (value === '' || isValid(value)) ? value : undefined;
  return { ...text('', doc, { kind: 'URL' }), expected, parse };
}

/** An absolute path. */
export const path = (fallback: string, doc: string): Option<string> =>
  text(fallback, doc, { pattern: /^\//, expected: 'an absolute path', kind: 'path' });

/** An absolute path, or nothing. */
export const optionalPath = (doc: string, fallback = ''): Option<string> =>
  text(fallback, doc, { pattern: /^(\/|$)/, expected: 'an absolute path, or ""', kind: 'path' });

export function choice<const C extends string>(choices: readonly C[], fallback: C, doc: string): Option<C> {
  const expected = `one of ${choices.map(quote).join(', ')}`;
  const parse = (value: unknown): C | undefined => choices.find((item) => item === value);
  const kind: Kind = { name: 'choice', choices };
  return { node: 'option', kind, doc, fallback, expected, parse, fromFlag: lastText, toToml: quote };
}

export function integer(fallback: number, range: { min: number; max: number }, doc: string): Option<number> {
  const expected = `a whole number from ${range.min} to ${range.max}`;
  const parse = (value: unknown): number | undefined => {
    const isWhole = typeof value === 'number' && Number.isInteger(value);
    return isWhole && value >= range.min && value <= range.max ? value : undefined;
  };
  const kind: Kind = { name: 'whole number', range: { min: String(range.min), max: String(range.max) } };
  return { node: 'option', kind, doc, fallback, expected, parse, fromFlag: lastLiteral, toToml: String };
}

export function flag(fallback: boolean, doc: string): Option<boolean> {
  const expected = 'true or false';
  const parse = (value: unknown): boolean | undefined => (typeof value === 'boolean' ? value : undefined);
  const kind: Kind = { name: 'boolean', choices: ['true', 'false'] };
  return { node: 'option', kind, doc, fallback, expected, parse, fromFlag: lastLiteral, toToml: String };
}

/** "30s"; milliseconds when loaded. */
export function duration(fallback: string, range: { min: string; max: string }, doc: string): Option<number> {
  const ms = (value: string): number => parseDuration(value) ?? Number.NaN;
  const expected = `a duration such as "30s" or "2m", from "${range.min}" to "${range.max}"`;
  const parse = (value: unknown): number | undefined => {
    const parsed = (typeof value === 'string' ? parseDuration(value) : undefined) ?? Number.NaN;
    return parsed >= ms(range.min) && parsed <= ms(range.max) ? parsed : undefined;
  };
  const toToml = (value: number): string => quote(formatDuration(value));
  const kind: Kind = { name: 'duration', range };
  return { node: 'option', kind, doc, fallback: ms(fallback), expected, parse, fromFlag: lastText, toToml };
}

/** "4MiB" or a number of bytes; bytes when loaded. */
export function size(fallback: string, range: { min: string; max: string }, doc: string): Option<number> {
  const bytes = (value: string): number => parseSize(value) ?? Number.NaN;
  const expected = `a size such as "4MiB", from "${range.min}" to "${range.max}"`;
  const parse = (value: unknown): number | undefined => {
    const isWritten = typeof value === 'string' || typeof value === 'number';
    const parsed = (isWritten ? parseSize(String(value)) : undefined) ?? Number.NaN;
    return parsed >= bytes(range.min) && parsed <= bytes(range.max) ? parsed : undefined;
  };
  const toToml = (value: number): string => quote(formatSize(value));
  const kind: Kind = { name: 'size', range };
  return {
    node: 'option',
    kind,
    doc,
    fallback: bytes(fallback),
    expected,
    parse,
    fromFlag: lastText,
    toToml,
  };
}

/** File permissions as "0660"; a number when loaded. */
export function mode(fallback: number, doc: string): Option<number> {
  const expected = 'octal permissions as text, such as "0660"';
  const parse = (value: unknown): number | undefined =>
    typeof value === 'string' && /^0?[0-7]{3}$/.test(value) ? Number.parseInt(value, 8) : undefined;
  const toToml = (value: number): string => quote(`0${value.toString(8).padStart(3, '0')}`);
  const kind: Kind = { name: 'permissions', range: { min: '0000', max: '0777' } };
  return { node: 'option', kind, doc, fallback, expected, parse, fromFlag: lastText, toToml };
}

/** A list of strings; as a flag separated by commas, or given several times. */
export function list(
  fallback: readonly string[],
  doc: string,
  item: Option<string> = text('', ''),
): Option<readonly string[]> {
  const expected = `a list, each item ${item.expected}`;
  const parse = (value: unknown): readonly string[] | undefined => {
    if (!Array.isArray(value)) return undefined;
    const items = value.map((element) => item.parse(element));
    return items.every((parsed) => parsed !== undefined) ? items : undefined;
  };
  const fromFlag = (texts: readonly string[]) =>
    texts.flatMap((value) => (value === '' ? [] : value.split(',')));
  const toToml = (value: readonly string[]): string => `[${value.map(quote).join(', ')}]`;
  const kind: Kind = { name: item.kind.name === 'path' ? 'list of paths' : 'list of strings' };
  return { node: 'option', kind, doc, fallback, expected, parse, fromFlag, toToml };
}

export const section = <const S extends Shape>(doc: string, shape: S) =>
  ({ node: 'section', doc, shape }) as const;

/** A table whose keys the user chooses. */
export const table = <const E extends Table['entry']>(
  doc: string,
  entry: E,
  fallback: Table['fallback'] = {},
) => ({ node: 'table', doc, entry, fallback }) as const;
