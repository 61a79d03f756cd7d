import { createHash } from 'node:crypto';
import { type Digest, isDigest } from '#core/ids.ts';
import { isObject, MANIFEST_LIMIT } from '../image/manifest.ts';
import { type HttpContext, header, type Response, readBody } from './exchange.ts';
import { RegistryFailure } from './failure.ts';
import type { RateLimits } from './rate-floor.ts';

/**
 * Refuses what is evidently not a manifest or index: the page of a proxy's login, an error in JSON. A manifest that is
 * malformed or not supported is not refused here, since no other endpoint would have a better one. Throws RegistryFailure.
 */
function refuseOtherDocument(bytes: Uint8Array, mediaType: string, what: string): void {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    // The type says what it is.
  }
  if (
    isObject(json) &&
    ('schemaVersion' in json || ['manifests', 'config', 'layers'].some((key) => key in json))
  )
    return;
  const type = /^[\w.+-]{1,60}\/[\w.+-]{1,100}$/.test(mediaType) ? mediaType : 'no media type';
  throw new RegistryFailure(
    'FailedPrecondition',
    `${what}: it replied with another document (${type}), not a manifest`,
    {
      hint: 'check what answers at this address: the login page of a proxy, or a server that is not a registry',
    },
  );
}

export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
}

/** What a registry says of a manifest without its content. */
export interface CurrentManifest {
  readonly digest: Digest;
  readonly mediaType: string;
}

/** The document of a response, verified where its digest is known. Throws RegistryFailure. */
export async function readManifest(
  tagOrDigest: string,
  response: Response,
  context: HttpContext & RateLimits,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const { what } = context;
  const bytes = await readBody(response, MANIFEST_LIMIT, context, signal);
  const mediaType = mediaTypeOf(response);
  refuseOtherDocument(bytes, mediaType, what);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const claimed = isDigest(tagOrDigest) ? tagOrDigest : header(response, 'docker-content-digest');
  if (!isDigest(digest) || (claimed?.startsWith('sha256:') && claimed !== digest)) {
    throw new RegistryFailure('DataLoss', `${what}: its digest is ${digest}, not ${claimed?.slice(0, 100)}`, {
      hint: 'the endpoint sends other content than announced: check the mirror or proxy',
    });
  }
  return { bytes, digest, mediaType };
}

export const mediaTypeOf = (response: Response): string =>
  (header(response, 'content-type') ?? '').split(';')[0]?.trim() ?? '';
