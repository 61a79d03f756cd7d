import { decodeBase64 } from './base64.ts';
import type { Material, Requirement, SigstoreSigned } from './policy.ts';
import { readIdentity } from './read-identity.ts';
import type { JsonPlace } from './strict-json.ts';

type Fields = ReadonlyMap<string, JsonPlace>;

const KEYS = ['keyPath', 'keyPaths', 'keyData', 'keyDatas'];
const REKOR_KEYS = ['rekorPublicKeyPath', 'rekorPublicKeyPaths', 'rekorPublicKeyData', 'rekorPublicKeyDatas'];
const GPG_KEY_TYPES = ['GPGKeys', 'signedByGPGKeys', 'X509Certificates', 'signedByX509CAs'];

/** Reads one requirement. Those that are valid but not supported are refused later, where they apply. */
export function readRequirement(place: JsonPlace): Requirement {
  const { where } = place;
  const type = place.members().get('type')?.text() ?? place.fail('type is missing');
  switch (type) {
    case 'insecureAcceptAnything':
    case 'reject':
      place.exactly('type');
      return { type, where };
    case 'sigstoreSigned':
      return readSigstore(place);
    case 'signedBy':
      return readSignedBy(place);
    case 'signedBaseLayer':
      readIdentity(place.exactly('type', 'baseLayerIdentity').baseLayerIdentity);
      return { type: 'unsupported', what: type, where };
    default:
      return place.fail(`unknown type of requirement: ${JSON.stringify(type.slice(0, 100))}`);
  }
}

function readSignedBy(place: JsonPlace): Requirement {
  const sources = ['keyPath', 'keyPaths', 'keyData'];
  const fields = place.fields(['type', 'keyType', ...sources, 'signedIdentity']);
  const keyType = fields.get('keyType') ?? place.fail('keyType is missing');
  if (!GPG_KEY_TYPES.includes(keyType.text())) keyType.fail(`it must be one of ${GPG_KEY_TYPES.join(', ')}`);
  if (readMaterial(place, fields, sources).length === 0)
    place.fail(`one of ${sources.join(', ')} is required`);
  const identity = fields.get('signedIdentity');
  if (identity) readIdentity(identity);
  return { type: 'unsupported', what: 'signedBy (simple signing by GPG)', where: place.where };
}

function readSigstore(place: JsonPlace): Requirement {
  const { where } = place;
  const fields = place.fields(['type', ...KEYS, 'fulcio', 'pki', ...REKOR_KEYS, 'signedIdentity']);
  const signers = [...KEYS, 'fulcio', 'pki'];
  if (signers.filter((key) => fields.has(key)).length !== 1)
    place.fail(`exactly one of ${signers.join(', ')} is required`);
  const rekorKeys = readMaterial(place, fields, REKOR_KEYS);
  const identityPlace = fields.get('signedIdentity');
  const identity = identityPlace ? readIdentity(identityPlace) : { type: 'matchRepoDigestOrExact' as const };
  const pki = fields.get('pki');
  if (pki && rekorKeys.length > 0) place.fail('pki excludes a Rekor public key');
  const fulcio = fields.get('fulcio');
  if (fulcio && rekorKeys.length === 0) place.fail('fulcio requires a Rekor public key');
  const signer: SigstoreSigned['signer'] = fulcio
    ? readFulcio(fulcio)
    : pki
      ? readPki(pki)
      : { type: 'keys', keys: readMaterial(place, fields, KEYS) };
  return { type: 'sigstoreSigned', where, signer, rekorKeys, identity };
}

function readFulcio(place: JsonPlace): SigstoreSigned['signer'] {
  const fields = place.fields(['caPath', 'caData', 'oidcIssuer', 'subjectEmail']);
  const [ca] = readMaterial(place, fields, ['caPath', 'caData']);
  if (!ca) return place.fail('one of caPath, caData is required');
  const oidcIssuer = filled(place, fields, 'oidcIssuer');
  const subjectEmail = filled(place, fields, 'subjectEmail');
  return { type: 'fulcio', ca, oidcIssuer, subjectEmail };
}

function readPki(place: JsonPlace): SigstoreSigned['signer'] {
  const roots = ['caRootsPath', 'caRootsData'];
  const others = ['caIntermediatesPath', 'caIntermediatesData'];
  const subjects = ['subjectEmail', 'subjectHostname'];
  const fields = place.fields([...roots, ...others, ...subjects]);
  const [ca] = readMaterial(place, fields, roots);
  if (!ca) return place.fail(`one of ${roots.join(', ')} is required`);
  const [intermediates] = readMaterial(place, fields, others);
  const [subjectEmail, subjectHostname] = subjects.map((key) =>
    fields.has(key) ? filled(place, fields, key) : undefined,
  );
  if (subjectEmail === undefined && subjectHostname === undefined)
    return place.fail(`one of ${subjects.join(', ')} is required`);
  return { type: 'pki', ca, intermediates, subjectEmail, subjectHostname };
}

function filled(place: JsonPlace, fields: Fields, key: string): string {
  const field = fields.get(key) ?? place.fail(`${key} is missing`);
  return field.text() === '' ? field.fail('it is empty') : field.text();
}

/** What the one given key of these names; none where no key is given. Keys that end in `s` have lists. */
function readMaterial(place: JsonPlace, fields: Fields, keys: readonly string[]): readonly Material[] {
  const given = keys.filter((key) => fields.has(key));
  if (given.length > 1) place.fail(`${given.join(' and ')} exclude each other`);
  const [key] = given;
  const field = key === undefined ? undefined : fields.get(key);
  if (!field || key === undefined) return [];
  const values = key.endsWith('s') ? field.items() : [field];
  if (values.length === 0) field.fail('the list is empty');
  return values.map((value) => {
    // Empty data can be read, and fails as a key where it applies.
    if (/Datas?$/.test(key)) return { data: decodeBase64(value.text()) ?? value.fail('it is not base64') };
    return value.text() === '' ? value.fail('it is empty') : { path: value.text() };
  });
}
