import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { parseReference } from '../image/reference.ts';
import { parseNamed } from './named.ts';
import { requirementsFor, type SignedIdentity } from './policy.ts';
import { parsePolicy } from './read-policy.ts';
import { locationOf, parseLocations } from './registries-d.ts';
import { scopesOf } from './scopes.ts';
import { matchesIdentity } from './signed-identity.ts';

const ACCEPT = [{ type: 'insecureAcceptAnything' }];
const REJECT = [{ type: 'reject' }];
const parse = (value: unknown) => parsePolicy(JSON.stringify(value), 'P');
const withRequirement = (requirement: object) => ({ default: [requirement] });

function refusal(text: string): string {
  try {
    parsePolicy(text, 'P');
  } catch (error) {
    assert.ok(hasCode(error, 'FailedPrecondition'), String(error));
    assert.match(error.message, /^signature policy: P/);
    assert.match(error.hint, /containers-policy\.json\(5\)/);
    return error.message.slice('signature policy: '.length);
  }
  assert.fail(`accepted: ${text}`);
}
const refused = (value: unknown) => refusal(JSON.stringify(value));

test('the first scope with an entry counts, from the reference to the wildcards of its domain', () => {
  const scopes = scopesOf(parseReference('reg.eu.example.com:5000/team/app/web:v1'));
  assert.deepEqual(scopes, [
    'reg.eu.example.com:5000/team/app/web:v1',
    'reg.eu.example.com:5000/team/app/web',
    'reg.eu.example.com:5000/team/app',
    'reg.eu.example.com:5000/team',
    'reg.eu.example.com:5000',
    '*.eu.example.com',
    '*.example.com',
    '*.com',
  ]);
  const chosen = (present: readonly string[], transports = {}) => {
    const docker = Object.fromEntries(present.map((scope) => [scope, REJECT]));
    const [first] = requirementsFor(
      parse({ default: ACCEPT, transports: { docker, ...transports } }),
      'docker',
      scopes,
    );
    return first?.where;
  };
  for (const [at, scope] of scopes.entries())
    assert.equal(chosen([...scopes.slice(at), '']), `P:1: transports.docker[${JSON.stringify(scope)}][0]`);
  assert.equal(chosen(['', 'other.example.com']), 'P:1: transports.docker[""][0]');
  assert.equal(
    chosen(['reg.eu.example.com', 'web', 'example.com', 'reg.eu.example.com:5000/tea']),
    'P:1: default[0]',
  );
});

test('names of Docker Hub have their full scopes, a digest its own', () => {
  assert.deepEqual(scopesOf(parseReference('busybox')), [
    'docker.io/library/busybox:latest',
    'docker.io/library/busybox',
    'docker.io/library',
    'docker.io',
    '*.io',
  ]);
  const digest = `sha256:${'a'.repeat(64)}`;
  assert.equal(scopesOf(parseReference(`quay.io/a/b@${digest}`))[0], `quay.io/a/b@${digest}`);
  assert.deepEqual(scopesOf(parseReference('localhost:5000/a')).slice(1), [
    'localhost:5000/a',
    'localhost:5000',
  ]);
});

