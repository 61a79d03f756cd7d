/** Pulls through proxies: who is asked through which, logins, and what the errors name. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { type ImageServiceOptions, proxyOptions } from '#image-service/index.ts';
import { pushImage } from '../harness/images.ts';
import { type Front, type Rule, startFront } from './front.ts';
import { startProxy } from './proxy.ts';
import { startRegistry } from './registry.ts';
import { fails, image, isBlob } from './scene.ts';
import { operation, startService, testDirectory } from './service.ts';
import { startSocks } from './socks.ts';
import { type Authority, makeAuthority } from './tls.ts';

const none = { http: '', https: '', noProxy: [] };
/** An address that is not loopback, in the network namespace of the run. */
const OUTSIDE = '198.51.100.7';
execFileSync('ip', ['address', 'replace', `${OUTSIDE}/32`, 'dev', 'lo']);
const NAMES = ['registry.test', 'blobs.test', 'login.test'];

interface Scene extends AsyncDisposable {
  readonly directory: string;
  readonly authority: Authority;
  /** A registry with TLS, one without, and hosts for blobs and tokens with TLS. All hold `app:v1`. */
  readonly registry: Front;
  readonly plain: Front;
  readonly blobs: Front;
  /** Where each of the names is, for the proxy. */
  readonly hosts: Record<string, number>;
  /** Pulls `HOST/app:v1` with these variables. */
  pull(host: string, env: Record<string, string>, more?: Partial<ImageServiceOptions>): Promise<unknown>;
}

const portOf = ({ host }: Front): number => Number(host.split(':')[1]);

