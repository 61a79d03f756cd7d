/** Section 1 of the kubelet's contract, as far as other suites do not test it: what a client calls first. */
import assert from 'node:assert/strict';
import { existsSync, statfsSync } from 'node:fs';
import test from 'node:test';
import { toBigInt } from '#api/cri/v1/index.ts';
import { endsClean, NODE, refused, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('connection');

test('Version and ImageFsInfo succeed, with an image and on an empty store', async () => {
  const version = await node.client.Version({ version: '' });
  assert.deepEqual([version.version, version.runtimeName], ['0.1.0', 'crisp']);
  assert.ok(version.runtimeVersion !== '' && version.runtimeApiVersion === 'v1');
  const fsInfo = async () => {
    const { imageFilesystems, containerFilesystems } = await node.client.ImageFsInfo({});
    const [images, containers] = [imageFilesystems[0], containerFilesystems[0]];
    assert.ok(images && containers);
    for (const { timestamp, fsId } of [images, containers]) {
      assert.ok(toBigInt(timestamp) > 0n);
      assert.ok(existsSync(fsId?.mountpoint ?? '') && statfsSync(fsId?.mountpoint ?? '').blocks > 0);
    }
    return images;
  };
  const full = await fsInfo();
  assert.ok(toBigInt(full.usedBytes?.value) > 0n && toBigInt(full.inodesUsed?.value) > 0n);
  await node.client.RemoveImage({ image: { image: node.image } });
  assert.deepEqual((await node.client.ListImages({})).images, []);
  assert.ok((await fsInfo()).usedBytes, 'an empty store has a usage');
  node.image = await node.addImage('busybox');
});

test('a retry returns the existing pod; another config with the same name is refused', async () => {
  const config = node.podConfig({}, { network: NODE });
  const { podSandboxId } = await node.client.RunPodSandbox({ config });
  assert.equal((await node.client.RunPodSandbox({ config })).podSandboxId, podSandboxId);
  const other = { ...config, hostname: 'another' };
  await refused(node.client.RunPodSandbox({ config: other }), 'AlreadyExists', new RegExp(podSandboxId));
  const { metadata = {} } = config;
  const next = { ...config, metadata: { ...metadata, attempt: 1 } };
  const second = (await node.client.RunPodSandbox({ config: next })).podSandboxId;
  assert.notEqual(second, podSandboxId);
  assert.equal((await node.client.ListPodSandbox({})).items.length, 2);
});

endsClean(node);
