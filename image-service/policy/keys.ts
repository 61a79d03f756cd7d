import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { readRegular } from '#linux/fs/regular-file.ts';
import type { Material } from './policy.ts';
import { policyError } from './read-policy.ts';

const LIMIT = 1 << 20;

/** The bytes of a key or certificate file. `where` is the place in the policy that names it. */
export async function loadMaterial(material: Material, where: string): Promise<Buffer> {
  if ('data' in material) return material.data;
  return readRegular(material.path, LIMIT).catch((error: unknown) => {
    throw policyError(`${where}: ${material.path} cannot be read`, error);
  });
}

/** The public keys, in PEM. Throws FailedPrecondition where one is malformed or of a kind that cosign does not use. */
export async function loadKeys(materials: readonly Material[], where: string): Promise<readonly KeyObject[]> {
  return Promise.all(
    materials.map(async (material, at) => {
      const what = 'path' in material ? material.path : `key ${at + 1}`;
      return parseKey(await loadMaterial(material, where), `${where}: ${what}`);
    }),
  );
}

function parseKey(pem: Buffer, what: string): KeyObject {
  // The type is compared first: Node would also take a private key or a certificate.
  const block = /-----BEGIN ([A-Z0-9 ]{1,64})-----[^-]*-----END \1-----/.exec(pem.toString('latin1'));
  if (!block || !['PUBLIC KEY', 'RSA PUBLIC KEY'].includes(block[1] ?? ''))
    throw policyError(`${what} is not a public key in PEM${block ? `, but ${block[1]}` : ''}`);
  let key: KeyObject;
  try {
    key = createPublicKey(block[0]);
  } catch (error) {
    throw policyError(`${what} is not a valid public key`, error);
  }
  if (!['ec', 'rsa', 'ed25519'].includes(key.asymmetricKeyType ?? ''))
    throw policyError(`${what}: a key of type ${key.asymmetricKeyType}, not ECDSA, RSA or Ed25519`);
  return key;
}

/** Whether the key signed the bytes, as cosign does it: over SHA-256, with RSA by PKCS #1 v1.5; Ed25519 signs the bytes. */
export function isSignedBy(key: KeyObject, bytes: Buffer, signature: Buffer): boolean {
  try {
    return verify(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', bytes, key, signature);
  } catch {
    return false; // a signature that is malformed for this kind of key
  }
}
