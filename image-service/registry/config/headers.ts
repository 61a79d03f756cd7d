import { fault, shown } from './fault.ts';
import type { TomlTable } from './toml-file.ts';

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/;

/** Those of the message and the connection, which the client makes; containerd's ignores nearly the same. */
const OF_CONNECTION = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * The table `header`: names in lower case, several values of one joined (RFC 9110, 5.3), without those of the connection.
 * Values are never part of a message.
 */
export function headersOf(table: TomlTable): Readonly<Record<string, string>> {
  const headers: Record<string, string> = Object.create(null);
  const given = table.table('header');
  for (const name of given?.keys ?? []) {
    const value = given?.raw(name);
    const values: unknown[] = Array.isArray(value) ? value : [value];
    const at = table.at('header', name);
    if (!NAME.test(name)) throw fault(at, `${shown(name)} is not a name of a header`);
    if (!values.every((item): item is string => typeof item === 'string' && VALUE.test(item))) {
      throw fault(
        at,
        `the value of header ${name} must be a string or a list of strings, without line breaks`,
      );
    }
    if (!OF_CONNECTION.has(name.toLowerCase())) headers[name.toLowerCase()] = values.join(', ');
  }
  return headers;
}
