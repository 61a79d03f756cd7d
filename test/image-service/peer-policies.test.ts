/**
 * Policies before crisp and skopeo, on the same registry: what one accepts, refuses or cannot read, the other does, too.
 * Debian's skopeo reads sigstoreSigned, finds the signatures, and then says that it cannot verify them: of such a row it
 * only shows that the signature was found.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { hasCode } from '#core/errors.ts';
import { buildIndex, pushManifest } from '../harness/images.ts';
import { image, keys, pem, place, push, signed } from './trust-scene.ts';

type Outcome = 'accepted' | 'refused' | 'unreadable';
type Row = readonly [policy: object | string, outcome: Outcome, image?: string];

const A = [{ type: 'insecureAcceptAnything' }];
const R = [{ type: 'reject' }];
const keyData = Buffer.from(pem(keys.ec.publicKey)).toString('base64');
const sigstore = (more: object = {}) => [{ type: 'sigstoreSigned', keyData, ...more }];
const identity = (signedIdentity: unknown) => sigstore({ signedIdentity });
const gpg = (more: object) => [{ type: 'signedBy', keyType: 'GPGKeys', ...more }];

/** `host` is that of the registry, `own` the repository `app` there. */
function rows(host: string, own: string): Row[] {
  const namespace = own.slice(0, own.lastIndexOf('/'));
  const docker = (scopes: object, fallback: object = R): object => ({
    default: fallback,
    transports: { docker: scopes },
  });
  return [
    [{ default: A }, 'accepted'],
    [{ default: R }, 'refused'],
    [{ default: [...A, ...R] }, 'refused'],
    [{ default: [...A, ...A], transports: {} }, 'accepted'],
    [docker({}, A), 'accepted'],
    [docker({ '': A }), 'accepted'],
    [docker({ '': R }, A), 'refused'],
    [docker({ [host]: A }), 'accepted'],
    [docker({ [namespace]: A, [host]: R }), 'accepted'],
    [docker({ [own]: R, [namespace]: A }), 'refused'],
    [docker({ [`${own}:v1`]: A, [own]: R }), 'accepted'],
    [docker({ [`${own}:v2`]: A }), 'refused'],
    [docker({ [`${own}:v1`]: A }), 'refused', `app@${image.manifest.digest}`],
    [docker({ [`${own}@${image.manifest.digest}`]: A }), 'accepted', `app@${image.manifest.digest}`],
    [docker({ [`${own}@${image.manifest.digest}`]: A }), 'refused'],
    [docker({ '*.0.0.1': A }), 'accepted'],
    [docker({ '*.0.1': A, '*.0.0.1': R }), 'refused'],
    [docker({ '*.1': A }), 'accepted'],
    [docker({ '127.0.0.1': A }), 'refused'],
    [docker({ [`*.${host.slice(4)}`]: A }), 'refused'],
    [docker({ app: A, 'docker.io/library/app': A }), 'refused'],
    [{ default: A, transports: { dir: { '': R }, 'docker-archive': { '': R } } }, 'accepted'],
    [{ default: A, transports: { unheard: { anything: R } } }, 'accepted'],
    [docker({ [own]: sigstore() }), 'refused'],
    [docker({ [own]: [...A, ...sigstore()] }), 'refused'],
    [docker({ [own]: [...sigstore(), ...R] }), 'refused'],
    [docker({ [own]: sigstore() }), 'refused', 'many:v1'],
    [docker({ '': sigstore() }), 'refused', 'many:v1'],
    [docker({ '': sigstore() }), 'accepted', 'signed:v1'],
    [docker({ '': identity({ type: 'matchRepository' }) }), 'accepted', 'signed:v1'],
    [docker({ '': sigstore({ keyData: 'AAAA' }) }), 'unreadable', 'signed:v1'],
    [docker({ '': gpg({ keyData: 'AAAA' }) }), 'refused'],
    [docker({ [own]: A, '': gpg({ keyData: 'AAAA' }) }), 'accepted'],
    [docker({ '': [{ type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchExact' } }] }), 'refused'],
    ['', 'unreadable'],
    ['{"default":[{"type":"insecureAcceptAnything"}]} x', 'unreadable'],
    ['{"default":[{"type":"insecureAcceptAnything"}],}', 'unreadable'],
    ['{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}', 'unreadable'],
    [{}, 'unreadable'],
    [{ default: [] }, 'unreadable'],
    [{ default: null }, 'unreadable'],
    [{ default: A, Default: A }, 'unreadable'],
    [{ default: A, transports: null }, 'unreadable'],
    [docker({ '': [] }), 'unreadable'],
    [docker({ x: [{ type: 'accept' }] }), 'unreadable'],
    [{ default: [{ type: 'reject', reason: 'x' }] }, 'unreadable'],
    [{ default: A, transports: { 'docker-archive': { x: A } } }, 'unreadable'],
    [{ default: A, transports: { 'oci-archive': { x: A } } }, 'unreadable'],
    [{ default: A, transports: { dir: { '/x/': A } } }, 'unreadable'],
    [{ default: gpg({}) }, 'unreadable'],
    [{ default: gpg({ keyPath: '/x', keyData: 'AAAA' }) }, 'unreadable'],
    [{ default: [{ type: 'signedBy', keyType: 'x', keyPath: '/x' }] }, 'unreadable'],
    [{ default: [{ type: 'sigstoreSigned' }] }, 'unreadable'],
    [{ default: sigstore({ keyPath: '/x' }) }, 'unreadable'],
    [{ default: sigstore({ keyData: '?' }) }, 'unreadable'],
    [{ default: identity({ type: 'matchAnything' }) }, 'unreadable'],
    [{ default: identity({ type: 'matchExact', more: 1 }) }, 'unreadable'],
    [{ default: identity({ type: 'exactReference', dockerReference: 'r.io/a' }) }, 'unreadable'],
    [{ default: identity({ type: 'exactRepository', dockerRepository: 'R.io/A' }) }, 'unreadable'],
    [{ default: identity({ type: 'remapIdentity', prefix: 'a b', signedPrefix: 'r.io' }) }, 'unreadable'],
    [
      docker({ [own]: A, '': identity({ type: 'remapIdentity', prefix: 'r.io/a', signedPrefix: 'b:1' }) }),
      'accepted',
    ],
  ];
}

test('sixty policies: the same outcome as skopeo', async () => {
  await using at = await place();
  await push(at, 'app:v1');
  await push(at, 'signed:v1');
  await push(at, 'many:one');
  await pushManifest(at.registry, at.own('many'), 'v1', buildIndex([image]));
  await signed(at, 'signed:v1', keys.ec.privateKey);
  const skopeo = async (name: string): Promise<Outcome | 'unable'> => {
    const out = join(at.directory, 'out');
    rmSync(out, { recursive: true, force: true });
    const options = ['--policy', at.policyFile, '--registries.d', join(at.directory, 'registries.d')];
    const source = `docker://${at.host}/${name}`;
    const command = [...options, 'copy', '-q', '--src-tls-verify=false', source, `dir:${out}`];
    const { stderr, failed } = await promisify(execFile)('skopeo', command).then(
      () => ({ stderr: '', failed: false }),
      (error: { stderr: string }) => ({ stderr: error.stderr, failed: true }),
    );
    if (!failed) return 'accepted';
    if (stderr.includes('sigstore disabled')) return 'unable';
    if (/loading trust policy|invalid policy/i.test(stderr)) return 'unreadable';
    assert.match(stderr, /Source image rejected/);
    return 'refused';
  };
  const crisp = (name: string): Promise<Outcome> =>
    at.pull(name).then(
      () => 'accepted',
      (error: unknown) => {
        if (hasCode(error, 'SignatureValidationFailed')) return 'refused';
        assert.ok(hasCode(error, 'FailedPrecondition'), String(error));
        return 'unreadable';
      },
    );
  let compared = 0;
  for (const [policy, outcome, name = 'app:v1'] of rows(at.host.split('/')[0] ?? '', `${at.host}/app`)) {
    at.policy(policy);
    const row = `${JSON.stringify(policy)} ${name}`;
    assert.equal(await crisp(name), outcome, `crisp: ${row}`);
    const peer = await skopeo(name);
    if (peer === 'unable') continue;
    assert.equal(peer, outcome, `skopeo: ${row}`);
    compared++;
  }
  assert.ok(compared >= 55, `${compared} rows were compared`);
});
