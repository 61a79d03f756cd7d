/** The settings of hosts.toml and registries.conf, as servers see them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { pushImage } from '../harness/images.ts';
import { type Front, startFront } from './front.ts';
import { type Ground, ground, small } from './ground.ts';
import { startRegistry } from './registry.ts';
import { answer, fails, isBlob } from './scene.ts';
import { operation, startService } from './service.ts';
import { makeAuthority } from './tls.ts';

const HOUR = 3_600_000;
let nodes = 0;

/** Pulls reg.example/app:v1 on a new node with this hosts.toml, or with this registries.conf. */
async function pull(at: Ground, toml: string, conf = '', more = {}): Promise<unknown> {
  const directory = join(at.directory, `node${nodes++}`);
  mkdirSync(join(directory, 'certs.d/reg.example'), { recursive: true });
  const path = join(directory, 'registries.conf');
  writeFileSync(path, conf);
  if (toml) writeFileSync(join(directory, 'certs.d/reg.example/hosts.toml'), toml);
  await using opened = await startService(join(directory, 'images'), {
    attempts: 1,
    hostsDirectories: [join(directory, 'certs.d')],
    registriesConf: { path, required: true, dropIns: '' },
    ...more,
  });
  return await opened.service.pull({ reference: 'reg.example/app:v1' }, operation('pull'));
}

test('ca, client and skip_verify', async () => {
  await using at = await ground();
  const authority = makeAuthority(join(at.directory, 'tls'), 'corp');
  const { certFile, keyFile } = authority.issue('server', ['IP:127.0.0.1']);
  const user = authority.issue('node', []);
  const directory = join(at.directory, 'strict');
  {
    await using open = await startRegistry(directory);
    await pushImage(open.url, 'app', 'v1', small('content'));
  }
  const tls = { certFile, keyFile, clientCaFile: authority.certFile };
  await using strict = await startRegistry(directory, { tls });
  const ca = `ca = "${authority.certFile}"\n`;
  const client = `client = [["${user.certFile}", "${user.keyFile}"]]\n`;
  const host = `[host."${strict.url}"]\n`;
  const own = 'server = "http://127.0.0.1:1"\n';
  await pull(at, own + host + ca + client);
  await pull(at, `server = "${strict.url}"\n${ca}${client}`);
  await pull(at, `${own}${host}skip_verify = true\n${client}`);
  await fails(pull(at, own + host + client), 'RegistryUnavailable', 'unknown authority', 'CN=corp');
  await fails(pull(at, own + host + ca), 'RegistryUnavailable', "client's certificate");
});

test('header is for its host: not for its token server, the targets of redirects and other hosts', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', small('content'));
  const seen: [string, IncomingHttpHeaders][] = [];
  const see = (name: string, { headers }: IncomingMessage) => void seen.push([name, headers]);
  await using store = await startFront(at.registry.url, (req) => see('store', req) ?? false);
  await using tokens = await startFront(at.registry.url, (req, res) => {
    see('tokens', req);
    return !!res.writeHead(200).end('{"token":"good"}');
  });
  await using other = await startFront(at.registry.url, (req, res) => {
    see('other', req);
    return !!res.writeHead(503).end();
  });
  await using mirror = await startFront(at.registry.url, (req, res) => {
    see('mirror', req);
    const challenge = { 'www-authenticate': `Bearer realm="${tokens.url}/token"` };
    if (req.headers.authorization !== 'Bearer good') res.writeHead(401, challenge).end();
    else if (isBlob(req.url)) res.writeHead(307, { location: `${store.url}${req.url}` }).end();
    else return false;
    return true;
  });
  await pull(
    at,
    `server = "${other.url}"\n[host."${other.url}/v2"]\n[host."${mirror.url}"]\n[host."${mirror.url}".header]\nx-key = "secret"\nx-many = ["a", "b"]\n`,
  );
  for (const name of ['mirror', 'other', 'store', 'tokens']) {
    const found = seen.filter(([server]) => server === name).map(([, headers]) => headers);
    assert.ok(found.length > 0, name);
    for (const headers of found)
      assert.deepEqual(
        [headers['x-key'], headers['x-many']],
        name === 'mirror' ? ['secret', 'a, b'] : [undefined, undefined],
        name,
      );
  }
});

test('capabilities: a host without resolve is asked for no tag, and before its registry for all else', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', small('content'));
  await using content = await startFront(at.registry.url);
  await using registry = await startFront(at.registry.url);
  const toml = `server = "${registry.url}"\n[host."${content.url}"]\ncapabilities = ["pull"]\n`;
  const urls = ({ seen }: Front) => seen.map(({ url }) => url.replace(/\?.*/, ''));
  await pull(at, toml);
  assert.deepEqual(urls(registry), ['/v2/app/manifests/v1']);
  assert.equal(urls(content).filter(isBlob).length, 2);
  assert.ok(!urls(content).includes('/v2/app/manifests/v1'));
  // One that has nothing is asked in vain for the first blobs alone.
  registry.seen.length = 0;
  content.rule = answer(404);
  await pull(at, toml);
  assert.equal(urls(registry).filter(isBlob).length, 2);
});

test('dial_timeout is the limit of its own host', async () => {
  await using at = await ground();
  const drop = (act: string) =>
    spawnSync('iptables', [act, ...'INPUT -i lo -p tcp --dport 19 -j DROP'.split(' ')]).status;
  assert.equal(drop('-A'), 0);
  try {
    // The limit of all others would not end the pull.
    const toml = 'server = "http://127.0.0.1:19"\ndial_timeout = "50ms"\n';
    const late = pull(at, toml, '', { connectMs: HOUR, noByteMs: HOUR });
    await fails(late, 'RegistryUnavailable', 'http://127.0.0.1:19');
  } finally {
    drop('-D');
  }
});

test('insecure of registries.conf: https without verification, then http', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', small('content'));
  const pair = makeAuthority(join(at.directory, 'tls'), 'nobody');
  await using secure = await startFront(at.registry.url, undefined, '127.0.0.1', pair);
  const conf = (host: string, insecure: boolean) =>
    `[[registry]]\nprefix = "reg.example"\nlocation = "${host}"\ninsecure = ${insecure}\n`;
  await pull(at, '', conf(secure.host, true));
  await pull(at, '', conf(at.registry.host, true));
  await fails(pull(at, '', conf(secure.host, false)), 'RegistryUnavailable', 'CN=nobody');
});