test('a policy that is not valid is an error with file, line and path', () => {
  assert.match(
    refusal('{\n  "default": [\n    {"type": "insecureAcceptAnything"},\n    {"type": "no"}\n  ]\n}'),
    /^P:4: default\[1\]: unknown type of requirement: "no"/,
  );
  assert.match(refusal('{"default": ['), /^P: not valid JSON: /);
  assert.match(
    refusal('{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}'),
    /^P:1: default: the key is given twice/,
  );
  assert.match(
    refusal('{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}'),
    /default\[0\]\.type: the key is given twice/,
  );
  assert.match(refusal('[]'), /must be an object/);
  assert.match(refusal('['.repeat(1 << 20) + ']'.repeat(1 << 20)), /more than 32 levels/);
  assert.match(
    refusal(`{"default": ${'{"a":'.repeat(1 << 18)}1${'}'.repeat(1 << 18)}}`),
    /more than 32 levels/,
  );
  assert.match(refused({}), /default is missing/);
  assert.match(refused({ default: null }), /P:1: default: it must be a list/);
  assert.match(refused({ default: [] }), /the list of requirements is empty/);
  assert.match(refused({ default: ACCEPT, transport: {} }), /P:1: transport: unknown key/);
  assert.match(
    refused({ default: ACCEPT, transports: { docker: { a: [] } } }),
    /transports\.docker\.a: the list/,
  );
  assert.match(
    refused({ default: ACCEPT, transports: { 'docker-archive': { '/x': REJECT } } }),
    /no scope but ""/,
  );
  assert.match(
    refused({ default: ACCEPT, transports: { 'oci-archive': { 'x/y': REJECT } } }),
    /absolute path/,
  );
  assert.match(refused({ default: ACCEPT, transports: { dir: { '/x/../y': REJECT } } }), /absolute path/);
  assert.ok(
    parse({ default: ACCEPT, transports: { unheard: { of: REJECT }, dir: { '/x': REJECT, '': ACCEPT } } }),
  );
});

