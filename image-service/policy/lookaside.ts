import { fileURLToPath } from 'node:url';
import { errnoOf } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { readRegular } from '#linux/fs/regular-file.ts';
import { isObject } from '../image/manifest.ts';
import { decodeBase64 } from './base64.ts';
import { policyError } from './read-policy.ts';
import { annotationsOf, SIMPLE_SIGNING, type Signature } from './signature.ts';

const FILE_LIMIT = 4 << 20;
/** As the peers, who take more for a fault. */
const MAX_FILES = 128;
/** What precedes a sigstore signature in a file; other files are signatures by GPG. */
const SIGSTORE = '\0sigstore-json\n';

/**
 * The sigstore signatures in `<path>/<repository>@sha256=<hex>/signature-1` and the following files, as c/image lays them
 * out. Servers (http, https) are not asked: they keep signatures by GPG, which are not supported.
 */
export async function readLookaside(url: string, path: string, digest: Digest): Promise<Signature[]> {
  const base = URL.parse(url);
  if (!base) throw policyError(`the lookaside ${JSON.stringify(url.slice(0, 200))} is not a URL`);
  if (base.protocol !== 'file:') return [];
  const directory = `${fileURLToPath(`file://${base.pathname}`)}/${path}@${digest.replace(':', '=')}`;
  const signatures: Signature[] = [];
  for (let number = 1; number <= MAX_FILES; number++) {
    const file = `${directory}/signature-${number}`;
    const bytes = await readRegular(file, FILE_LIMIT).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw policyError(`signature ${file} cannot be read`, error);
    });
    if (!bytes) break;
    const signature = parseSignature(bytes, digest, file);
    if (signature) signatures.push(signature);
  }
  return signatures;
}

function parseSignature(bytes: Buffer, signed: Digest, file: string): Signature | undefined {
  if (bytes.subarray(0, SIGSTORE.length).toString('latin1') !== SIGSTORE) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.subarray(SIGSTORE.length).toString('utf8'));
  } catch (error) {
    throw policyError(`signature ${file} is not valid JSON`, error);
  }
  if (!isObject(value) || value['mimeType'] !== SIMPLE_SIGNING) return undefined;
  const payload = typeof value['payload'] === 'string' ? decodeBase64(value['payload']) : undefined;
  if (!payload) throw policyError(`signature ${file} has no payload`);
  return { payload, annotations: annotationsOf(value['annotations']), signed };
}
