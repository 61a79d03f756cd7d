/** Which certificates are trusted, and which crisp shows: the system's store, certs.d directories, the entry of each host. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerOptions } from 'node:https';
import { join } from 'node:path';
import test, { after, afterEach } from 'node:test';
import type { ImageServiceOptions } from '#image-service/index.ts';
import { pushImage } from '../harness/images.ts';
import { type Front, startFront } from './front.ts';
import { freePort, startRegistry } from './registry.ts';
import { fails, image, isBlob } from './scene.ts';
import { operation, startService, testDirectory } from './service.ts';
import { type Authority, makeAuthority } from './tls.ts';

const directory = testDirectory();
after(() => directory[Symbol.dispose]());
const registry = await startRegistry(join(directory.path, 'registry'));
after(() => registry[Symbol.asyncDispose]());
await pushImage(registry.url, 'app', 'v1', image);
const unset = () => {
  delete process.env['SSL_CERT_FILE'];
  delete process.env['SSL_CERT_DIR'];
};
unset();
afterEach(unset);

let count = 0;
const fresh = (name: string): string => join(directory.path, `${name}${count++}`);
const authority = (name: string): Authority => makeAuthority(fresh('tls'), name);
const serving = (signer: Authority, more: ServerOptions = {}) => {
  const { cert, key } = signer.issue('server', ['IP:127.0.0.1']);
  return startFront(registry.url, undefined, '127.0.0.1', { cert, key, ...more });
};
type Serving = Pick<Front, 'host' | 'url'>;

/** A service for hosts that are asked by https. */
async function service(hosts: readonly Serving[], options: Partial<ImageServiceOptions> = {}) {
  const registries = Object.fromEntries(hosts.map(({ host, url }) => [host, [{ url }]]));
  const opened = await startService(fresh('images'), { registries, attempts: 3, ...options });
  const pull = ({ host }: Serving) => opened.service.pull({ reference: `${host}/app:v1` }, operation('pull'));
  return { pull, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
}

test("an authority of the system's bundle, also one that is added while the daemon runs", async () => {
  const own = authority('own');
  await using server = await serving(own);
  await using opened = await service([server]);
  const bundle = fresh('bundle');
  copyFileSync('/etc/ssl/certs/ca-certificates.crt', bundle);
  execFileSync('mount', ['--bind', bundle, '/etc/ssl/certs/ca-certificates.crt']);
  try {
    const error = await fails(opened.pull(server), 'RegistryUnavailable', server.host, 'unknown authority');
    assert.match(error.hint, /update-ca-certificates.*\/etc\/ssl\/certs\/ca-certificates\.crt/);
    appendFileSync(bundle, own.cert);
    await opened.pull(server);
  } finally {
    execFileSync('umount', ['/etc/ssl/certs/ca-certificates.crt']);
  }
  await fails(opened.pull(server), 'RegistryUnavailable', 'unknown authority');
});

test('SSL_CERT_FILE and SSL_CERT_DIR replace those of the system, and are read at each pull', async () => {
  const [one, two] = [authority('one'), authority('two')];
  await using first = await serving(one);
  await using second = await serving(two);
  const file = fresh('file');
  const folder = fresh('folder');
  mkdirSync(folder);
  writeFileSync(file, one.cert);
  process.env['SSL_CERT_FILE'] = file;
  process.env['SSL_CERT_DIR'] = `/nowhere:${folder}`;
  await using opened = await service([first, second]);
  await opened.pull(first);
  await fails(opened.pull(second), 'RegistryUnavailable', second.host, 'unknown authority');
  writeFileSync(join(folder, 'two.pem'), two.cert);
  writeFileSync(join(folder, 'README'), 'not a certificate');
  await opened.pull(second);
  writeFileSync(file, two.cert);
  await fails(opened.pull(first), 'RegistryUnavailable', first.host, 'unknown authority');
  rmSync(file);
  rmSync(join(folder, 'two.pem'));
  await fails(opened.pull(first), 'FailedPrecondition', `SSL_CERT_FILE=${file}`, 'no readable certificate');
  const unverified = { [first.host]: [{ url: first.url, insecureSkipVerify: true }] };
  await using any = await service([], { registries: unverified });
  await any.pull(first);
});

test("the target of a redirect is trusted by its own entry, or by the system's authorities", async () => {
  const [ofRegistry, ofSystem, ofEntry] = [authority('registry'), authority('system'), authority('entry')];
  const bundle = fresh('bundle');
  writeFileSync(bundle, ofSystem.cert);
  process.env['SSL_CERT_FILE'] = bundle;
  process.env['SSL_CERT_DIR'] = '/nowhere';
  await using server = await serving(ofRegistry);
  for (const [signer, entry] of [
    [ofSystem, undefined],
    [ofEntry, ofEntry.certFile],
  ] as const) {
    await using target = await serving(signer);
    server.rule = (req, res) => {
      if (isBlob(req.url)) res.writeHead(307, { location: `${target.url}${req.url}` }).end();
      return isBlob(req.url);
    };
    const own = { [server.host]: [{ url: server.url, caFile: ofRegistry.certFile }] };
    const others = entry === undefined ? {} : { [target.host]: [{ url: target.url, caFile: entry }] };
    await using opened = await service([], { registries: { ...own, ...others } });
    await opened.pull(server);
    assert.ok(target.seen.length > 0);
    if (entry === undefined) continue;
    // The entry of the registry is not for the target.
    const both = { [server.host]: [{ url: server.url, caFile: ofRegistry.certFile }] };
    await using without = await service([], { registries: both });
    await fails(without.pull(server), 'RegistryUnavailable', `TLS with ${target.host}`, 'unknown authority');
  }
});

test('a token server is trusted by its own entry', async () => {
  const [ofRegistry, ofTokens] = [authority('registry'), authority('tokens')];
  await using server = await serving(ofRegistry);
  await using tokens = await serving(ofTokens);
  tokens.rule = (_req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"t"}');
    return true;
  };
  server.rule = (req, res) => {
    if (req.headers.authorization === 'Bearer t') return false;
    res.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.url}/token"` }).end();
    return true;
  };
  const own = { [server.host]: [{ url: server.url, caFile: ofRegistry.certFile }] };
  const others = { [tokens.host]: [{ url: tokens.url, caFile: ofTokens.certFile }] };
  await using opened = await service([], { registries: { ...own, ...others } });
  await opened.pull(server);
  await using without = await service([], { registries: own });
  await fails(without.pull(server), 'RegistryUnavailable', `TLS with ${tokens.host}`, 'unknown authority');
});

