/** Signatures of images in a real registry, by real keys: which are found, and which are accepted. */
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { buildIndex, busyboxImage, pushManifest } from '../harness/images.ts';
import { payloadOf, pushSignatures, SIMPLE_SIGNING, signedBy } from '../harness/signatures.ts';
import type { Rule } from './front.ts';
import { answer, fails } from './scene.ts';
import { operation, startService } from './service.ts';
import { ACCEPT, foreign, image, keys, other, pem, place, push, REJECT, signed } from './trust-scene.ts';

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

test('behind mirrors the name of the pod counts, and the next one is asked where a mirror has no signature', async () => {
  await using at = await place();
  await push(at, 'bare:v1');
  await push(at, 'app:v1');
  const registries = {
    'reg.example': ['bare', 'app'].map((name) => ({ url: `${at.front.url}/${at.own(name)}-mirror` })),
  };
  at.front.rule = (req) => {
    req.url = (req.url ?? '').replace(/^\/([\w/]+)-mirror\/v2\/team\/app\//, '/v2/$1/');
    return false;
  };
  const policy = { path: at.policyFile, required: true };
  const trust = { policy, registriesDir: join(at.directory, 'registries.d') };
  await using mirrored = await startService(join(at.directory, 'mirrored'), { registries, trust });
  const pull = () => mirrored.service.pull({ reference: 'reg.example/team/app:v1' }, operation('pull'));
  at.policy({ default: [REJECT], transports: { docker: { [at.host]: [ACCEPT] } } });
  await fails(pull(), 'SignatureValidationFailed', 'reg.example/team/app:v1');
  const keyData = Buffer.from(pem(keys.ec.publicKey)).toString('base64');
  at.policy({
    default: [REJECT],
    transports: { docker: { 'reg.example/team': [{ type: 'sigstoreSigned', keyData }] } },
  });
  await fails(pull(), 'SignatureValidationFailed', 'none was found');
  const payload = payloadOf(image.manifest.digest, 'reg.example/team/app:v1');
  await pushSignatures(at.registry, at.own('app'), image.manifest.digest, [
    signedBy(keys.ec.privateKey, payload),
  ]);
  await pull();
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
