/** Registry configuration on a real registry: files that are read at each pull, names without a host, mirrors under a path. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { ownTable, proxyOptions } from '#image-service/index.ts';
import { pushImage } from '../harness/images.ts';
import { startFront } from './front.ts';
import { ground, small } from './ground.ts';
import { answer, fails } from './scene.ts';
import { operation, startService } from './service.ts';
import { makeAuthority } from './tls.ts';

async function scene() {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await ground());
  const path = join(at.directory, 'registries.conf');
  const hosts = join(at.directory, 'certs.d');
  const dropIns = join(at.directory, 'registries.conf.d');
  writeFileSync(path, '');
  const { service } = stack.use(
    await startService(at.root, {
      attempts: 1,
      hostsDirectories: [hosts],
      registriesConf: { path, required: true, dropIns },
    }),
  );
  const owned = stack.move();
  return {
    ...at,
    service,
    conf: (text: string) => writeFileSync(path, text),
    hosts: (host: string, text: string) => {
      mkdirSync(join(hosts, host), { recursive: true });
      writeFileSync(join(hosts, host, 'hosts.toml'), text);
    },
    forget: (host: string) => rmSync(join(hosts, host), { recursive: true }),
    pull: (reference: string) => service.pull({ reference }, operation('pull')),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a name without a host is pulled by alias and search, and found by the same name', async () => {
  await using at = await scene();
  const { host } = at.registry;
  await pushImage(at.registry.url, 'team/app', 'v1', small('aliased'));
  await pushImage(at.registry.url, 'tool', 'v1', small('searched'));
  at.conf(`unqualified-search-registries = ["127.0.0.1:1", "${host}"]
[aliases]
"app" = "${host}/team/app"
[[registry]]
location = "${host}"
insecure = true
`);
  const aliased = await at.pull('app:v1');
  assert.deepEqual(aliased.repoTags, [`${host}/team/app:v1`]);
  const searched = await at.pull('tool:v1');
  assert.deepEqual(searched.repoTags, [`${host}/tool:v1`]);
  assert.equal(at.service.status('app:v1')?.id, aliased.id);
  assert.equal(at.service.status('tool:v1')?.id, searched.id);
  assert.equal(at.service.status(aliased.id.slice(7, 19))?.id, aliased.id);
  assert.equal(at.service.status('app:v2'), undefined);
  await at.service.remove('tool:v1', operation('remove'));
  assert.equal(at.service.status(searched.id), undefined);
});

test('a change of a file counts at the next pull, and a broken one stops its own host alone', async () => {
  await using at = await scene();
  const { host, url } = at.registry;
  await pushImage(at.registry.url, 'proxy/library/app', 'v1', small('content'));
  at.hosts('reg.example', `server = "${url}/v2/proxy"\noverride_path = true\n`);
  await at.pull('reg.example/library/app:v1');
  at.hosts('reg.example', 'server = [\n');
  await fails(at.pull('reg.example/library/app:v1'), 'FailedPrecondition', 'reg.example/hosts.toml:');
  await at.pull(`${host}/proxy/library/app:v1`);
  at.conf('[[registry]]\nlocation = "a.example"\nblocked = true\n[[registry]]\nprefix = "b.example"\n');
  await at.pull(`${host}/proxy/library/app:v1`);
  await fails(at.pull('a.example/app'), 'PermissionDenied', 'registries.conf:1');
  await fails(at.pull('b.example/app'), 'FailedPrecondition', 'registries.conf:4');
  at.conf('[[registry]');
  await fails(at.pull(`${host}/proxy/library/app:v1`), 'FailedPrecondition', 'registries.conf:1');
  at.hosts('reg.example', `[host."${url}/v2/proxy"]\noverride_path = true\n`);
  await at.pull('reg.example/library/app:v1');
  at.forget('reg.example');
  at.conf(`[[registry]]\nprefix = "reg.example"\nlocation = "${host}/proxy"\ninsecure = true\n`);
  await at.pull('reg.example/library/app:v1');
});

test('explain names the endpoints, their sources and answers, and the fault of a file', async () => {
  await using at = await scene();
  const { host, url } = at.registry;
  at.conf(`[aliases]\n"app" = "reg.example/team/app"\n[[registry]]\nlocation = "reg.example"\n`);
  at.hosts(
    'reg.example',
    `server = "${url}"\n[host."http://127.0.0.1:1"]\ncapabilities = ["pull"]\n[host."http://127.0.0.1:1".header]\nx-key = "secret"\n`,
  );
  const explain = (reference: string, ping = false) =>
    at.service.explain({ reference, ping }, operation('explain'));
  const [image, ...others] = await explain('app:v1', true);
  assert.deepEqual(others, []);
  assert.ok(image);
  assert.ok(image.completedBy?.endsWith('registries.conf:2'), image.completedBy);
  assert.equal(image.reference, 'reg.example/team/app:v1');
  assert.match(image.unused.join(), /registries\.conf:3$/);
  const [mirror, server] = image.endpoints;
  assert.ok(mirror && server);
  assert.deepEqual(
    [mirror.url, mirror.resolves, mirror.headers, mirror.answer?.status],
    ['http://127.0.0.1:1/v2/team/app/manifests/v1?ns=reg.example', false, ['x-key'], undefined],
  );
  assert.match(mirror.answer?.error ?? '', /refused/i);
  assert.ok(mirror.source.endsWith('reg.example/hosts.toml:2'), mirror.source);
  assert.deepEqual(
    [server.url, server.answer?.status],
    [`${url}/v2/team/app/manifests/v1?ns=reg.example`, 200],
  );
  assert.ok(!JSON.stringify(image).includes('secret'));
  at.hosts('reg.example', 'server = 1');
  await fails(explain('app:v1'), 'FailedPrecondition', 'reg.example/hosts.toml:1');
  assert.equal((await explain(`${host}/x`))[0]?.endpoints[0]?.source, 'default');
});

test('explain names credentials, proxy, authorities and the realm of each endpoint, and no secret', async () => {
  await using at = await ground();
  await using front = await startFront(
    at.registry.url,
    answer(401, {
      'www-authenticate': 'Bearer realm="https://auth.example/token?account=hunter2",service="s"',
    }),
  );
  const authFile = join(at.directory, 'auth.json');
  const auth = Buffer.from('user:hunter2').toString('base64');
  writeFileSync(authFile, JSON.stringify({ auths: { 'reg.example': {}, 'reg.example/team': { auth } } }));
  const certificates = join(at.directory, 'certs.d');
  mkdirSync(join(certificates, 'reg.example'), { recursive: true });
  const { cert, certFile, keyFile } = makeAuthority(join(at.directory, 'tls'), 'corp');
  writeFileSync(join(certificates, 'reg.example/ca.crt'), cert);
  const client = join(certificates, 'reg.example/client');
  copyFileSync(certFile, `${client}.cert`);
  copyFileSync(keyFile, `${client}.key`);
  const table = { mirrors: [front.url], insecure: false, skipVerify: false, caFile: '' };
  await using opened = await startService(at.root, {
    registries: ownTable({ 'reg.example': table }, () => 'crisp.toml:7'),
    authFiles: [authFile],
    certificateDirectories: [certificates],
    proxy: proxyOptions(
      { http: '', https: '', noProxy: [] },
      { HTTPS_PROXY: 'http://user:hunter2@proxy.example:3128' },
    ),
  });
  const explain = (ping: boolean) =>
    opened.service.explain({ reference: 'reg.example/team/app:v1', ping }, operation('explain'));
  const [mirror, registry] = (await explain(false))[0]?.endpoints ?? [];
  assert.ok(mirror && registry);
  assert.deepEqual(
    [mirror.source, mirror.credentials, mirror.proxy, mirror.authorities],
    ['crisp.toml:7', undefined, undefined, undefined],
  );
  assert.equal(registry.scope, 'repository:team/app:pull');
  assert.equal(registry.credentials, `${authFile}, entry "reg.example/team"`);
  assert.equal(registry.proxy, 'proxy.example:3128 (HTTPS_PROXY)');
  assert.ok(registry.authorities?.includes(join(certificates, 'reg.example/ca.crt')), registry.authorities);
  assert.deepEqual(registry.clientCertificates, [`${client}.cert`]);
  const pinged = (await explain(true))[0]?.endpoints ?? [];
  assert.deepEqual(
    [pinged[0]?.answer?.status, pinged[0]?.answer?.login],
    [401, 'bearer https://auth.example/token'],
  );
  assert.match(pinged[1]?.answer?.error ?? '', /proxy proxy\.example:3128/);
  assert.doesNotMatch(JSON.stringify(pinged), /hunter2/);
  writeFileSync(join(certificates, 'reg.example/ca.crt'), 'none');
  const faulty = (await explain(false))[0]?.endpoints[1];
  assert.match(faulty?.authorities ?? '', /reg\.example\/ca\.crt/);
});
