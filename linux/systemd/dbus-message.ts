/** Messages of the D-Bus protocol (dbus-specification, "Message Format"): a header with typed fields, then the body. */
import { type DBusValue, malformed, ValueReader, ValueWriter, type Variant } from './dbus-values.ts';

const TYPES = ['invalid', 'call', 'return', 'error', 'signal'] as const;
/** Header fields by their numbers. */
const FIELDS = ['', 'path', 'interface', 'member', 'error', 'replyTo', 'destination', 'sender'] as const;
const FIELD_TYPES = ['', 'o', 's', 's', 's', 'u', 's', 's'] as const;
const SIGNATURE_FIELD = 8;
const FIXED = 16;
/** The specification allows 2^27; a peer that sends more than this is broken. */
const MAX_MESSAGE = 4 << 20;

export interface Message {
  readonly type: (typeof TYPES)[number];
  /** Never 0. */
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  /** The name of an error. */
  readonly error?: string;
  readonly replyTo?: number;
  readonly destination?: string;
  readonly sender?: string;
  readonly signature: string;
  readonly body: readonly DBusValue[];
}

/** Throws Internal where the body does not fit its signature. */
export function encodeMessage(message: Message): Buffer {
  const body = new ValueWriter();
  // The body begins at a multiple of 8, as a struct of all its values does.
  if (message.signature !== '') body.put(`(${message.signature})`, message.body);
  const fields: DBusValue[] = [];
  for (const [code, name] of FIELDS.entries()) {
    const value = name === '' ? undefined : message[name];
    if (value !== undefined) fields.push([code, { type: FIELD_TYPES[code] ?? 's', value } as Variant]);
  }
  if (message.signature !== '') fields.push([SIGNATURE_FIELD, { type: 'g', value: message.signature }]);
  const head = new ValueWriter();
  head.put('(yyyyuua(yv))', [
    'l'.charCodeAt(0),
    TYPES.indexOf(message.type),
    0,
    1,
    body.length,
    message.serial,
    fields,
  ]);
  head.align(8);
  return Buffer.concat([head.bytes(), body.bytes()]);
}

/** The length of the message at the beginning of the bytes, undefined where the header is incomplete. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < FIXED) return undefined;
  const little = isLittle(bytes);
  const body = little ? bytes.readUInt32LE(4) : bytes.readUInt32BE(4);
  const fields = little ? bytes.readUInt32LE(12) : bytes.readUInt32BE(12);
  const length = FIXED + Math.ceil(fields / 8) * 8 + body;
  if (bytes[3] !== 1 || length > MAX_MESSAGE) throw malformed(`a message of ${length} bytes`);
  return length;
}

function isLittle(bytes: Buffer): boolean {
  const order = String.fromCharCode(bytes[0] ?? 0);
  if (order !== 'l' && order !== 'B') throw malformed('a message of no known byte order');
  return order === 'l';
}

/** Reads one complete message. Throws Internal where it is malformed; unknown fields are skipped. */
export function decodeMessage(bytes: Buffer): Message {
  const reader = new ValueReader(bytes, isLittle(bytes));
  const [, type, , , , serial, fields] = reader.get('(yyyyuua(yv))') as readonly DBusValue[];
  reader.align(8);
  const known: Record<string, DBusValue> = {};
  let signature = '';
  for (const field of fields as readonly DBusValue[]) {
    const [code, content] = field as [number, Variant];
    const name = FIELDS[code];
    if (code === SIGNATURE_FIELD && content.type === 'g') signature = content.value as string;
    if (name && content.type === FIELD_TYPES[code]) known[name] = content.value;
  }
  return {
    ...known,
    type: TYPES[type as number] ?? 'invalid',
    serial: serial as number,
    signature,
    body: reader.all(signature),
  };
}
