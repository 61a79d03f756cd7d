import { type Named, parseNamed, sameName } from './named.ts';
import type { SignedIdentity } from './policy.ts';

/** Whether a signature for `signed`, a docker-reference, counts for the image that is pulled. */
export function matchesIdentity(identity: SignedIdentity, pulled: Named, signed: string): boolean {
  const signature = parseNamed(signed);
  if (!signature) return false;
  switch (identity.type) {
    case 'matchExact':
      return isExact(pulled) && isExact(signature) && sameName(pulled, signature);
    case 'matchRepoDigestOrExact':
      return matchesDigestOrExact(pulled, signature);
    case 'matchRepository':
      return pulled.name === signature.name;
    case 'exactReference': {
      const wanted = parseNamed(identity.reference);
      return wanted !== undefined && isExact(wanted) && isExact(signature) && sameName(wanted, signature);
    }
    case 'exactRepository':
      return parseNamed(identity.reference)?.name === signature.name;
    case 'remapIdentity': {
      const remapped = remap(pulled, identity);
      return remapped !== undefined && matchesDigestOrExact(remapped, signature);
    }
  }
}

const isExact = ({ tag, digest }: Named): boolean => tag !== undefined || digest !== undefined;

/** A pull by digest: the signature holds that digest itself, so that its tag is of no importance. */
function matchesDigestOrExact(pulled: Named, signature: Named): boolean {
  if (!isExact(signature)) return false;
  if (pulled.tag !== undefined) return sameName(pulled, signature);
  return pulled.digest !== undefined && pulled.name === signature.name;
}

/** A name below the prefix gets the other one; undefined where that is no name. */
function remap(
  pulled: Named,
  { prefix, signedPrefix }: { prefix: string; signedPrefix: string },
): Named | undefined {
  const { name } = pulled;
  if (name !== prefix && !name.startsWith(`${prefix}/`)) return pulled;
  const text = signedPrefix + name.slice(prefix.length);
  // A short name would be completed to another one.
  return parseNamed(text)?.name === text ? { ...pulled, name: text } : undefined;
}
