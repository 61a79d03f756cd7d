/** TOML files with the place of each key. */
import { parse, TomlError } from 'smol-toml';
import { CrispError } from '#core/errors.ts';
import { joinPath, locateKeys } from '#core/toml/locate.ts';

export interface TomlFile {
  readonly raw: Readonly<Record<string, unknown>>;
  /** `file:line` of a key, else of the nearest table around it, else the file. */
  originOf(keys: readonly string[]): string;
}

/** Whole numbers beyond 2^53 become bigint. Throws InvalidArgument `file:line: not TOML: …`. */
export function parseTomlFile(text: string, file: string): TomlFile {
  try {
    const raw = parse(text, { integersAsBigInt: 'asNeeded' });
    const lines = locateKeys(text);
    const originOf = (keys: readonly string[]): string => {
      for (let length = keys.length; length > 0; length--) {
        const line = lines.get(joinPath(keys.slice(0, length)));
        if (line !== undefined) return `${file}:${line}`;
      }
      return file;
    };
    return { raw, originOf };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '');
    throw new CrispError('InvalidArgument', `${file}:${error.line}: not TOML: ${reason}`, {
      hint: 'correct this line',
    });
  }
}

export const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
