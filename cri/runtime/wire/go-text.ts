/**
 * Bytes as the text that Go makes of them on the way into JSON. Values of variables may be any bytes (binary Secrets), but the
 * OCI spec is JSON: with containerd and CRI-O each byte that is not part of UTF-8 becomes U+FFFD. Pods rely on it: where the
 * server and the clients of a password have it from the same Secret, they agree, and only if all nodes do the same. TextDecoder
 * replaces the longest beginning of a sequence at once, not each byte.
 */
import { isUtf8 } from 'node:buffer';

const REPLACEMENT = Buffer.from('\ufffd');

/** Whether `goText` loses nothing. */
export const isText = (bytes: Uint8Array): boolean => isUtf8(bytes);

export function goText(bytes: Uint8Array): string {
  const from = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(from)) return from.toString('utf8');
  const text = Buffer.alloc(REPLACEMENT.length * from.length);
  let end = 0;
  for (let at = 0; at < from.length; ) {
    const length = sequenceLength(from, at);
    end += length === 0 ? REPLACEMENT.copy(text, end) : from.copy(text, end, at, at + length);
    at += length || 1;
  }
  return text.toString('utf8', 0, end);
}

/** Of the character that begins here; 0 where none does (The Unicode Standard, table 3-7). */
function sequenceLength(bytes: Buffer, at: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  const second = bytes[at + 1] ?? 0;
  // No longer form than needed, no surrogate, nothing beyond U+10FFFF.
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  const isWhole = bytes.subarray(at + 2, at + length).every((byte) => byte >= 0x80 && byte <= 0xbf);
  return isWhole && at + length <= bytes.length ? length : 0;
}
