/** What an image takes on the disk is told by what is on it, whatever its manifest claims. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { buildArtifact } from '../harness/artifacts.ts';
import { type Blob, type BuiltImage, jsonBlob, pushImage, pushManifest } from '../harness/images.ts';
import { ground, small } from './ground.ts';
import { operation, startService } from './service.ts';

/** The manifest with another size at each layer. */
function lying({ mediaType, bytes }: Blob): Blob {
  const manifest = JSON.parse(bytes.toString()) as { layers: object[] };
  const layers = manifest.layers.map((layer) => ({ ...layer, size: Number.MAX_SAFE_INTEGER }));
  return jsonBlob(mediaType, { ...manifest, layers });
}

for (const [name, image] of [
  ['an image', small('content')],
  ['an artifact', buildArtifact({ files: [{ title: 'file', content: 'content' }] })],
] as const satisfies readonly (readonly [string, BuiltImage])[])
  test(`${name} by whose manifest a blob that is there already is far larger`, async () => {
    await using at = await ground();
    await using opened = await startService(at.root, { keepBlobs: true });
    const pull = (tag: string) =>
      opened.service.pull({ reference: `${at.registry.host}/app:${tag}` }, operation('pull'));
    await pushImage(at.registry.url, 'app', 'v1', image);
    const { size } = await pull('v1');
    // Sums of such sizes do not even fit the 64 bits that a list of images has for each.
    await pushManifest(at.registry.url, 'app', 'v2', lying(image.manifest));
    const { size: again } = await pull('v2');
    assert.ok(again < size + 16_384, `${again} bytes instead of some ${size}`);
  });