async function scene(rule?: Rule): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(testDirectory()).path;
  const { url } = stack.use(await startRegistry(join(directory, 'registry')));
  await pushImage(url, 'app', 'v1', image);
  const authority = makeAuthority(join(directory, 'tls'), 'corp');
  const { cert, key } = authority.issue('server', [...NAMES.map((name) => `DNS:${name}`), `IP:${OUTSIDE}`]);
  const registry = stack.use(await startFront(url, rule, OUTSIDE, { cert, key }));
  const blobs = stack.use(await startFront(url, undefined, OUTSIDE, { cert, key }));
  const plain = stack.use(await startFront(url, undefined, OUTSIDE));
  const owned = stack.move();
  const hosts = {
    'registry.test:443': portOf(registry),
    [registry.host]: portOf(registry),
    'blobs.test:443': portOf(blobs),
    'login.test:443': portOf(blobs),
    'registry.test:80': portOf(plain),
    [plain.host]: portOf(plain),
  };
  let count = 0;
  return {
    directory,
    authority,
    registry,
    plain,
    blobs,
    hosts,
    async pull(host, env, more = {}) {
      const entry = (name: string) => [{ url: `https://${name}`, caFile: authority.certFile }];
      const tables = [...NAMES, registry.host, blobs.host].map((name) => [name, entry(name)] as const);
      await using opened = await startService(join(directory, `images${count++}`), {
        registries: { ...Object.fromEntries(tables), 'plain.test': [{ url: `http://${host}` }] },
        attempts: 1,
        proxy: proxyOptions(none, env),
        ...more,
      });
      const reference = host === plain.host || host.endsWith(':80') ? 'plain.test' : host;
      return await opened.service.pull({ reference: `${reference}/app:v1` }, operation('pull'));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('https goes through CONNECT, in each form of the setting', async () => {
  await using at = await scene();
  await using proxy = await startProxy(OUTSIDE, at.hosts);
  for (const env of [
    { HTTPS_PROXY: `http://${proxy.host}` },
    { https_proxy: `http://${proxy.host}/` },
    { HTTPS_PROXY: proxy.host, HTTP_PROXY: 'http://127.0.0.1:1' },
  ]) {
    proxy.seen.length = 0;
    await at.pull('registry.test', env as unknown as Record<string, string>);
    assert.deepEqual(new Set(proxy.seen), new Set(['CONNECT registry.test:443']));
  }
  // Uncovered by HTTP_PROXY alone, as for Go's programs.
  proxy.seen.length = 0;
  await at.pull(at.registry.host, { HTTP_PROXY: `http://${proxy.host}` });
  assert.deepEqual(proxy.seen, []);
});

test('plain http goes in the absolute form', async () => {
  await using at = await scene();
  await using proxy = await startProxy(OUTSIDE, at.hosts, { login: 'user:p@ss' });
  await at.pull('registry.test:80', { HTTP_PROXY: `http://user:p%40ss@${proxy.host}` });
  assert.equal(proxy.seen[0], 'GET http://registry.test/v2/app/manifests/v1?ns=plain.test');
  assert.ok(proxy.seen.every((line) => line.startsWith('GET http://registry.test/v2/app/')));
  assert.ok(at.plain.seen.length > 0);
});

test('a proxy with a login: sent to it alone; without it, or wrong, the error names proxy and remedy', async () => {
  await using at = await scene();
  await using proxy = await startProxy(OUTSIDE, at.hosts, { login: 'user:hunter2' });
  await at.pull('registry.test', { HTTPS_PROXY: `http://user:hunter2@${proxy.host}` });
  assert.ok(at.registry.seen.every(({ authorization }) => authorization === undefined));
  for (const [host, login, word] of [
    ['registry.test', '', 'requires a login'],
    ['registry.test', 'user:hunter3@', 'refuses the user or the password'],
    ['registry.test:80', '', 'requires a login'],
  ] as const) {
    const address = `http://${login}${proxy.host}`;
    const pull = at.pull(host, { HTTPS_PROXY: address, HTTP_PROXY: address }, { attempts: 3 });
    const asked = proxy.seen.length;
    const error = await fails(pull, 'RegistryUnavailable', `proxy ${proxy.host}`, '407', 'registry.test');
    assert.match(error.hint, new RegExp(word));
    assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter/);
    assert.equal(proxy.seen.length, asked + 1, 'it was tried again');
  }
});

test('a proxy that offers no login by Basic is named with what it offers', async () => {
  await using at = await scene();
  await using proxy = await startProxy(OUTSIDE, at.hosts, { login: 'user:hunter2', scheme: 'NTLM' });
  for (const host of ['registry.test', 'registry.test:80']) {
    const address = `http://user:hunter3@${proxy.host}`;
    const pull = at.pull(host, { HTTPS_PROXY: address, HTTP_PROXY: address });
    const error = await fails(pull, 'RegistryUnavailable', `proxy ${proxy.host}`, '407');
    assert.match(error.hint, /offers only NTLM/);
  }
});

test('a proxy with TLS is verified by the trust of its own host', async () => {
  await using at = await scene();
  const other = makeAuthority(join(at.directory, 'tls'), 'other');
  const tls = other.issue('proxy', [`IP:${OUTSIDE}`]);
  await using proxy = await startProxy(OUTSIDE, at.hosts, { tls, login: 'u:p' });
  const env = { HTTPS_PROXY: `https://u:p@${proxy.host}`, HTTP_PROXY: `https://u:p@${proxy.host}` };
  const trusted = {
    'registry.test': [{ url: 'https://registry.test', caFile: at.authority.certFile }],
    'plain.test': [{ url: 'http://registry.test' }],
    [proxy.host]: [{ url: `https://${proxy.host}`, caFile: other.certFile }],
  };
  await at.pull('registry.test', env, { registries: trusted });
  await at.pull('registry.test:80', env, { registries: trusted });
  assert.ok(proxy.seen.includes('CONNECT registry.test:443'));
  assert.ok(proxy.seen.includes('GET http://registry.test/v2/app/manifests/v1?ns=plain.test'));
  await fails(
    at.pull('registry.test', env),
    'RegistryUnavailable',
    `proxy ${proxy.host}`,
    'unknown authority',
  );
});

test('NO_PROXY decides for registry, token server and target of a redirect by their own names', async () => {
  await using at = await scene();
  await using proxy = await startProxy(OUTSIDE, at.hosts);
  const HTTPS_PROXY = `http://${proxy.host}`;
  const asked = async (env: Record<string, string>, host = at.registry.host): Promise<string[]> => {
    proxy.seen.length = 0;
    await at.pull(host, { HTTPS_PROXY, ...env });
    return [...new Set(proxy.seen)];
  };
  assert.deepEqual(await asked({}), [`CONNECT ${at.registry.host}`]);
  for (const list of ['*', OUTSIDE, `a.test, ${OUTSIDE} `, '198.51.100.0/24', at.registry.host])
    assert.deepEqual(await asked({ NO_PROXY: list }), [], list);
  assert.deepEqual(await asked({ no_proxy: `${OUTSIDE}:5` }), [`CONNECT ${at.registry.host}`]);

  at.blobs.rule = (req, res) => {
    if (!req.url?.startsWith('/token')) return false;
    res.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"t"}');
    return true;
  };
  at.registry.rule = (req, res) => {
    if (req.headers.authorization !== 'Bearer t') {
      const realm = 'https://login.test/token';
      res.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
      return true;
    }
    if (!isBlob(req.url)) return false;
    res.writeHead(307, { location: `https://blobs.test${req.url}` }).end();
    return true;
  };
  assert.deepEqual(await asked({ NO_PROXY: OUTSIDE }), ['CONNECT login.test:443', 'CONNECT blobs.test:443']);
  const byName = await asked({ NO_PROXY: `.corp,${OUTSIDE}` }, 'registry.test');
  assert.deepEqual(byName, ['CONNECT registry.test:443', 'CONNECT login.test:443', 'CONNECT blobs.test:443']);
});

