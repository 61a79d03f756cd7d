/** Reads and writes protobuf messages (proto3) from tables of their fields. */
import protobuf from 'protobufjs/minimal.js';
import { CrispError } from '#core/errors.ts';
import { BYTES, SCALARS, type Scalar, VARINT, type WireType } from './scalars.ts';

/**
 * A field: its number, its name, the type of its values (a scalar type or a message's name), and `one`, `list`, or for a map the
 * type of its keys.
 */
export type FieldRow = readonly [number: number, name: string, type: string, shape: string];

/**
 * Values in a received message: messages, scalars, entries of lists and maps. Without it, 4 MiB of empty messages would become
 * hundreds of MiB of objects. A thousand containers with a hundred variables each are fewer.
 */
export const MAX_VALUES = 200_000;

interface Field {
  readonly number: number;
  readonly name: string;
  readonly shape: 'one' | 'list' | 'map';
  /** Of a map's keys. */
  readonly key: Scalar | undefined;
  /** Undefined: the values are messages. */
  readonly scalar: Scalar | undefined;
  readonly message: string;
}

interface Message {
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
}

type Values = Record<string, unknown>;

function fieldOf([number, name, type, shape]: FieldRow): Field {
  const key = SCALARS[shape];
  return {
    number,
    name,
    key,
    scalar: SCALARS[type],
    message: type,
    shape: key ? 'map' : shape === 'list' ? 'list' : 'one',
  };
}

/** Counts down the values that may still be read. */
interface Budget {
  left: number;
}

/** `M` and `I`: the messages by name, as they are received and as they are sent. */
export class Codec<M, I extends Record<keyof M, unknown>> {
  readonly #rows: Readonly<Record<keyof M, readonly FieldRow[]>>;
  /** Made at the first use of each. */
  readonly #messages = new Map<string, Message>();

  constructor(rows: Readonly<Record<keyof M, readonly FieldRow[]>>) {
    this.#rows = rows;
  }

  /** Throws Internal where a number does not fit its field. */
  encode<N extends keyof M & string>(name: N, message: I[N]): Uint8Array {
    const writer = protobuf.Writer.create();
    this.#write(writer, this.#message(name), message as Values);
    return writer.finish();
  }

  /** Unknown fields are skipped. Throws an Error where the bytes are malformed or hold more than `maxValues` values. */
  decode<N extends keyof M & string>(name: N, bytes: Uint8Array, maxValues = MAX_VALUES): M[N] {
    const reader = protobuf.Reader.create(bytes);
    const budget = { left: maxValues };
    const message = this.#message(name);
    return this.#read(reader, message, this.#empty(message), budget) as M[N];
  }

