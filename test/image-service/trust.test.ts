/** The signature policy at pulls and imports, with signatures by real keys in a real registry. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { type BuiltImage, buildIndex, busyboxImage, pushImage, pushManifest } from '../harness/images.ts';
import { payloadOf, pushSignatures, SIMPLE_SIGNING, signedBy } from '../harness/signatures.ts';
import { type Front, type Rule, startFront } from './front.ts';
import { startRegistry } from './registry.ts';
import { answer, fails } from './scene.ts';
import { operation, startService, type TestService, testDirectory } from './service.ts';

const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const keys = {
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ed25519: generateKeyPairSync('ed25519'),
};
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ACCEPT = { type: 'insecureAcceptAnything' };
const REJECT = { type: 'reject' };
const image = busyboxImage();
const foreign = busyboxImage({ platform: { os: 'linux', architecture: 's390x' } });

const directories = testDirectory();
const registry = await startRegistry(join(directories.path, 'registry'));
after(async () => {
  await registry[Symbol.asyncDispose]();
  directories[Symbol.dispose]();
});
let places = 0;

interface Place extends AsyncDisposable {
  /** Where the images of the test are: host and namespace. */
  readonly host: string;
  /** The repository of this name in the registry. */
  readonly own: (name: string) => string;
  readonly registry: string;
  readonly front: Front;
  readonly pulled: TestService;
  readonly directory: string;
  readonly policyFile: string;
  /** Writes the policy; a text as it is. */
  policy(value: object | string): void;
  /** Requires a signature by a key of every image. */
  require(key: KeyObject, more?: object): void;
  attachments(on: boolean): void;
  pull(name: string): Promise<unknown>;
}

async function place(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(testDirectory()).path;
  const namespace = `t${places++}`;
  const front = stack.use(await startFront(registry.url));
  const policyFile = join(directory, 'policy.json');
  const registriesDir = join(directory, 'registries.d');
  mkdirSync(registriesDir);
  const trust = { policy: { path: policyFile, required: true }, registriesDir };
  const pulled = stack.use(await startService(join(directory, 'images'), { trust }));
  const owned = stack.move();
  const policy = (value: object | string) =>
    writeFileSync(policyFile, typeof value === 'string' ? value : JSON.stringify(value));
  const attachments = (on: boolean) =>
    writeFileSync(join(registriesDir, 'a.yaml'), `default-docker:\n  use-sigstore-attachments: ${on}\n`);
  attachments(true);
  return {
    host: `${front.host}/${namespace}`,
    own: (name) => `${namespace}/${name}`,
    registry: registry.url,
    front,
    pulled,
    directory,
    policyFile,
    policy,
    require: (key, more) =>
      policy({
        default: [REJECT],
        transports: {
          docker: {
            '': [{ type: 'sigstoreSigned', keyData: Buffer.from(pem(key)).toString('base64'), ...more }],
          },
        },
      }),
    attachments,
    pull: (name) =>
      pulled.service.pull({ reference: `${front.host}/${namespace}/${name}` }, operation('pull')),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const signed = (at: Place, name: string, key: KeyObject, digest = image.manifest.digest) =>
  pushSignatures(at.registry, at.own(name.split(':')[0] ?? ''), digest, [
    signedBy(key, payloadOf(digest, `${at.host}/${name}`)),
  ]);
const push = (at: Place, name: string, built: BuiltImage = image) => {
  const [repository = '', tag = ''] = name.split(':');
  return pushImage(at.registry, at.own(repository), tag, built);
};
const blobs = (at: Place) => at.front.seen.filter(({ url }) => url.includes('/blobs/')).length;

test('a refused image: nothing of it is fetched, and the error names the image, the requirement and its place', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  at.policy(
    '{\n "default": [{"type": "insecureAcceptAnything"}],\n "transports": {"docker": {"127.0.0.1": [{"type": "reject"}],\n  "' +
      at.host +
      '/app": [\n   {"type": "reject"}\n]}}}',
  );
  const error = await fails(
    at.pull('app:v1'),
    'SignatureValidationFailed',
    `image ${at.host}/app:v1 is refused by ${at.policyFile}:5: transports.docker["${at.host}/app"][0]`,
  );
  assert.match(error.hint, /add its scope/);
  assert.equal(blobs(at), 0);
  assert.deepEqual(at.pulled.service.list(), []);
});

test('a policy change counts at the next pull, also of an image that is present', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  at.policy({ default: [ACCEPT] });
  await at.pull('app:v1');
  at.policy({ default: [REJECT] });
  await fails(at.pull('app:v1'), 'SignatureValidationFailed');
  assert.equal(at.pulled.service.list().length, 1);
  at.policy({ default: [ACCEPT] });
  await at.pull('app:v1');
});

