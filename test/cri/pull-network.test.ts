/** PullImage through a proxy to a registry that the node's certs.d directory trusts; what Status shows of the proxies. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { pushImage } from '../harness/images.ts';
import { endsClean, makeDirectory, TestNode } from '../harness/pods.ts';
import { startFront } from '../image-service/front.ts';
import { startProxy } from '../image-service/proxy.ts';
import { image } from '../image-service/scene.ts';
import { makeAuthority } from '../image-service/tls.ts';

/** An address that is not loopback, in the network namespace of the run. */
const OUTSIDE = '198.51.100.8';
execFileSync('ip', ['address', 'replace', `${OUTSIDE}/32`, 'dev', 'lo']);
const hosts: Record<string, number> = {};
const proxy = await startProxy(OUTSIDE, hosts, { login: 'user:hunter2' });
after(() => proxy[Symbol.asyncDispose]());
let certsDirectory = '';
const node = await TestNode.start('pull-network', {
  environment: {
    HTTPS_PROXY: `http://user:hunter2@${proxy.host}`,
    HTTP_PROXY: 'http://127.0.0.1:1',
    no_proxy: '.corp,10.0.0.0/8',
  },
  configure: (directory) => {
    certsDirectory = join(directory, 'certs.d');
    return `[image]\ncerts_dirs = [${JSON.stringify(certsDirectory)}]\n[image.proxy]\nhttp = "u:hunter3@${proxy.host}"`;
  },
});
const authority = makeAuthority(makeDirectory(node, 'tls'), 'corp');
await pushImage(node.registry.url, 'app', 'v1', image);
const front = await startFront(
  node.registry.url,
  undefined,
  OUTSIDE,
  authority.issue('registry', ['DNS:registry.test']),
);
after(() => front[Symbol.asyncDispose]());
hosts['registry.test:443'] = Number(front.host.split(':')[1]);
const pull = () => node.client.PullImage({ image: { image: 'registry.test/app:v1' } });

test('an image is pulled by the proxy and the trust of its host, which may be added later', async () => {
  await assert.rejects(pull(), (error: Error) => {
    assert.match(error.message, /RegistryUnavailable: .*TLS with registry\.test:443: .*unknown authority/);
    assert.doesNotMatch(error.message, /hunter/);
    return true;
  });
  const place = join(certsDirectory, 'registry.test');
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'ca.crt'), authority.cert);
  await pull();
  assert.deepEqual(new Set(proxy.seen), new Set(['CONNECT registry.test:443']));
});

test('Status shows the proxies in force and their settings, and no password is logged or shown', async () => {
  const { info } = await node.client.Status({ verbose: true });
  assert.deepEqual(JSON.parse(info['config'] ?? '{}').imageProxy, {
    http: `http://u:***@${proxy.host} (image.proxy.http)`,
    https: `http://user:***@${proxy.host} (HTTPS_PROXY)`,
    noProxy: '.corp,10.0.0.0/8 (no_proxy)',
  });
  assert.doesNotMatch(readFileSync(node.daemon.logFile, 'utf8'), /hunter/);
});

test('Status shows how layers are kept, and how many of each form there are', async () => {
  const { info } = await node.client.Status({ verbose: true });
  const { form, by, reason, stored } = JSON.parse(info['layers'] ?? '{}');
  if (form === 'erofs') assert.match(by, /^(file|loop)$/);
  else assert.equal(typeof reason, 'string');
  assert.ok(stored.erofs + stored.directory > 0);
});

endsClean(node);
