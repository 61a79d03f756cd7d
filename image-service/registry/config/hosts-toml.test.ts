import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { requestUrl } from '../endpoint-url.ts';
import { endpointsOfHosts, parseHostsToml } from './hosts-toml.ts';

const read = (text: string, registry = 'docker.io') =>
  endpointsOfHosts(parseHostsToml(text, '/etc/certs.d/x'), registry, 'library/busybox');
const urls = (text: string, registry?: string) =>
  read(text, registry).map((endpoint) => requestUrl(endpoint, 'manifests/1'));

test('hosts are asked in the order of the file, the registry itself last', () => {
  assert.deepEqual(urls('[host."https://b.example"]\n[host."a.example:5000/us"]\n'), [
    'https://b.example/v2/library/busybox/manifests/1?ns=docker.io',
    'https://a.example:5000/us/v2/library/busybox/manifests/1?ns=docker.io',
    'https://registry-1.docker.io/v2/library/busybox/manifests/1',
  ]);
  assert.deepEqual(urls('[host."http://m"]', 'localhost:5000'), [
    'http://m/v2/library/busybox/manifests/1?ns=localhost%3A5000',
    'http://localhost:5000/v2/library/busybox/manifests/1',
  ]);
});

test('a path ends with /v2 unless it is overridden', () => {
  assert.deepEqual(urls('server = "https://h.example/v2/proxy/"\noverride_path = true'), [
    'https://h.example/v2/proxy/library/busybox/manifests/1?ns=docker.io',
  ]);
  assert.deepEqual(urls('server = "https://h.example//a/../v2/"'), [
    'https://h.example/v2/library/busybox/manifests/1?ns=docker.io',
  ]);
  const [endpoint] = read('server = "https://h.example/v2/proxy"\noverride_path = true');
  assert.equal(endpoint?.repository, 'proxy/library/busybox');
  assert.equal(endpoint?.url, 'https://h.example/v2/proxy');
});

test('all fields are read, relative paths from the directory of the file', () => {
  const [mirror, server] = read(`
server = "https://r.example"
ca = ["a.pem", "/b.pem"]
client = "c.pem"
[host."https://m.example"]
  capabilities = ["pull"]
  ca = "d.pem"
  client = [["e.cert", "e.key"], ["f.pem", ""], "g.pem"]
  skip_verify = true
  dial_timeout = "1m1.5s"
  [host."https://m.example".header]
    X-One = "1"
    x-two = ["2", "3"]
`);
  assert.ok(mirror && server);
  assert.deepEqual([mirror.resolves, mirror.serves, mirror.dialTimeoutMs], [false, true, 61_500]);
  assert.deepEqual({ ...mirror.headers }, { 'x-one': '1', 'x-two': '2, 3' });
  const directory = '/etc/certs.d/x';
  assert.deepEqual(mirror.trust, {
    caFiles: [`${directory}/d.pem`],
    clientCertificates: [
      { certFile: `${directory}/e.cert`, keyFile: `${directory}/e.key` },
      { certFile: `${directory}/f.pem`, keyFile: `${directory}/f.pem` },
      { certFile: `${directory}/g.pem`, keyFile: `${directory}/g.pem` },
    ],
    skipVerify: true,
  });
  assert.deepEqual(server.trust.caFiles, [`${directory}/a.pem`, '/b.pem']);
  assert.deepEqual(
    [mirror.source, server.source],
    [`${directory}/hosts.toml:5`, `${directory}/hosts.toml:2`],
  );
});

test('headers of the connection are not for a configuration', () => {
  const [endpoint] = read(`
[header]
  Host = "other.example"
  Content-Length = "5"
  Transfer-Encoding = "chunked"
  Connection = "x"
  Expect = "100-continue"
  Authorization = "Bearer t"
`);
  assert.deepEqual({ ...endpoint?.headers }, { authorization: 'Bearer t' });
});

test('what is wrong is named with its line, and secrets are not shown', () => {
  for (const [text, ...parts] of [
    ['\n[host."https://a"]\ncapabilities = ["run"]', 'hosts.toml:3', 'run'],
    ['server = "ftp://a"', 'hosts.toml:1', 'not a', 'ftp'],
    ['server = "https://u:secret@a"', 'hosts.toml:1', 'credentials'],
    ['\nserver = 1', 'hosts.toml:2', 'server must be a string'],
    ['host = 1', 'hosts.toml:1', 'host must be a table'],
    ['host."https://a" = 1', 'hosts.toml:1'],
    ['ca = 1', 'hosts.toml:1', 'ca'],
    ['client = [["a"]]', 'hosts.toml:1', 'client'],
    ['skip_verify = "yes"', 'hosts.toml:1', 'skip_verify'],
    ['dial_timeout = "5"', 'hosts.toml:1', '"5"'],
    ['[header]\nauthorization = "a\\nsecret"', 'hosts.toml:2', 'authorization'],
    ['[header]\n"a b" = "secret"', 'hosts.toml:2'],
    ['a = \n', 'hosts.toml:1', 'not TOML'],
    ['a = 1\na = 2\n', 'hosts.toml:2', 'not TOML'],
  ] as const) {
    assert.throws(
      () => read(text),
      (error) => {
        assert.ok(hasCode(error, 'FailedPrecondition') && error instanceof Error, text);
        for (const part of parts) assert.ok(error.message.includes(part), `${text}: ${error.message}`);
        assert.ok(!error.message.includes('secret'), error.message);
        return true;
      },
    );
  }
});