test('a missing or broken policy stops pulls, and the daemon goes on', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  await fails(at.pull('app:v1'), 'FailedPrecondition', 'signature policy', at.policyFile, 'cannot be read');
  at.policy('{"default": [{"type": "insecureAcceptAnything"}]');
  await fails(at.pull('app:v1'), 'FailedPrecondition', at.policyFile, 'not valid JSON');
  at.policy({ default: [{ type: 'sigstoreSigned', keyPath: join(at.directory, 'gone.pub') }] });
  await fails(at.pull('app:v1'), 'FailedPrecondition', 'gone.pub cannot be read', 'default[0]');
  assert.deepEqual(at.pulled.service.list(), []);
  at.policy({ default: [ACCEPT] });
  await at.pull('app:v1');
});

test('without a policy file where it may be missing every image is accepted', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  const trust = { policy: { path: at.policyFile, required: false }, registriesDir: at.directory };
  await using free = await startService(join(at.directory, 'free'), { trust });
  await free.service.pull({ reference: `${at.host}/app:v1` }, operation('pull'));
  assert.ok(!at.front.seen.some(({ url }) => url.includes('.sig')));
});

test('signatures by ECDSA, RSA and Ed25519 keys; by another key, or for another image, they are refused', async () => {
  await using at = await place();
  for (const [kind, { privateKey, publicKey }] of Object.entries(keys)) {
    const built = busyboxImage({ config: { Labels: { kind } } });
    const { digest } = built.manifest;
    await push(at, `${kind}:v1`, built);
    at.require(publicKey);
    const none = await fails(at.pull(`${kind}:v1`), 'SignatureValidationFailed', 'none was found');
    assert.doesNotMatch(none.hint, /use-sigstore-attachments/);
    await signed(at, `${kind}:v1`, other.privateKey, digest);
    await fails(at.pull(`${kind}:v1`), 'SignatureValidationFailed', 'no trusted key has signed it');
    const elsewhere = payloadOf(image.manifest.digest, `${at.host}/${kind}:v1`);
    await pushSignatures(at.registry, at.own(kind), digest, [signedBy(privateKey, elsewhere)]);
    await fails(at.pull(`${kind}:v1`), 'SignatureValidationFailed', `for ${image.manifest.digest}`, digest);
    assert.deepEqual(
      at.pulled.service.list().flatMap(({ repoTags }) => repoTags.filter((tag) => tag.includes(kind))),
      [],
    );
    await signed(at, `${kind}:v1`, privateKey, digest);
    await at.pull(`${kind}:v1`);
    await at.pull(`${kind}@${digest}`);
  }
});