test('requirements have exactly their keys', () => {
  const keyPath = '/k.pub';
  for (const requirement of [
    { type: 'reject' },
    { type: 'signedBy', keyType: 'GPGKeys', keyPath },
    { type: 'signedBy', keyType: 'signedByX509CAs', keyData: 'AA==', signedIdentity: { type: 'matchExact' } },
    { type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchRepository' } },
    { type: 'sigstoreSigned', keyPath },
    { type: 'sigstoreSigned', keyPaths: [keyPath, '/l.pub'], rekorPublicKeyDatas: ['AAAA'] },
    { type: 'sigstoreSigned', keyDatas: ['AAAA'], signedIdentity: { type: 'matchRepository' } },
    {
      type: 'sigstoreSigned',
      fulcio: { caPath: '/ca', oidcIssuer: 'https://i', subjectEmail: 'a@b' },
      rekorPublicKeyPath: '/r',
    },
    { type: 'sigstoreSigned', pki: { caRootsPath: '/ca', subjectHostname: 'h' } },
  ])
    assert.ok(parse(withRequirement(requirement)), JSON.stringify(requirement));
  for (const [requirement, why] of [
    [{}, /type is missing/],
    [{ type: 1 }, /type: it must be a string/],
    [{ type: 'Reject' }, /unknown type/],
    [{ type: 'reject', why: 'so' }, /why: unknown key/],
    [{ type: 'signedBy', keyType: 'PGP', keyPath }, /keyType: it must be one of/],
    [{ type: 'signedBy', keyType: 'GPGKeys' }, /one of keyPath, keyPaths, keyData/],
    [{ type: 'sigstoreSigned' }, /exactly one of/],
    [{ type: 'sigstoreSigned', keyPath, keyData: 'AA==' }, /exactly one of/],
    [{ type: 'sigstoreSigned', keyPath: '' }, /keyPath: it is empty/],
    [{ type: 'sigstoreSigned', keyPaths: [] }, /keyPaths: the list is empty/],
    [{ type: 'sigstoreSigned', keyData: '!' }, /keyData: it is not base64/],
    [{ type: 'sigstoreSigned', keyPath, KeyData: 'AA==' }, /KeyData: unknown key/],
    [
      { type: 'sigstoreSigned', keyPath, rekorPublicKeyPath: '/a', rekorPublicKeyData: 'AA==' },
      /exclude each other/,
    ],
    [{ type: 'sigstoreSigned', keyPath, signedIdentity: null }, /signedIdentity: it must be an object/],
    [
      { type: 'sigstoreSigned', keyPath, signedIdentity: { type: 'matchAny' } },
      /unknown type of signedIdentity/,
    ],
    [{ type: 'sigstoreSigned', keyPath, signedIdentity: { type: 'matchExact', x: 1 } }, /x: unknown key/],
    [
      { type: 'sigstoreSigned', fulcio: { caPath: '/ca', oidcIssuer: 'i', subjectEmail: 'e' } },
      /requires a Rekor/,
    ],
    [
      { type: 'sigstoreSigned', fulcio: { caPath: '/ca', subjectEmail: 'e' }, rekorPublicKeyPath: '/r' },
      /oidcIssuer is missing/,
    ],
    [
      { type: 'sigstoreSigned', fulcio: { oidcIssuer: 'i', subjectEmail: 'e' }, rekorPublicKeyPath: '/r' },
      /caPath, caData/,
    ],
    [{ type: 'sigstoreSigned', pki: { caRootsPath: '/ca' } }, /one of subjectEmail/],
  ] as const)
    assert.match(refused(withRequirement(requirement)), why, JSON.stringify(requirement));
});

const digest = `sha256:${'a'.repeat(64)}`;

test('identities of signatures', () => {
  const accepts = (identity: SignedIdentity, pulled: string, signed: string) => {
    const named = parseNamed(pulled);
    assert.ok(named);
    return matchesIdentity(identity, named, signed);
  };
  const rows: readonly (readonly [SignedIdentity, string, string, boolean])[] = [
    [{ type: 'matchExact' }, 'r.io/a:v1', 'r.io/a:v1', true],
    [{ type: 'matchExact' }, 'r.io/a:v1', 'r.io/a:v2', false],
    [{ type: 'matchExact' }, 'r.io/a:v1', 'r.io/a', false],
    [{ type: 'matchExact' }, `r.io/a@${digest}`, `r.io/a@${digest}`, true],
    [{ type: 'matchExact' }, `r.io/a@${digest}`, 'r.io/a:v1', false],
    [{ type: 'matchExact' }, 'docker.io/library/b:latest', 'b:latest', true],
    [{ type: 'matchRepoDigestOrExact' }, 'r.io/a:v1', 'r.io/a:v1', true],
    [{ type: 'matchRepoDigestOrExact' }, 'r.io/a:v1', 'r.io/a:v2', false],
    [{ type: 'matchRepoDigestOrExact' }, `r.io/a@${digest}`, 'r.io/a:v2', true],
    [{ type: 'matchRepoDigestOrExact' }, `r.io/a@${digest}`, 'r.io/a', false],
    [{ type: 'matchRepoDigestOrExact' }, `r.io/a@${digest}`, 'r.io/b:v2', false],
    [{ type: 'matchRepository' }, 'r.io/a:v1', 'r.io/a', true],
    [{ type: 'matchRepository' }, 'r.io/a:v1', 'r.io/a:v9', true],
    [{ type: 'matchRepository' }, 'r.io/a:v1', 'r.io/a/b', false],
    [{ type: 'matchRepository' }, 'r.io/a:v1', 'not a name', false],
    [{ type: 'exactReference', reference: 'r.io/x:v1' }, 'r.io/a:v1', 'r.io/x:v1', true],
    [{ type: 'exactReference', reference: 'r.io/x:v1' }, 'r.io/x:v1', 'r.io/a:v1', false],
    [{ type: 'exactRepository', reference: 'r.io/x' }, 'r.io/a:v1', 'r.io/x:v7', true],
    [{ type: 'exactRepository', reference: 'r.io/x' }, 'r.io/a:v1', 'r.io/a:v1', false],
    [{ type: 'remapIdentity', prefix: 'm.local', signedPrefix: 'r.io' }, 'm.local/a:v1', 'r.io/a:v1', true],
    [
      { type: 'remapIdentity', prefix: 'm.local', signedPrefix: 'r.io' },
      'm.local/a:v1',
      'm.local/a:v1',
      false,
    ],
    [
      { type: 'remapIdentity', prefix: 'm.local', signedPrefix: 'r.io' },
      'm.local:1/a:v1',
      'm.local:1/a:v1',
      true,
    ],
    [
      { type: 'remapIdentity', prefix: 'm.local/x', signedPrefix: 'r.io/y' },
      'm.local/x/a:v1',
      'r.io/y/a:v1',
      true,
    ],
    [
      { type: 'remapIdentity', prefix: 'm.local/x', signedPrefix: 'r.io/y' },
      'm.local/xa:v1',
      'm.local/xa:v1',
      true,
    ],
    [{ type: 'remapIdentity', prefix: 'm.local/x', signedPrefix: 'y' }, 'm.local/x/a:v1', 'y/a:v1', false],
  ];
  for (const [identity, pulled, signed, wanted] of rows)
    assert.equal(
      accepts(identity, pulled, signed),
      wanted,
      `${JSON.stringify(identity)} ${pulled} ${signed}`,
    );
  const bad = (identity: object) =>
    refused(withRequirement({ type: 'sigstoreSigned', keyPath: '/k', signedIdentity: identity }));
  assert.match(bad({ type: 'exactReference', dockerReference: 'r.io/x' }), /neither a tag nor a digest/);
  assert.match(bad({ type: 'exactRepository', dockerRepository: 'R io' }), /not a valid repository/);
  for (const prefix of [
    '',
    'a b',
    'r.io/',
    '/x',
    'r.io/UP',
    'r.io:x',
    'r.io/a:v1',
    'http://r.io',
    'x'.repeat(300),
  ])
    assert.match(
      bad({ type: 'remapIdentity', prefix, signedPrefix: 'r.io' }),
      /prefix: not a valid host/,
      prefix,
    );
});

test('the examples of docs/operators.md can be read', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/operators.md'), 'utf8');
  const example = (language: string, word: string) => {
    const blocks = [...text.matchAll(new RegExp(`\`\`\`${language}\n([^\`]*)\`\`\``, 'g'))];
    return blocks.map(([, block = '']) => block).find((block) => block.includes(word)) ?? assert.fail(word);
  };
  const policy = parsePolicy(example('json', 'sigstoreSigned'), 'P');
  const image = parseReference('registry.example.com/app:v1');
  assert.equal(requirementsFor(policy, 'docker', scopesOf(image))[0]?.type, 'sigstoreSigned');
  const locations = parseLocations(example('yaml', 'use-sigstore-attachments'), 'F');
  assert.ok(locationOf(locations, scopesOf(image)).attachments);
});