test('the authorities of a registry are those of the token server and the store that it names', async () => {
  const company = authority('company');
  await using server = await serving(company);
  await using tokens = await serving(company);
  await using store = await serving(company);
  tokens.rule = (_req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"t"}');
    return true;
  };
  server.rule = (req, res) => {
    if (req.headers.authorization !== 'Bearer t')
      res.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens.url}/token"` }).end();
    else if (isBlob(req.url)) res.writeHead(307, { location: `${store.url}${req.url}` }).end();
    else return false;
    return true;
  };
  const own = { [server.host]: [{ url: server.url, caFile: company.certFile }] };
  await using opened = await service([], { registries: own });
  await opened.pull(server);
  assert.ok(tokens.seen.length > 0 && store.seen.length > 0);
});

test('an authority that is not a root, in a ca_file', async () => {
  const root = authority('root');
  const below = root.issue('below', ['DNS:below.test'], 2, 'CA:TRUE');
  const { cert, key } = makeAuthority(fresh('tls'), 'below', below).issue('server', ['IP:127.0.0.1']);
  await using server = await startFront(registry.url, undefined, '127.0.0.1', { cert, key });
  const entry = (caFile: string) => ({ registries: { [server.host]: [{ url: server.url, caFile }] } });
  await using opened = await service([], entry(below.certFile));
  await opened.pull(server);
  await using other = await service([], entry(root.certFile)); // the server does not send its chain
  await fails(other.pull(server), 'RegistryUnavailable', 'unknown authority');
});

