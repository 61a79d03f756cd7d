import { isObject } from '../image/manifest.ts';
import { RegistryFailure } from './failure.ts';

/** A header of more is refused by servers anyway. */
const TOKEN_LIMIT = 64 << 10;
/** The lifetime of a token without `expires_in`, and the least of any (distribution's token specification), in s. */
const LEAST_SECONDS = 60;
const MOST_SECONDS = 24 * 3600;
/** A token is renewed this much before its end, in ms. */
const MARGIN_MS = 5_000;

export interface Token {
  readonly token: string;
  /** How long it may be used, in ms from now. */
  readonly lifeMs: number;
}

/** Reads the reply of a token server, in all forms of distribution's token and OAuth2 specifications. Throws RegistryFailure. */
export function readTokenReply(body: Uint8Array, what: string, now: number = Date.now()): Token {
  let reply: unknown;
  try {
    reply = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    // The parser's message would quote the token.
  }
  if (!isObject(reply)) throw refused(what, 'the reply is not a JSON object');
  const token = [reply['token'], reply['access_token']].find(
    (one) => one !== undefined && one !== null && one !== '',
  );
  if (token === undefined) throw refused(what, 'the reply has no token');
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
    throw refused(what, 'the token has characters that are not valid in a header');
  if (token.length > TOKEN_LIMIT) throw refused(what, `the token has more than ${TOKEN_LIMIT} bytes`);
  const ms = secondsOf(reply['expires_in']) * 1000 - ageOf(reply['issued_at'], now);
  // One that was issued long ago by the server's clock may be fresh by its own; if not, the registry refuses it.
  const whole = ms > 0 ? ms : LEAST_SECONDS * 1000;
  return { token, lifeMs: Math.max(whole - MARGIN_MS, whole / 2) };
}

function refused(what: string, why: string): RegistryFailure {
  return new RegistryFailure('FailedPrecondition', `${what}: ${why}`, { hint: 'check the token server' });
}

/** A number, or one as text. */
function secondsOf(value: unknown): number {
  const seconds = typeof value === 'string' && /^\d{1,12}(\.\d{1,9})?$/.test(value) ? Number(value) : value;
  if (typeof seconds !== 'number' || Number.isNaN(seconds)) return LEAST_SECONDS;
  return Math.min(Math.max(seconds, LEAST_SECONDS), MOST_SECONDS);
}

/** How long ago a token was issued, in ms; none where its time is malformed or in the future. */
function ageOf(issuedAt: unknown, now: number): number {
  const issued = typeof issuedAt === 'string' && issuedAt.length < 64 ? Date.parse(issuedAt) : Number.NaN;
  return Number.isNaN(issued) ? 0 : Math.max(0, now - issued);
}
