/** The limits of a container's processes by annotation, as the NRI plugin ulimit-adjuster of containerd reads them. */
import { inspect } from 'node:util';
import { parse } from 'yaml';
import type { Annotated } from '#core/allowed-annotations.ts';
import { CrispError } from '#core/errors.ts';
import { MAX_RLIMIT, rlimitNames } from '#core/model/rlimits.ts';
import type { Rlimit } from '../spec/process.ts';

/** Nested and odd texts take time quadratic in their length, on the main thread. */
const MAX_TEXT = 4 << 10;

/** The keys for a container, the newer one first. */
export const rlimitKeys = (container: string): string[] => [
  `ulimits.noderesource.dev/container.${container}`,
  `ulimits.nri.containerd.io/container.${container}`,
];

/** A list of `{type, soft, hard}` in YAML; a type may be in lower case and without RLIMIT_. Throws InvalidArgument. */
export function parseRlimits({ key, value }: Annotated): Rlimit[] {
  const refuse = (why: string, cause?: unknown) =>
    new CrispError('InvalidArgument', `annotation ${key}: ${why}`, {
      hint: 'write a list in YAML: - {type: RLIMIT_NOFILE, soft: 1024, hard: 4096}',
      cause,
    });
  if (value.length > MAX_TEXT) throw refuse(`it is longer than ${MAX_TEXT} characters`);
  let list: unknown;
  try {
    list = parse(value, { intAsBigInt: true, maxAliasCount: 0, logLevel: 'error' });
  } catch (error) {
    throw refuse('it is not YAML', error);
  }
  if (!Array.isArray(list)) throw refuse('it is not a list');
  const limits = list.map((item: unknown, at): Rlimit => {
    if (typeof item !== 'object' || item === null) throw refuse(`entry ${at} is not an object`);
    const { type, soft, hard, ...others } = item as Record<string, unknown>;
    const [other] = Object.keys(others);
    if (other !== undefined) throw refuse(`entry ${at} has ${JSON.stringify(other)}, which is unknown`);
    const name = typeof type === 'string' ? type.toUpperCase().replace(/^RLIMIT_/, '') : '';
    if (!rlimitNames.has(`RLIMIT_${name}`)) throw refuse(`entry ${at}: type ${shown(type)} is no limit`);
    if (!isValue(soft)) throw refuse(`${name}: soft ${shown(soft)} is not a whole number from 0 to 2^64-1`);
    if (!isValue(hard)) throw refuse(`${name}: hard ${shown(hard)} is not a whole number from 0 to 2^64-1`);
    if (soft > hard) throw refuse(`${name}: soft ${soft} is above hard ${hard}`);
    return { type: `RLIMIT_${name}`, soft, hard };
  });
  const types = limits.map(({ type }) => type);
  const twice = types.find((type, at) => types.indexOf(type) !== at);
  if (twice !== undefined) throw refuse(`${twice} is there twice`);
  return limits;
}

const isValue = (value: unknown): value is bigint =>
  typeof value === 'bigint' && value >= 0n && value <= MAX_RLIMIT;

const shown = (value: unknown): string =>
  (typeof value === 'object' ? inspect(value, { depth: 0 }) : String(value)).slice(0, 100);
