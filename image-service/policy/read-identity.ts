import { isPrefix, parseNamed } from './named.ts';
import type { SignedIdentity } from './policy.ts';
import type { JsonPlace } from './strict-json.ts';

/** Reads a `signedIdentity`. */
export function readIdentity(place: JsonPlace): SignedIdentity {
  const type = place.members().get('type')?.text() ?? place.fail('type is missing');
  switch (type) {
    case 'matchExact':
    case 'matchRepoDigestOrExact':
    case 'matchRepository':
      place.exactly('type');
      return { type };
    case 'exactReference': {
      const { dockerReference } = place.exactly('type', 'dockerReference');
      const reference = dockerReference.text();
      const named = parseNamed(reference);
      if (!named) return dockerReference.fail('not a valid image reference');
      if (named.tag === undefined && named.digest === undefined)
        return dockerReference.fail('it has neither a tag nor a digest');
      return { type, reference };
    }
    case 'exactRepository': {
      const { dockerRepository } = place.exactly('type', 'dockerRepository');
      const reference = dockerRepository.text();
      if (!parseNamed(reference)) return dockerRepository.fail('not a valid repository');
      return { type, reference };
    }
    case 'remapIdentity': {
      const { prefix, signedPrefix } = place.exactly('type', 'prefix', 'signedPrefix');
      for (const part of [prefix, signedPrefix]) {
        if (!isPrefix(part.text())) part.fail('not a valid host, or host and path');
      }
      return { type, prefix: prefix.text(), signedPrefix: signedPrefix.text() };
    }
    default:
      return place.fail(`unknown type of signedIdentity: ${JSON.stringify(type.slice(0, 100))}`);
  }
}