  #message(name: string): Message {
    const known = this.#messages.get(name);
    if (known) return known;
    const fields = this.#rows[name as keyof M].map(fieldOf);
    const made = { fields, byNumber: new Map(fields.map((field) => [field.number, field])) };
    this.#messages.set(name, made);
    return made;
  }

  #empty({ fields }: Message): Values {
    const values: Values = {};
    for (const { name, shape, scalar } of fields) {
      if (shape === 'one') values[name] = scalar?.zero;
      else values[name] = shape === 'list' ? [] : Object.create(null);
    }
    return values;
  }

  /** Reads up to the reader's end. */
  #read(reader: protobuf.Reader, message: Message, into: Values, budget: Budget): Values {
    while (reader.pos < reader.len) {
      const tag = reader.tag();
      const [number, wire] = [tag >>> 3, tag & 7];
      const field = message.byNumber.get(number);
      const expected = field?.scalar && field.shape !== 'map' ? field.scalar.wire : BYTES;
      if (field && wire === expected) this.#readField(reader, field, into, budget);
      else if (field?.shape === 'list' && wire === BYTES) this.#readPacked(reader, field, into, budget);
      else reader.skipType(wire, 0, number);
    }
    return into;
  }

  #readField(reader: protobuf.Reader, field: Field, into: Values, budget: Budget): void {
    const { name, shape } = field;
    if (shape === 'map') this.#readEntry(reader, field, into[name] as Values, budget);
    else if (shape === 'list')
      (into[name] as unknown[]).push(this.#readValue(reader, field, undefined, budget));
    else into[name] = this.#readValue(reader, field, into[name], budget);
  }

  /** A message that is sent in two parts is one (proto3). */
  #readValue(reader: protobuf.Reader, { scalar, message }: Field, before: unknown, budget: Budget): unknown {
    spend(budget);
    if (scalar) return scalar.read(reader);
    const type = this.#message(message);
    const into = (before as Values | undefined) ?? this.#empty(type);
    return within(reader, () => this.#read(reader, type, into, budget));
  }

  /** Numbers in a row, without tags. */
  #readPacked(reader: protobuf.Reader, { name, scalar }: Field, into: Values, budget: Budget): void {
    within(reader, () => {
      while (reader.pos < reader.len) {
        spend(budget);
        (into[name] as unknown[]).push(scalar?.read(reader));
      }
    });
  }

  /** A message with the key in field 1 and the value in field 2. */
  #readEntry(reader: protobuf.Reader, field: Field, into: Values, budget: Budget): void {
    const { key, scalar, message } = field;
    let name = key?.zero;
    let value: unknown = scalar?.zero;
    within(reader, () => {
      while (reader.pos < reader.len) {
        const tag = reader.tag();
        if (tag === tagOf(1, key?.wire ?? BYTES)) name = key?.read(reader);
        else if (tag === tagOf(2, scalar?.wire ?? BYTES))
          value = this.#readValue(reader, field, value, budget);
        else reader.skipType(tag & 7, 0, tag >>> 3);
      }
    });
    spend(budget);
    into[String(name)] = value ?? this.#empty(this.#message(message));
  }

  #write(writer: protobuf.Writer, { fields }: Message, message: Values): void {
    for (const field of fields) {
      const value = message[field.name];
      if (value === undefined) continue;
      if (field.shape === 'map') this.#writeMap(writer, field, value as Values);
      else if (field.shape === 'list') this.#writeList(writer, field, value as readonly unknown[]);
      else if (!field.scalar || !isZero(value)) this.#writeValue(writer, field, field.number, value);
    }
  }

  #writeValue(writer: protobuf.Writer, { scalar, message }: Field, number: number, value: unknown): void {
    writer.uint32(tagOf(number, scalar?.wire ?? BYTES));
    if (scalar) {
      scalar.write(writer, value as never);
      return;
    }
    writer.fork();
    this.#write(writer, this.#message(message), value as Values);
    writer.ldelim();
  }

  #writeList(writer: protobuf.Writer, field: Field, values: readonly unknown[]): void {
    const { number, scalar } = field;
    if (scalar?.wire !== VARINT) {
      for (const value of values) this.#writeValue(writer, field, number, value);
    } else if (values.length > 0) {
      writer.uint32(tagOf(number, BYTES)).fork();
      for (const value of values) scalar.write(writer, value as never);
      writer.ldelim();
    }
  }

  #writeMap(writer: protobuf.Writer, field: Field, values: Values): void {
    const { number, key } = field;
    for (const [name, value] of Object.entries(values)) {
      writer.uint32(tagOf(number, BYTES)).fork();
      writer.uint32(tagOf(1, key?.wire ?? BYTES));
      key?.write(writer, (key.wire === VARINT ? Number(name) : name) as never);
      this.#writeValue(writer, field, 2, value);
      writer.ldelim();
    }
  }
}

const tagOf = (number: number, wire: WireType): number => number * 8 + wire;

/** What proto3 leaves out. */
const isZero = (value: unknown): boolean =>
  value instanceof Uint8Array
    ? value.length === 0
    : value === false || value === '' || value === 0 || value === 0n;

function spend(budget: Budget): void {
  if (--budget.left < 0) throw new CrispError('ResourceExhausted', 'it holds more values than a message may');
}

/** Runs `read` on the bytes of a length-delimited field alone. */
function within<T>(reader: protobuf.Reader, read: () => T): T {
  const end = reader.size() + reader.pos;
  const outer = reader.len;
  if (end > outer) throw new RangeError(`a field ends ${end - outer} bytes behind its message`);
  reader.len = end;
  const value = read();
  if (reader.pos !== end) throw new RangeError('a field is longer than its message');
  reader.len = outer;
  return value;
}