test('the directory of a host: its authorities and its client certificate, read at each pull', async () => {
  const [own, clients] = [authority('own'), authority('clients')];
  const tls = { ...own.issue('server', ['IP:127.0.0.1']), clientCaFile: clients.certFile };
  await using server = await startRegistry(fresh('registry'), { tls });
  const [podman, docker] = [fresh('podman'), fresh('docker')];
  await using opened = await service([server], { certificateDirectories: [podman, docker] });
  const place = join(docker, server.host);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'ca.crt'), own.cert);
  const error = await fails(opened.pull(server), 'RegistryUnavailable', server.host, "client's certificate");
  assert.match(error.hint, /client\.cert and client\.key/);
  const client = clients.issue('node', []);
  writeFileSync(join(place, 'client.cert'), client.cert);
  await fails(opened.pull(server), 'FailedPrecondition', place, 'client.key is missing');
  writeFileSync(join(place, 'client.key'), clients.key);
  await fails(opened.pull(server), 'FailedPrecondition', 'client.key is not its key');
  const encrypted = spawnSync('openssl', ['ec', '-aes256', '-passout', 'pass:x'], { input: client.key });
  writeFileSync(join(place, 'client.key'), encrypted.stdout);
  await fails(opened.pull(server), 'FailedPrecondition', 'client.key', 'passphrase');
  writeFileSync(join(place, 'client.key'), client.key);
  await fails(opened.pull(server), 'NotFound', server.host); // the registry is empty
  const other = authority('other').issue('node', []);
  writeFileSync(join(place, 'client.cert'), other.cert);
  writeFileSync(join(place, 'client.key'), other.key);
  await fails(opened.pull(server), 'RegistryUnavailable', server.host, "client's certificate");
});

test("a client's certificate is required by TLS 1.2, in the handshake", async () => {
  const own = authority('own');
  const { certFile, keyFile } = own.issue('server', ['IP:127.0.0.1']);
  const port = await freePort();
  const options = ['-tls1_2', '-Verify', '1', '-verify_return_error', '-accept', `127.0.0.1:${port}`];
  const files = ['-cert', certFile, '-key', keyFile, '-CAfile', own.certFile];
  const child = spawn('openssl', ['s_server', ...options, ...files], { stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    await once(child.stdout, 'data'); // it accepts
    const host = `127.0.0.1:${port}`;
    const server = { host, url: `https://${host}` };
    const registries = { [host]: [{ url: server.url, caFile: own.certFile }] };
    await using opened = await service([], { registries });
    await fails(opened.pull(server), 'RegistryUnavailable', `TLS with ${host}`, "client's certificate");
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

test('nginx that requires a certificate by a reply of 400', async () => {
  const own = authority('own');
  await using server = await serving(own);
  server.rule = (_req, res) => {
    const body = '<html><head><title>400 No required SSL certificate was sent</title></head></html>';
    res.writeHead(400, { 'content-type': 'text/html' }).end(body);
    return true;
  };
  const registries = { [server.host]: [{ url: server.url, caFile: own.certFile }] };
  await using opened = await service([], { registries });
  const error = await fails(
    opened.pull(server),
    'FailedPrecondition',
    '400',
    "client's certificate is required",
  );
  assert.match(error.hint, /client\.cert and client\.key/);
});

test('a file that cannot be used is an error of its own host, before any request', async () => {
  const own = authority('own');
  await using server = await serving(own);
  await using good = await serving(own);
  let connections = 0;
  server.server.on('connection', () => connections++);
  const [empty, der, broken] = [fresh('empty'), fresh('der'), fresh('broken')];
  writeFileSync(empty, '# no certificate\n');
  execFileSync('openssl', ['x509', '-in', own.certFile, '-outform', 'der', '-out', der]);
  writeFileSync(broken, own.cert.replace(/\n[A-Za-z0-9+/]{8}/, '\nAAAAAAAA'));
  for (const [caFile, why] of [
    [empty, 'holds no certificate'],
    [der, 'holds no certificate'],
    [broken, 'malformed'],
    [fresh('missing'), 'ENOENT'],
    [directory.path, 'not a regular file'],
  ] as const) {
    const registries = {
      [server.host]: [{ url: server.url, caFile }],
      [good.host]: [{ url: good.url, caFile: own.certFile }],
    };
    await using opened = await service([], { registries });
    await fails(opened.pull(server), 'FailedPrecondition', caFile, why);
    await opened.pull(good);
  }
  assert.equal(connections, 0);
});
