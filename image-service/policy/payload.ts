import { rejected } from './signature.ts';
import { readStrictJson } from './strict-json.ts';

/** What cosign signs. */
export interface Payload {
  readonly digest: string;
  /** The name that the signer gave the image; often a repository only. */
  readonly reference: string;
}

const TYPE = 'cosign container image signature';

/**
 * Reads a payload whose signature has been verified, as strictly as the peers: `critical` has exactly its known keys.
 * Throws SignatureValidationFailed.
 */
export function parsePayload(bytes: Buffer): Payload {
  const top = readStrictJson(bytes.toString('utf8'), 'payload', (why) => rejected(why)).exactly(
    'critical',
    'optional',
  );
  const { type, image, identity } = top.critical.exactly('type', 'image', 'identity');
  if (type.text() !== TYPE) type.fail('not the type of cosign’s signatures of images');
  if (top.optional.value !== null) top.optional.members();
  return {
    digest: image.exactly('docker-manifest-digest')['docker-manifest-digest'].text(),
    reference: identity.exactly('docker-reference')['docker-reference'].text(),
  };
}
