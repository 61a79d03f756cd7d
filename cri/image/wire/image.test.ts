import assert from 'node:assert/strict';
import test from 'node:test';
import type { Digest, ImageId } from '#core/ids.ts';
import type { Image } from '#image-service/index.ts';
import { wireImage } from './image.ts';

const image: Image = {
  id: `sha256:${'a'.repeat(64)}` as ImageId,
  repoTags: ['registry.example/base/pause:3.9'],
  repoDigests: [`registry.example/base/pause@sha256:${'b'.repeat(64)}`],
  size: 10,
  uid: undefined,
  username: '',
  record: {
    version: 1,
    id: `sha256:${'a'.repeat(64)}` as ImageId,
    tags: [],
    digests: [],
    layers: [],
    blobs: [] as Digest[],
    size: 10,
    compressedSize: 5,
    platform: { os: 'linux', architecture: 'amd64' },
    pulled: 1n,
    config: {
      env: [],
      entrypoint: [],
      cmd: [],
      workingDir: '',
      user: '',
      stopSignal: undefined,
      volumes: [],
      labels: {},
    },
  },
};

test('an image is pinned by any of its full names, or by a prefix of them', () => {
  const pinnedBy = (...references: string[]) => wireImage(image, references).pinned;
  assert.equal(pinnedBy(), false);
  assert.equal(pinnedBy('registry.example/base/pause:3.9'), true);
  assert.equal(pinnedBy(image.id), true);
  assert.equal(pinnedBy('registry.example/base/*'), true);
  assert.equal(pinnedBy('registry.example/base/pause'), false);
  assert.equal(pinnedBy('other/*', 'registry.example/base/pause:3.90'), false);
});
