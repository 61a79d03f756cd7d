import type { Operation } from '#core/operation.ts';
import { type Descriptor, readJson } from '../image/manifest.ts';
import type { Reference } from '../image/reference.ts';
import type { TrustOptions } from '../options.ts';
import type { SignatureSource } from '../policy/signatures.ts';
import { checkImage } from '../policy/trust-policy.ts';
import { callVerifiers } from '../policy/verifiers.ts';
import type { Resolved } from './resolve.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/**
 * Checks a resolved image before anything more of it is fetched, also where it is present: what is trusted may have changed.
 * First the policy, then the verifiers. Throws SignatureValidationFailed; see `checkImage` and `callVerifiers`.
 */
export async function checkTrust(
  options: TrustOptions,
  reference: Reference,
  { target, documents }: Pick<Resolved, 'target' | 'documents'>,
  source: SignatureSource,
  op: Operation,
): Promise<void> {
  const digests = [...new Set(documents.map(({ digest }) => digest))];
  await checkImage(options, { reference, digests }, source, op.signal);
  const { verifiers } = options;
  if (!verifiers) return;
  const bytes = documents.find(({ digest }) => digest === target)?.bytes ?? Buffer.alloc(0);
  await callVerifiers(
    verifiers,
    { name: reference.text, descriptor: describe(target, bytes) },
    op.log,
    op.signal,
  );
}

/** OCI documents may leave their media type out. */
function describe(digest: Descriptor['digest'], bytes: Buffer): Descriptor {
  const json = readJson(bytes, `manifest ${digest}`);
  const own = json['mediaType'];
  const mediaType = typeof own === 'string' ? own : 'manifests' in json ? INDEX : MANIFEST;
  return { mediaType, digest, size: bytes.length };
}