test('what the proxy refuses, and a proxy that is not there, are errors that name it', async () => {
  await using at = await scene();
  await using proxy = await startProxy(OUTSIDE, at.hosts);
  const HTTPS_PROXY = `http://u:hunter2@${proxy.host}`;
  for (const [status, hint, tries] of [
    [403, 'let the proxy permit CONNECT to registry.test:443', 1],
    [502, 'the proxy does not reach registry.test', 2],
    [503, 'the proxy does not reach registry.test', 2],
  ] as const) {
    proxy.refusal = status;
    proxy.seen.length = 0;
    const pull = at.pull('registry.test', { HTTPS_PROXY }, { attempts: 2 });
    const error = await fails(
      pull,
      'RegistryUnavailable',
      `proxy ${proxy.host}`,
      'HTTPS_PROXY',
      String(status),
    );
    assert.ok(error.hint.includes(hint), error.hint);
    assert.equal(proxy.seen.length, tries);
  }
  const plain = at.pull('registry.test:80', { HTTP_PROXY: `http://${proxy.host}` });
  await fails(plain, 'RegistryUnavailable', `through the proxy ${proxy.host}`, '503');
  for (const host of ['registry.test', 'registry.test:80']) {
    const gone = 'http://u:hunter2@198.51.100.7:1';
    const error = await fails(
      at.pull(host, { HTTPS_PROXY: gone, HTTP_PROXY: gone }),
      'RegistryUnavailable',
      'proxy 198.51.100.7:1',
      'ECONNREFUSED',
    );
    assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter/);
  }
  await fails(
    at.pull('registry.test', { HTTPS_PROXY: 'ftp://x:hunter2@y' }),
    'FailedPrecondition',
    'ftp',
    'HTTPS_PROXY',
  );
  await at.pull(at.plain.host, { HTTPS_PROXY: 'ftp://x:hunter2@y' });
});

test('what a proxy does to a request by plain http is reported as its own', async () => {
  await using at = await scene();
  for (const [reply, word] of [
    [(socket: Socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'), 'the response is not HTTP'],
    [(socket: Socket) => socket.destroy(), ''],
    [() => {}, 'no reply'],
  ] as const) {
    await using proxy = await listening((socket) => void socket.once('data', () => reply(socket)));
    const env = { HTTP_PROXY: `http://user:hunter2@${proxy.host}` };
    const error = await fails(
      at.pull('registry.test:80', env, { noByteMs: 300 }),
      'RegistryUnavailable',
      `proxy ${proxy.host} (of HTTP_PROXY)`,
      word,
    );
    assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter2/);
    assert.match(error.hint, /HTTP_PROXY/);
  }
});

/** A server that does with each connection what the test says. */
async function listening(
  act: (socket: Socket) => void,
): Promise<AsyncDisposable & { readonly host: string }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    act(socket);
  }).listen(0, OUTSIDE);
  await once(server, 'listening');
  return {
    host: `${OUTSIDE}:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

test('a SOCKS5 proxy, with and without a login', async () => {
  await using at = await scene();
  await using open = await startSocks(OUTSIDE, at.hosts);
  await at.pull('registry.test', { HTTPS_PROXY: `socks5://${open.host}` });
  await at.pull('registry.test:80', { HTTP_PROXY: `socks5h://${open.host}` });
  assert.deepEqual(new Set(open.seen), new Set(['registry.test:443', 'registry.test:80']));
  await using closed = await startSocks(OUTSIDE, at.hosts, 'user:hunter2');
  await at.pull('registry.test', { HTTPS_PROXY: `socks5://user:hunter2@${closed.host}` });
  const wrong = { HTTPS_PROXY: `socks5://user:hunter3@${closed.host}` };
  const error = await fails(at.pull('registry.test', wrong), 'RegistryUnavailable', `proxy ${closed.host}`);
  assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter/);
  const missing = at.pull('nowhere.test', { HTTPS_PROXY: `socks5://${open.host}` });
  await fails(missing, 'RegistryUnavailable', `proxy ${open.host}`, 'nowhere.test:443');
  await fails(
    at.pull('registry.test', { HTTPS_PROXY: 'socks5://198.51.100.7:1' }),
    'RegistryUnavailable',
    'proxy 198.51.100.7:1',
    'ECONNREFUSED',
  );
});
