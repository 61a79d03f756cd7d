/** Section 7 of the kubelet's contract through the socket: one id everywhere, names, removal, cancelled pulls. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { toBigInt } from '#api/cri/v1/index.ts';
import { busyboxImage, pushImage } from '../harness/images.ts';
import { endsClean, RUNNING, refused, TestNode } from '../harness/pods.ts';

const ACCEPT = '{"default": [{"type": "insecureAcceptAnything"}]}';
let policyFile = '';
const node = await TestNode.start('images', {
  configure: (directory) => {
    mkdirSync(directory, { recursive: true });
    policyFile = join(directory, 'policy.json');
    writeFileSync(policyFile, ACCEPT);
    return `[image]\npolicy_file = ${JSON.stringify(policyFile)}`;
  },
});
const { host, url } = node.registry;
const built = busyboxImage({ config: { Cmd: ['sleep', '1000'], User: '1003:1004', Labels: { of: 'mine' } } });
const push = (name: string, tag: string) => pushImage(url, name, tag, built);
const pull = (image: string) => node.client.PullImage({ image: { image: `${host}/${image}` } });
const statusOf = async (image: string) => (await node.client.ImageStatus({ image: { image } })).image;
const idsOf = async () => (await node.client.ListImages({})).images.map(({ id }) => id);

test('one id from pull to status, the same from two repositories; every name finds the same image', async () => {
  for (const [name, tag] of [
    ['mine', 'v1'],
    ['mine', 'latest'],
    ['other', 'v1'],
  ] as const)
    await push(name, tag);
  const byDigest = (await pull(`mine@${built.manifest.digest}`)).imageRef;
  const first = await statusOf(byDigest);
  assert.deepEqual([first?.repoTags, first?.repoDigests], [[], [`${host}/mine@${built.manifest.digest}`]]);
  assert.equal((await pull('mine:v1')).imageRef, byDigest);
  assert.deepEqual((await statusOf(byDigest))?.repoTags, [`${host}/mine:v1`]);
  assert.equal((await pull('mine')).imageRef, byDigest);
  assert.equal((await pull('other:v1')).imageRef, byDigest);
  const image = await statusOf(byDigest);
  assert.ok(image && toBigInt(image.size) > 0n);
  assert.equal(image.repoTags.length, 3);
  assert.deepEqual([toBigInt(image.uid?.value), image.username], [1003n, '']);
  for (const name of [image.id, ...image.repoTags, ...image.repoDigests])
    assert.deepEqual(await statusOf(name), image, name);
  assert.deepEqual(
    (await node.client.ListImages({})).images.find(({ id }) => id === byDigest),
    image,
  );
  assert.equal(await statusOf(`${host}/nobody:has`), null);

  const pod = await node.runPod();
  const id = await node.run(pod, { image: { image: `${host}/mine` }, command: [] });
  const status = await node.status(id);
  const { containers } = await node.client.ListContainers({ filter: { id } });
  assert.deepEqual([status.imageId, containers[0]?.imageId, image.id], [byDigest, byDigest, byDigest]);
  assert.equal(containers[0]?.imageRef, status.imageRef);
  assert.ok(image.repoDigests.includes(status.imageRef), status.imageRef);
  await node.remove(id);
});

test('five removals at once: the image is removed at each return, with all its names; its container keeps running', async () => {
  const { imageRef } = await pull('mine:v1');
  const pod = await node.runPod();
  const id = await node.run(pod, { image: { image: imageRef }, command: [] });
  await Promise.all(
    Array.from({ length: 5 }, async () => {
      await node.client.RemoveImage({ image: { image: `${host}/mine:v1` } });
      assert.equal(await statusOf(imageRef), null);
      assert.ok(!(await idsOf()).includes(imageRef));
    }),
  );
  for (const name of ['mine', 'other:v1']) assert.equal(await statusOf(`${host}/${name}`), null);
  await node.client.RemoveImage({ image: { image: imageRef } });
  await node.client.RemoveImage({ image: { image: 'never/was:here' } });
  assert.equal((await node.status(id)).state, RUNNING);
  await node.remove(id);
});

test('a cancelled pull leaves no image, and the next one succeeds', async () => {
  const early = { image: { image: `${host}/mine:v1` } };
  await refused(node.client.PullImage(early, { timeoutMs: 1 }), 'DeadlineExceeded');
  assert.equal(await statusOf(`${host}/mine:v1`), null);
  const { imageRef } = await pull('mine:v1');
  assert.ok((await idsOf()).includes(imageRef));
});

test('failing pulls have the code, or the prefix, that the kubelet parses', async () => {
  await refused(pull('nobody/has:it'), 'NotFound', /nobody\/has/);
  const nowhere = { image: { image: '127.0.0.1:1/x:y' } };
  await refused(node.client.PullImage(nowhere), 'RegistryUnavailable', /127\.0\.0\.1:1/);
  for (const image of ['', 'x/UPPER', 'a//b', `x@sha256:${'0'.repeat(63)}`])
    await refused(node.client.PullImage({ image: { image } }), 'InvalidArgument');
  const auth = { auth: 'not base64 of a user and a word', username: '' };
  await refused(
    node.client.PullImage({ image: { image: `${host}/mine:v1` }, auth }),
    'InvalidArgument',
    /auth/,
  );
});

test('an image that the signature policy refuses has the prefix that the kubelet parses, a broken policy has not', async () => {
  await push('mine', 'v1');
  writeFileSync(policyFile, ACCEPT.replace('insecureAcceptAnything', 'reject'));
  // UNKNOWN, and the message begins with the word: the code of this client is read from both.
  await refused(
    pull('mine:v1'),
    'SignatureValidationFailed',
    /^SignatureValidationFailed: image \S+\/mine:v1 is refused by/,
  );
  writeFileSync(policyFile, '{');
  await refused(pull('mine:v1'), 'FailedPrecondition', /policy\.json: not valid JSON/);
  writeFileSync(policyFile, ACCEPT);
  await pull('mine:v1');
});

endsClean(node);
