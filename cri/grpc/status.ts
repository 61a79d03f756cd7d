/** The status codes of gRPC (doc/statuscodes.md of grpc/grpc), and how a status is sent. */

export const GrpcCode = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcCode = (typeof GrpcCode)[keyof typeof GrpcCode];

export interface RpcStatus {
  readonly code: GrpcCode;
  readonly details: string;
}

/** Of a percent-encoded message, in bytes: with the other trailers it stays below 8 KiB, the least that a client takes. */
const MAX_ENCODED = 7 << 10;
const HEX = '0123456789ABCDEF';

/**
 * The value of `grpc-message`: UTF-8, each byte but the printable ones of ASCII percent-encoded (PROTOCOL-HTTP2.md, "Status-Message").
 * A longer message is cut between two characters, so that what arrives is well-formed.
 */
export function encodeMessage(details: string): string {
  let encoded = '';
  for (const character of details.toWellFormed()) {
    const code = character.codePointAt(0) as number;
    const piece = code >= 0x20 && code <= 0x7e && code !== 0x25 ? character : percent(character);
    if (encoded.length + piece.length > MAX_ENCODED) break;
    encoded += piece;
  }
  return encoded;
}

function percent(character: string): string {
  let piece = '';
  for (const byte of Buffer.from(character)) piece += `%${HEX.charAt(byte >> 4)}${HEX.charAt(byte & 15)}`;
  return piece;
}

/** Milliseconds of a unit of `grpc-timeout`. */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of a `grpc-timeout` (at most eight digits and a unit); undefined where it is malformed. */
export function parseTimeout(value: string): number | undefined {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(value) ?? [];
  return digits === undefined ? undefined : Number(digits) * (UNITS[unit as string] as number);
}
