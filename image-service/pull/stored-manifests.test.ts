import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import type { Digest } from '#core/ids.ts';
import { StoredManifests } from './stored-manifests.ts';

const bytesOf = (text: string) => ({
  bytes: Buffer.from(text),
  digest: `sha256:${createHash('sha256').update(text).digest('hex')}` as Digest,
});
const [index, child, moved] = [bytesOf('index'), bytesOf('child'), bytesOf('moved')];
const { signal } = new AbortController();

function storedManifests(current: { digest: Digest; mediaType: string } | undefined) {
  const asked: string[] = [];
  const source = {
    current: async (name: string) => {
      asked.push(`HEAD ${name}`);
      return current;
    },
    manifest: async (name: string) => {
      asked.push(`GET ${name}`);
      return { ...moved, mediaType: 'm' };
    },
  };
  const content = {
    read: async (digest: Digest) => [index, child].find((one) => one.digest === digest)?.bytes,
  };
  return { asked, stored: new StoredManifests(source, content) };
}

test('what is stored is not fetched, and the name is asked for once', async () => {
  const { asked, stored } = storedManifests({ digest: index.digest, mediaType: 'i' });
  assert.deepEqual(await stored.manifest('v1', signal), { ...index, mediaType: 'i' });
  assert.deepEqual(await stored.manifest(child.digest, signal), { ...child, mediaType: '' });
  assert.deepEqual(asked, ['HEAD v1']);
  await stored.manifest(moved.digest, signal);
  assert.deepEqual(asked, ['HEAD v1', `GET ${moved.digest}`]);
});

test('a tag that has moved is fetched by its new digest, one without a digest by itself', async () => {
  const { asked, stored } = storedManifests({ digest: moved.digest, mediaType: 'i' });
  assert.equal((await stored.manifest('v1', signal)).digest, moved.digest);
  assert.deepEqual(asked, ['HEAD v1', `GET ${moved.digest}`]);
  const without = storedManifests(undefined);
  await without.stored.manifest('v1', signal);
  assert.deepEqual(without.asked, ['HEAD v1', 'GET v1']);
});