test('one accepted signature among others is enough; every requirement must be satisfied', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  const payload = payloadOf(image.manifest.digest, `${at.host}/app:v1`);
  const good = signedBy(keys.ec.privateKey, payload);
  await pushSignatures(at.registry, at.own('app'), image.manifest.digest, [
    { payload, annotations: {} },
    { payload, annotations: { 'dev.cosignproject.cosign/signature': '?' } },
    signedBy(other.privateKey, payload),
    good,
  ]);
  at.require(keys.ec.publicKey);
  await at.pull('app:v1');
  at.require(keys.rsa.publicKey);
  await fails(
    at.pull('app:v1'),
    'SignatureValidationFailed',
    'none of 4 signatures',
    'no annotation',
    'not base64',
  );
  const keyData = (key: KeyObject) => Buffer.from(pem(key)).toString('base64');
  const both = (second: KeyObject) =>
    at.policy({
      default: [
        { type: 'sigstoreSigned', keyData: keyData(keys.ec.publicKey) },
        { type: 'sigstoreSigned', keyDatas: [keyData(keys.rsa.publicKey), keyData(second)] },
      ],
    });
  both(other.publicKey);
  await at.pull('app:v1');
  both(keys.ed25519.publicKey);
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'default[1]');
});

test('the payload is read as strictly as it is signed, its identity as the policy requires', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  const { digest } = image.manifest;
  const pushSigned = (payload: Buffer) =>
    pushSignatures(at.registry, at.own('app'), digest, [signedBy(keys.ec.privateKey, payload)]);
  const good = payloadOf(digest, `${at.host}/app:v1`).toString();
  at.require(keys.ec.publicKey);
  for (const payload of [
    'not JSON',
    good.replace('cosign container image signature', 'atomic container signature'),
    good.replace('"type"', '"Type"'),
    good.replace('"optional":null', '"optional":null,"more":1'),
    good.replace('"optional":null', `"optional":null,"optional":{}`),
    good.replace('"optional":null', '"optional":7'),
    good.replace('{"docker-manifest-digest"', '{"x":1,"docker-manifest-digest"'),
  ]) {
    await pushSigned(Buffer.from(payload));
    await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'payload');
  }
  // cosign writes the repository alone: accepted by matchRepository only.
  await pushSigned(payloadOf(digest, `${at.host}/app`));
  const error = await fails(
    at.pull('app:v1'),
    'SignatureValidationFailed',
    'matchRepoDigestOrExact',
    `${at.host}/app"`,
  );
  assert.match(error.hint, /matchRepository/);
  at.require(keys.ec.publicKey, { signedIdentity: { type: 'matchRepository' } });
  await at.pull('app:v1');
  at.require(keys.ec.publicKey, {
    signedIdentity: { type: 'exactRepository', dockerRepository: 'r.io/app' },
  });
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'exactRepository');
});

test('an index: its own signature counts, and that of the chosen manifest', async () => {
  await using at = await place();
  await push(at, 'app:one');
  await push(at, 'app:two', foreign);
  const index = buildIndex([foreign, image]);
  await pushManifest(at.registry, at.own('app'), 'v1', index);
  at.require(keys.ec.publicKey);
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'none was found');
  await signed(at, 'app:v1', keys.ec.privateKey, foreign.manifest.digest);
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'none was found');
  await signed(at, 'app:v1', keys.ec.privateKey, index.digest);
  await at.pull('app:v1');
  await signed(at, 'app:v1', other.privateKey, index.digest);
  await fails(at.pull('app:v1'), 'SignatureValidationFailed');
  await signed(at, 'app:v1', keys.ec.privateKey);
  await at.pull('app:v1');
});

test('signatures in the registry are read where registries.d enables them, and a registry that fails is its error', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  await signed(at, 'app:v1', keys.ec.privateKey);
  at.require(keys.ec.publicKey);
  at.attachments(false);
  const error = await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'none was found');
  assert.match(error.hint, /use-sigstore-attachments/);
  assert.ok(!at.front.seen.some(({ url }) => url.includes('.sig')));
  at.attachments(true);
  const failing =
    (status: number): Rule =>
    (req, res, forward) =>
      (req.url ?? '').includes('.sig') && answer(status)(req, res, forward);
  at.front.rule = failing(503);
  await fails(at.pull('app:v1'), 'RegistryUnavailable', '.sig');
  at.front.rule = failing(403);
  await fails(at.pull('app:v1'), 'PermissionDenied', '.sig');
  at.front.rule = undefined;
  await at.pull('app:v1');
  writeFileSync(join(at.directory, 'registries.d/b.yaml'), 'docker: [');
  await fails(at.pull('app:v1'), 'FailedPrecondition', 'b.yaml', 'not valid YAML');
});