test('any text is a policy or an error that names the file; damage never accepts what the policy rejects', () => {
  const key = fc.constantFrom(
    'default',
    'transports',
    'docker',
    '',
    'type',
    'keyPath',
    'keyData',
    '__proto__',
    'fulcio',
  );
  const leaf = fc.constantFrom(
    'reject',
    'insecureAcceptAnything',
    'sigstoreSigned',
    'signedBy',
    '',
    1,
    null,
    true,
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(key, tie('tree')),
    ),
  }));
  const text = fc.oneof(
    fc.string(),
    tree.map((value) => JSON.stringify(value)),
  );
  const tolerate = (policy: string) => {
    try {
      return parsePolicy(policy, 'P');
    } catch (error) {
      assert.ok(error instanceof CrispError && error.code === 'FailedPrecondition', String(error));
      assert.match(error.message, /^signature policy: P/);
      return undefined;
    }
  };
  fc.assert(
    fc.property(text, (policy) => void tolerate(policy)),
    { numRuns: 2000 },
  );
  const sound = JSON.stringify({ default: REJECT, transports: { docker: { 'r.io': REJECT } } }, undefined, 1);
  fc.assert(
    fc.property(
      fc.nat(sound.length - 1),
      fc.string({ minLength: 0, maxLength: 3 }),
      fc.nat(4),
      (at, put, cut) => {
        const policy = tolerate(sound.slice(0, at) + put + sound.slice(at + cut));
        const found = policy && requirementsFor(policy, 'docker', scopesOf(parseReference('r.io/a:v1')));
        assert.ok(found === undefined || found[0]?.type === 'reject');
      },
    ),
    { numRuns: 2000 },
  );
});
