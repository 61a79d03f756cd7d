/** What the tests of trusted content have in common: a registry, services with a policy, keys, signed images. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after } from 'node:test';
import type { TrustOptions } from '#image-service/index.ts';
import { type BuiltImage, busyboxImage, pushImage } from '../harness/images.ts';
import { payloadOf, pushSignatures, signedBy } from '../harness/signatures.ts';
import { type Front, startFront } from './front.ts';
import { startRegistry } from './registry.ts';
import { operation, startService, type TestService, testDirectory } from './service.ts';

export const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
export const keys = {
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ed25519: generateKeyPairSync('ed25519'),
};
export const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const ACCEPT = { type: 'insecureAcceptAnything' };
export const REJECT = { type: 'reject' };
export const image = busyboxImage();
export const foreign = busyboxImage({ platform: { os: 'linux', architecture: 's390x' } });

const directories = testDirectory();
const registry = await startRegistry(join(directories.path, 'registry'));
after(async () => {
  await registry[Symbol.asyncDispose]();
  directories[Symbol.dispose]();
});
let places = 0;

export interface Place extends AsyncDisposable {
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

/** A service with a policy of its own, and a namespace of the registry that all tests of the file share. */
export async function place(more: Partial<TrustOptions> = {}): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(testDirectory()).path;
  const namespace = `t${places++}`;
  const front = stack.use(await startFront(registry.url));
  const policyFile = join(directory, 'policy.json');
  const registriesDir = join(directory, 'registries.d');
  mkdirSync(registriesDir);
  const trust = { policy: { path: policyFile, required: true }, registriesDir, ...more };
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

export const signed = (at: Place, name: string, key: KeyObject, digest = image.manifest.digest) =>
  pushSignatures(at.registry, at.own(name.split(':')[0] ?? ''), digest, [
    signedBy(key, payloadOf(digest, `${at.host}/${name}`)),
  ]);
export const push = (at: Place, name: string, built: BuiltImage = image) => {
  const [repository = '', tag = ''] = name.split(':');
  return pushImage(at.registry, at.own(repository), tag, built);
};
export const blobs = (at: Place) => at.front.seen.filter(({ url }) => url.includes('/blobs/')).length;
