import { isObject } from '../image/manifest.ts';
import { RegistryFailure } from './failure.ts';

/**
 * Refuses what is evidently not a manifest or index: the page of a proxy's login, an error in JSON. A manifest that is
 * malformed or not supported is not refused here, since no other endpoint would have a better one. Throws RegistryFailure.
 */
export function refuseOtherDocument(bytes: Uint8Array, mediaType: string, what: string): void {
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
