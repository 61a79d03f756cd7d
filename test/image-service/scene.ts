/** Registry, front and service for tests of bad servers. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type CrispError, type ErrorCode, hasCode } from '#core/errors.ts';
import { busyboxImage, pushImage } from '../harness/images.ts';
import { type Front, type Rule, startFront } from './front.ts';
import { startRegistry } from './registry.ts';
import { operation, startService, type TestService, testDirectory } from './service.ts';

export const isBlob = (url: string | undefined) => url?.includes('/blobs/') ?? false;
const random = Buffer.from(Array.from({ length: 600_000 }, (_, n) => (n * 2654435761) >>> 24));
export const image = busyboxImage({
  layers: [{ entries: [{ name: './' }, { name: 'data', content: random }], compression: 'none' }],
});

export interface Scene extends AsyncDisposable {
  readonly front: Front;
  readonly pulled: TestService;
  readonly registry: string;
  readonly directory: string;
  pull(auth?: Parameters<TestService['service']['pull']>[0]['auth']): Promise<unknown>;
}

/** Registry, front and service; the image is `app:v1` behind the front. */
export async function scene(rule?: Rule): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(testDirectory());
  const registry = stack.use(await startRegistry(join(directory.path, 'registry')));
  await pushImage(registry.url, 'app', 'v1', image);
  const front = stack.use(await startFront(registry.url, rule));
  const pulled = stack.use(await startService(join(directory.path, 'images')));
  const owned = stack.move();
  return {
    front,
    pulled,
    registry: registry.url,
    directory: directory.path,
    pull: (auth) =>
      pulled.service.pull(
        { reference: `${front.host}/app:v1`, ...(auth ? { auth } : {}) },
        operation('pull'),
      ),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export async function fails(
  pull: Promise<unknown>,
  code: ErrorCode,
  ...words: string[]
): Promise<CrispError> {
  const error = await pull.then(
    () => assert.fail('the pull succeeded'),
    (reason: unknown) => reason,
  );
  assert.ok(hasCode(error, code), `${code} wanted, got ${String(error)}`);
  for (const word of words)
    assert.ok(error.message.includes(word), `${word} is missing in: ${error.message}`);
  assert.notEqual(error.hint, '');
  return error;
}

export const answer =
  (status: number, headers: Record<string, string> = {}): Rule =>
  (_req, res) => {
    res.writeHead(status, headers).end();
    return true;
  };
