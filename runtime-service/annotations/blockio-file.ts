/**
 * The classes of block IO that annotations name: container.blockio_config_file, in the form of goresctrl, which containerd and
 * CRI-O have. As there, names of fields may be in any case, and values are quantities.
 */
import { parse } from 'yaml';
import { CrispError, describeError } from '#core/errors.ts';
import { parseQuantity } from '#core/quantity.ts';
import { readDefinition } from '../hooks/definition-files.ts';
import { Fields } from '../hooks/fields.ts';

export const RATES = [
  'throttleReadBps',
  'throttleWriteBps',
  'throttleReadIOPS',
  'throttleWriteIOPS',
] as const;
export type Rate = (typeof RATES)[number];

/** What a class sets for some devices. */
export interface BlockioRule {
  /** Patterns of paths; undefined: the weight of all others. */
  readonly devices: readonly string[] | undefined;
  /** Of the I/O scheduler, 10 to 1000. */
  readonly weight: number | undefined;
  /** Bytes, or operations, in a second. */
  readonly rates: Readonly<Partial<Record<Rate, number>>>;
}

/** A later rule goes before an earlier one for the same device. */
export type BlockioClass = readonly BlockioRule[];

export type BlockioClasses = ReadonlyMap<string, BlockioClass>;

/** Empty: none. Throws InvalidArgument, beginning with the option, for a file that cannot be used. */
export async function readBlockioClasses(path: string): Promise<BlockioClasses> {
  if (path === '') return new Map();
  try {
    return parseBlockioClasses(path, await readDefinition(path));
  } catch (error) {
    throw new CrispError('InvalidArgument', `container.blockio_config_file: ${describeError(error)}`, {
      cause: error,
      hint: 'correct the file: YAML with Classes, each a list of rules, of root with mode 0644',
    });
  }
}

/** Throws FailedPrecondition naming file and field, or the error of the YAML. */
export function parseBlockioClasses(file: string, text: string): BlockioClasses {
  const top = inAnyCase(file, parse(text) ?? {}, ['classes']);
  const classes = top.entries('classes').map(([name, rules]): [string, BlockioClass] => {
    const where = `${file}: class ${name}`;
    const list = new Fields(where, { rules }).list('rules');
    return [name, list.map((rule, at) => ruleOf(`${where}[${at}]`, rule))];
  });
  return new Map(classes);
}

function ruleOf(where: string, value: unknown): BlockioRule {
  const names = ['devices', 'weight', ...RATES];
  const fields = inAnyCase(where, value, names);
  const devices = fields.has('devices') ? fields.texts('devices') : undefined;
  const relative = devices?.find((pattern) => !pattern.startsWith('/dev/'));
  if (relative !== undefined)
    throw fields.wrong('devices', `has ${JSON.stringify(relative)}, not below /dev`);
  const rates: Partial<Record<Rate, number>> = {};
  for (const rate of RATES) {
    const amount = quantity(fields, rate.toLowerCase(), 0, Number.MAX_SAFE_INTEGER);
    if (amount === undefined) continue;
    if (!devices) throw fields.wrong(rate, 'is set without devices');
    rates[rate] = amount;
  }
  return { devices, weight: quantity(fields, 'weight', 10, 1000), rates };
}

/** The fields by their names in lower case; refuses others. */
function inAnyCase(where: string, value: unknown, names: readonly string[]): Fields {
  new Fields(where, value); // an object
  const lower = Object.entries(value as object).map(([name, item]) => [name.toLowerCase(), item]);
  const fields = new Fields(where, Object.fromEntries(lower));
  fields.only(names.map((name) => name.toLowerCase()));
  return fields;
}

function quantity(fields: Fields, field: string, min: number, max: number): number | undefined {
  const value = fields.get(field);
  if (value === undefined || value === '') return undefined;
  const amount = ['string', 'number'].includes(typeof value) ? parseQuantity(String(value)) : undefined;
  if (amount !== undefined && amount >= min && amount <= max) return amount;
  throw fields.wrong(field, `is ${JSON.stringify(value)}, not a quantity from ${min} to ${max}`);
}
