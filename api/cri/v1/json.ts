/** Messages as JSON: strict when reading files of users, proto3 JSON when writing. */
import { CrispError } from '#core/errors.ts';
import { type Codec, type FieldShape, shapes, v1 } from './generated/api.js';

type Messages = typeof v1;
/** Names of the messages. */
export type MessageName = {
  [K in keyof Messages]: Messages[K] extends Codec<infer _T, infer _I> ? K : never;
}[keyof Messages];
/** The decoded type of a message, by its name. */
export type MessageOf<N extends MessageName> = Messages[N] extends Codec<infer T, infer _I> ? T : never;

const INT_RANGES: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
};

function refuse(path: string, reason: string): never {
  throw new CrispError('InvalidArgument', `${path || 'the message'} ${reason}`, { hint: 'correct the file' });
}

const show = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 60);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function readInteger(value: unknown, type: string, path: string): string | number {
  const [min, max] = INT_RANGES[type] ?? [0n, 0n];
  let number: bigint | undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value)) number = BigInt(value);
  if (typeof value === 'string' && /^-?\d{1,20}$/.test(value)) number = BigInt(value);
  if (number === undefined || number < min || number > max)
    refuse(path, `must be a whole number (${type}), not ${show(value)}`);
  return max > 2n ** 32n ? String(number) : Number(number);
}

function readScalar(value: unknown, type: string, path: string): unknown {
  if (INT_RANGES[type]) return readInteger(value, type, path);
  if (type === 'bool')
    return typeof value === 'boolean' ? value : refuse(path, `must be true or false, not ${show(value)}`);
  if (type === 'double')
    return typeof value === 'number' ? value : refuse(path, `must be a number, not ${show(value)}`);
  if (typeof value !== 'string') refuse(path, `must be a string, not ${show(value)}`);
  return type === 'bytes' ? Buffer.from(value) : value;
}

/** Of enums whose values had names without a prefix before cri-api 0.37: files of users may have those. */
const EARLIER_PREFIX: Readonly<Record<string, string>> = { Signal: 'SIGNAL_' };

function readEnum(value: unknown, type: string, path: string): number {
  const table = type
    .split('.')
    .reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], v1) as Record<string, unknown>;
  const names = Object.keys(table);
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  const name = [value, `${EARLIER_PREFIX[type] ?? ''}${value}`].find((word) => names.includes(`${word}`));
  const number = typeof value === 'string' ? table[`${name}`] : undefined;
  return typeof number === 'number'
    ? number
    : refuse(path, `must be one of ${names.join(', ')}, not ${show(value)}`);
}

function readOne(value: unknown, { type, kind }: FieldShape, path: string): unknown {
  if (kind === 'message') return readMessage(value, type, path);
  return kind === 'enum' ? readEnum(value, type, path) : readScalar(value, type, path);
}

function readField(value: unknown, shape: FieldShape, path: string): unknown {
  if (shape.list === 'one') return readOne(value, shape, path);
  if (shape.list === 'list') {
    if (!Array.isArray(value)) refuse(path, `must be a list, not ${show(value)}`);
    return value.map((item, index) => readOne(item, shape, `${path}[${index}]`));
  }
  if (!isObject(value)) refuse(path, `must be an object, not ${show(value)}`);
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, readOne(item, shape, `${path}.${key}`)]),
  );
}

const plain = (name: string): string => name.replaceAll('_', '').toLowerCase();

function readMessage(value: unknown, type: string, path: string): Record<string, unknown> {
  const fields = shapes[type] ?? {};
  if (!isObject(value)) refuse(path, `must be an object (${type}), not ${show(value)}`);
  const byPlainName = new Map(Object.keys(fields).map((name) => [plain(name), name]));
  const entries = Object.entries(value).flatMap(([key, item]) => {
    const name = byPlainName.get(plain(key));
    const shape = name === undefined ? undefined : fields[name];
    const here = path ? `${path}.${key}` : key;
    if (!shape) refuse(here, `is not a field of ${type}; known: ${Object.keys(fields).join(', ')}`);
    return item === null ? [] : [[name, readField(item, shape, here)]];
  });
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/**
 * A message from parsed JSON or YAML. Fields may be in snake_case or camelCase, enums are names or numbers, 64-bit values
 * numbers or strings, bytes strings. Throws InvalidArgument that names the field: unknown ones are refused.
 */
export function fromJson<N extends MessageName>(name: N, value: unknown): MessageOf<N> {
  const codec = v1[name] as unknown as Codec<MessageOf<N>, object>;
  return codec.fromObject(readMessage(value, name, ''));
}

/** Proto3 JSON with all fields: camelCase names, 64-bit values as text, enums by name, bytes in base64. */
export function toJson<N extends MessageName>(name: N, message: MessageOf<N>): { [key: string]: unknown } {
  const codec = v1[name] as unknown as Codec<MessageOf<N>, object>;
  return codec.toObject(message, { longs: String, enums: String, bytes: String, defaults: true });
}
