/** The entry of a transparency log that cosign keeps with a signature: what Rekor recorded, and its signature (SET) of that. */
import { isObject } from '../image/manifest.ts';
import { decodeBase64 } from './base64.ts';
import { rejected } from './signature.ts';
import { type JsonPlace, readStrictJson } from './strict-json.ts';

export interface LogEntry {
  /** Rekor's signature of the fields below. */
  readonly signedEntryTimestamp: Buffer;
  readonly logId: Buffer;
  readonly logIndex: number;
  /** When the log recorded the entry, in seconds since the epoch. */
  readonly integratedTime: number;
  /** The recorded entry, JSON. */
  readonly body: Buffer;
  /** The DER of the key or certificate in the entry. */
  readonly signer: Buffer;
}

/** The one type of entry that cosign makes for images. */
export const ENTRY_TYPE = { kind: 'hashedrekord', version: '0.0.1' };

/** In bytes; an entry has some 4000. */
const LIMIT = 256 << 10;

/** Reads the annotation `dev.sigstore.cosign/bundle`. Nothing of it is verified. Throws SignatureValidationFailed. */
export function parseLogEntry(text: string): LogEntry {
  if (text.length > LIMIT) throw rejected(`log entry: it has more than ${LIMIT} bytes`);
  const top = readStrictJson(text, 'log entry', (why) => rejected(why));
  const { SignedEntryTimestamp, Payload } = top.exactly('SignedEntryTimestamp', 'Payload');
  const { body, integratedTime, logIndex, logID } = Payload.exactly(
    'body',
    'integratedTime',
    'logIndex',
    'logID',
  );
  if (!/^([0-9a-f]{2})+$/.test(logID.text())) logID.fail('not in hexadecimal digits');
  const recorded = bytesOf(body);
  return {
    signedEntryTimestamp: bytesOf(SignedEntryTimestamp),
    logId: Buffer.from(logID.text(), 'hex'),
    logIndex: numberOf(logIndex),
    integratedTime: numberOf(integratedTime),
    body: recorded,
    signer: signerOf(recorded),
  };
}

const bytesOf = (place: JsonPlace): Buffer => decodeBase64(place.text()) ?? place.fail('not base64');

function numberOf(place: JsonPlace): number {
  const { value } = place;
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    ? value
    : place.fail('not a whole number');
}

/** The log's own JSON: other fields may be added to it. */
function signerOf(body: Buffer): Buffer {
  const entry = readStrictJson(body.toString('utf8'), 'log entry: body', (why) => rejected(why)).value;
  const at = (value: unknown, ...path: string[]): unknown =>
    path.reduce((inner, key) => (isObject(inner) ? inner[key] : undefined), value);
  if (at(entry, 'kind') !== ENTRY_TYPE.kind || at(entry, 'apiVersion') !== ENTRY_TYPE.version)
    throw rejected(`log entry: not of type ${ENTRY_TYPE.kind} ${ENTRY_TYPE.version}`);
  if (at(entry, 'spec', 'data', 'hash', 'algorithm') !== 'sha256')
    throw rejected('log entry: its hash is not SHA-256');
  const content = at(entry, 'spec', 'signature', 'publicKey', 'content');
  const pem = typeof content === 'string' ? decodeBase64(content)?.toString('latin1') : undefined;
  const [, base64 = ''] =
    /^-----BEGIN [A-Z ]{1,40}-----\s([A-Za-z0-9+/=\s]*)-----END [A-Z ]{1,40}-----\s*$/.exec(pem ?? '') ?? [];
  const der = decodeBase64(base64.trim());
  if (!der || der.length === 0) throw rejected('log entry: it has no key or certificate in PEM');
  return der;
}