test('attachments of other types are no signatures', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  const payload = payloadOf(image.manifest.digest, `${at.host}/app:v1`);
  const one = [signedBy(keys.ec.privateKey, payload)];
  at.require(keys.ec.publicKey);
  await pushSignatures(
    at.registry,
    at.own('app'),
    image.manifest.digest,
    one,
    'application/vnd.in-toto+json',
  );
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'none was found');
  await pushManifest(
    at.registry,
    at.own('app'),
    `${image.manifest.digest.replace(':', '-')}.sig`,
    buildIndex([image]),
  );
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', '.sig', 'media type');
  assert.equal(SIMPLE_SIGNING, 'application/vnd.dev.cosign.simplesigning.v1+json');
});

test('signatures in files of the lookaside', async () => {
  await using at = await place();
  await push(at, 'ns/app:v1');
  at.require(keys.ec.publicKey);
  const lookaside = join(at.directory, 'look aside');
  writeFileSync(
    join(at.directory, 'registries.d/a.yaml'),
    `default-docker:\n  lookaside: "file://${lookaside.replaceAll(' ', '%20')}"\n`,
  );
  const directory = join(lookaside, `${at.own('ns/app')}@${image.manifest.digest.replace(':', '=')}`);
  mkdirSync(directory, { recursive: true });
  await fails(at.pull('ns/app:v1'), 'SignatureValidationFailed', 'none was found');
  const { payload, annotations } = signedBy(
    keys.ec.privateKey,
    payloadOf(image.manifest.digest, `${at.host}/ns/app:v1`),
  );
  const json = JSON.stringify({ mimeType: SIMPLE_SIGNING, payload: payload.toString('base64'), annotations });
  writeFileSync(join(directory, 'signature-1'), Buffer.from([0xa3, 1, 2, 3])); // by GPG
  writeFileSync(join(directory, 'signature-2'), `\0sigstore-json\n${json}`);
  await at.pull('ns/app:v1');
  writeFileSync(join(directory, 'signature-2'), '\0sigstore-json\n{');
  await fails(at.pull('ns/app:v1'), 'FailedPrecondition', 'signature-2', 'not valid JSON');
});

test('what is not supported is refused by name where it applies, and nowhere else', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  const keyData = 'AA==';
  const wellFormed = [
    [{ type: 'signedBy', keyType: 'GPGKeys', keyData }, 'signedBy (simple signing by GPG) is not supported'],
    [
      { type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchExact' } },
      'signedBaseLayer is not supported',
    ],
    [
      { type: 'sigstoreSigned', pki: { caRootsData: keyData, subjectEmail: 'a@b' } },
      'by pki is not supported',
    ],
  ] as const;
  for (const [requirement, why] of wellFormed) {
    at.policy({ default: [requirement] });
    await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'default[0]', why);
    at.policy({ default: [requirement], transports: { docker: { [at.host]: [ACCEPT] } } });
    await at.pull('app:v1');
  }
  for (const [data, why] of [
    ['', 'it is empty'],
    ['AAAA', 'not a public key in PEM'],
    [
      Buffer.from(keys.ec.privateKey.export({ type: 'pkcs8', format: 'pem' })).toString('base64'),
      'but PRIVATE KEY',
    ],
    [Buffer.from(pem(generateKeyPairSync('x25519').publicKey)).toString('base64'), 'x25519'],
  ] as const) {
    at.policy({ default: [{ type: 'sigstoreSigned', keyData: data }] });
    const error = await fails(at.pull('app:v1'), 'FailedPrecondition', 'default[0]', why);
    assert.ok(!error.message.includes('PRIVATE KEY-'));
  }
});
