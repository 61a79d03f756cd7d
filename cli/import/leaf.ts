/** The keys of configuration files, one by one. */
import { readFile, stat } from 'node:fs/promises';
import { isTable, parseTomlFile } from '#config/index.ts';
import { CrispError, errnoOf } from '#core/errors.ts';

/** Bytes of a file beyond which it is not read. */
const FILE_LIMIT = 1 << 20;

/** One key of a file. Tables are their keys; of an empty table there is one leaf with the value `{}`. */
export interface Leaf {
  /** As the file has it; elements of a list of tables by their index. */
  readonly written: readonly string[];
  /** As the tables of options have it. */
  readonly keys: readonly string[];
  readonly value: unknown;
  /** `file:line`. */
  readonly origin: string;
  /** The position of the file in the order of reading: values of a later one count. */
  readonly file: number;
}

export const invalid = (problems: readonly string[], hint = 'correct the file'): CrispError =>
  new CrispError('InvalidArgument', problems.join('\n'), { hint });

/** Throws InvalidArgument, also for what is not a regular file and for a file beyond 1 MiB. */
export async function readConfigurationFile(file: string): Promise<string> {
  try {
    const status = await stat(file);
    if (!status.isFile()) throw invalid([`${file}: is not a regular file`], 'name a file');
    if (status.size > FILE_LIMIT) throw invalid([`${file}: is larger than ${FILE_LIMIT} bytes`]);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof CrispError) throw error;
    throw invalid(
      [`${file}: cannot be read (${errnoOf(error)})`],
      'name a configuration file of this node that you may read',
    );
  }
}

const isTables = (value: unknown): value is readonly unknown[] =>
  Array.isArray(value) && value.length > 0 && value.every(isTable);

/** Far more than any option has. */
const DEEPEST = 64;

/** The keys of a tree in the order of the file. */
export function leavesOf(
  raw: Readonly<Record<string, unknown>>,
  file: number,
  originOf: (keys: readonly string[]) => string,
): Leaf[] {
  const visit = (value: unknown, keys: readonly string[]): Leaf[] => {
    if (keys.length > DEEPEST) {
      const problem = `${originOf(keys.slice(0, 1))}: tables are nested too deeply`;
      throw invalid([problem], `nest at most ${DEEPEST} of them`);
    }
    const below = isTables(value) || isTable(value) ? Object.entries(value) : [];
    if (below.length === 0) return [{ written: keys, keys, value, origin: originOf(keys), file }];
    return below.flatMap(([key, item]) => visit(item, [...keys, key]));
  };
  return Object.entries(raw).flatMap(([key, value]) => visit(value, [key]));
}

/** The keys of a TOML file. Throws InvalidArgument with file and line. */
export async function readLeaves(path: string, file: number): Promise<Leaf[]> {
  const { raw, originOf } = parseTomlFile(await readConfigurationFile(path), path);
  return leavesOf(raw, file, originOf);
}
