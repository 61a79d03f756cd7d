/** What ttrpc wraps requests and responses in. Metadata of requests is not read: NRI has none. */
import { errorTable } from '#core/errors.ts';
import { Codec, type FieldRow } from './codec.ts';

export interface RequestEnvelope {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  /** From the request's arrival; 0: no deadline. */
  readonly timeoutNano: bigint;
}

/** google.rpc.Status without its details. */
export interface Status {
  readonly code: number;
  readonly message: string;
}

export interface ResponseEnvelope {
  readonly status: Status | undefined;
  readonly payload: Uint8Array;
}

interface Envelopes {
  Request: RequestEnvelope;
  Response: ResponseEnvelope;
  Status: Status;
}

type Inits = { [E in keyof Envelopes]: Partial<Envelopes[E]> };

const rows: { readonly [E in keyof Envelopes]: readonly FieldRow[] } = {
  Request: [
    [1, 'service', 'string', 'one'],
    [2, 'method', 'string', 'one'],
    [3, 'payload', 'bytes', 'one'],
    [4, 'timeoutNano', 'int64', 'one'],
  ],
  Response: [
    [1, 'status', 'Status', 'one'],
    [2, 'payload', 'bytes', 'one'],
  ],
  Status: [
    [1, 'code', 'int32', 'one'],
    [2, 'message', 'string', 'one'],
  ],
};

export const envelopes: Codec<Envelopes, Inits> = new Codec(rows);

/** gRPC's codes by number. */
const CODES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

export const statusName = (code: number): string => CODES[code] ?? `code ${code}`;

export const statusCode = (name: (typeof CODES)[number]): number => CODES.indexOf(name);

export const statusCodeOf = (code: keyof typeof errorTable): number => statusCode(errorTable[code].grpc);

/** Characters of the text of an error that are kept. */
export const MAX_TEXT = 4096;

/** A text of the other side as one line, without what would change a terminal or a log. */
export function plainText(text: string): string {
  const cut = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  return cut.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu, ' ').trim();
}
