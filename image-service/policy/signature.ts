import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { isObject } from '../image/manifest.ts';

/** The media type of cosign's payloads. */
export const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json';

/** A signature as it was found, not verified. */
export interface Signature {
  readonly payload: Buffer;
  readonly annotations: ReadonlyMap<string, string>;
  /** The manifest that it was found for. */
  readonly signed: Digest;
}

/** The annotations that are text. */
export function annotationsOf(value: unknown): ReadonlyMap<string, string> {
  const entries = isObject(value) ? Object.entries(value) : [];
  return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

/** A signature that does not count, and why. */
export const rejected = (why: string, hint?: string): CrispError =>
  new CrispError('SignatureValidationFailed', why, hint === undefined ? {} : { hint });
