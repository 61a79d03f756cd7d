/** The signature policy at pulls and imports: what is refused, when its files are read, and what a broken one does. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { createReadStream, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { writeLayout } from '../harness/images.ts';
import { fails } from './scene.ts';
import { operation, startService } from './service.ts';
import { ACCEPT, blobs, image, keys, pem, place, push, REJECT } from './trust-scene.ts';

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
  symlinkSync('nowhere', at.policyFile);
  const broken = free.service.pull({ reference: `${at.host}/app:v1` }, operation('pull'));
  await fails(broken, 'FailedPrecondition', at.policyFile, 'cannot be read');
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
  ] as const;
  for (const [requirement, why] of wellFormed) {
    at.policy({ default: [requirement] });
    await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'default[0]', why);
    at.policy({ default: [requirement], transports: { docker: { [at.host]: [ACCEPT] } } });
    await at.pull('app:v1');
  }
  for (const [data, why] of [
    ['', 'not a public key in PEM'],
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

test('an archive is refused where the policy accepts none of its transport, or requires a signature', async () => {
  await using at = await place();
  const layout = join(at.directory, 'layout');
  const archive = (format: 'docker-archive' | 'oci-archive') => {
    const path = join(at.directory, `${format}.tar`);
    rmSync(path, { force: true });
    execFileSync('skopeo', ['copy', '-q', `oci:${layout}:r.io/app:v1`, `${format}:${path}:r.io/app:v1`]);
    return path;
  };
  writeLayout(layout, 'r.io/app:v1', image);
  const load = (path: string) =>
    at.pulled.service.import(
      { source: createReadStream(path) as AsyncIterable<Buffer> },
      operation('import'),
    );
  for (const format of ['docker-archive', 'oci-archive'] as const) {
    const path = archive(format);
    at.policy({ default: [REJECT], transports: { docker: { '': [ACCEPT] } } });
    await fails(load(path), 'SignatureValidationFailed', `(${format}) is refused by`, 'default[0]');
    const required = { type: 'sigstoreSigned', keyPath: join(at.directory, 'unused') };
    at.policy({ default: [ACCEPT], transports: { [format]: { '': [required] } } });
    await fails(load(path), 'SignatureValidationFailed', `transports.${format}`, 'archives have none');
    assert.deepEqual(at.pulled.service.list(), []);
    at.policy({ default: [REJECT], transports: { [format]: { '': [ACCEPT] } } });
    assert.equal((await load(path)).length, 1);
    await at.pulled.service.remove('r.io/app:v1', operation('remove'));
  }
});
