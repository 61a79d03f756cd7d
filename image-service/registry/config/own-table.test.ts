import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { RegistryOptions } from '../../options.ts';
import { requestUrl } from '../endpoint-url.ts';
import { endpointsOfTable, ownTable } from './own-table.ts';

const entry = (options: Partial<RegistryOptions> = {}): RegistryOptions => ({
  mirrors: [],
  insecure: false,
  skipVerify: false,
  caFile: '',
  ...options,
});
const table = (given: Record<string, RegistryOptions>) =>
  ownTable(given, (key, option) => `crisp.toml:${Object.keys(given).indexOf(key) * 10 + (option ? 2 : 1)}`);
const asked = (given: Record<string, RegistryOptions>, host: string) =>
  endpointsOfTable(table(given), { host, path: 'library/busybox' })?.map((endpoint) =>
    requestUrl(endpoint, 'manifests/1').replace('/manifests/1', ''),
  );

test('mirrors come first, with a path as in a name or as in a URL', () => {
  const mirrors = [
    'm.example:5000',
    'harbor.example/proxy',
    'https://harbor.example/v2/proxy',
    'https://art.example/artifactory/api/docker/remote/v2/',
    'https://behind.example/registry',
  ];
  assert.deepEqual(asked({ 'docker.io': entry({ mirrors }) }, 'docker.io'), [
    'https://m.example:5000/v2/library/busybox?ns=docker.io',
    'https://harbor.example/v2/proxy/library/busybox?ns=docker.io',
    'https://harbor.example/v2/proxy/library/busybox?ns=docker.io',
    'https://art.example/artifactory/api/docker/remote/v2/library/busybox?ns=docker.io',
    'https://behind.example/registry/v2/library/busybox?ns=docker.io',
    'https://registry-1.docker.io/v2/library/busybox',
  ]);
});

test('keys are matched whatever their case, scheme and default port', () => {
  for (const [key, host, url] of [
    ['REG.Example', 'reg.example', 'https://reg.example/v2/library/busybox'],
    ['https://reg.example/', 'reg.example', 'https://reg.example/v2/library/busybox'],
    ['reg.example:443', 'reg.example', 'https://reg.example/v2/library/busybox'],
    ['reg.example', 'reg.example:443', 'https://reg.example/v2/library/busybox'],
    ['http://reg.example:80', 'reg.example', 'http://reg.example/v2/library/busybox'],
    ['index.docker.io', 'docker.io', 'https://registry-1.docker.io/v2/library/busybox'],
    ['registry-1.docker.io', 'docker.io', 'https://registry-1.docker.io/v2/library/busybox'],
    ['localhost', 'localhost', 'https://localhost/v2/library/busybox'],
    ['[::1]:5000', '[::1]:5000', 'https://[::1]:5000/v2/library/busybox'],
    ['*.example', 'a.b.example', 'https://a.b.example/v2/library/busybox'],
    ['*.example', 'a.example:5000', 'https://a.example:5000/v2/library/busybox'],
  ] as const) {
    assert.deepEqual(asked({ [key]: entry() }, host), [url], key);
  }
  assert.equal(asked({ '*.example': entry() }, 'example'), undefined);
  assert.equal(asked({ 'reg.example:5000': entry() }, 'reg.example'), undefined);
  const both = {
    '*.example': entry({ insecure: true }),
    '*.b.example': entry(),
    'c.b.example': entry({ insecure: true }),
  };
  assert.deepEqual(asked(both, 'a.b.example'), ['https://a.b.example/v2/library/busybox']);
  assert.deepEqual(asked(both, 'c.b.example'), ['http://c.b.example/v2/library/busybox']);
});

test('a mirror has the settings of its own entry', () => {
  const given = {
    'docker.io': entry({ mirrors: ['m.example:5000'], caFile: '/hub.pem' }),
    'M.example:5000': entry({ insecure: true, skipVerify: true }),
  };
  const [mirror, own] = endpointsOfTable(table(given), { host: 'docker.io', path: 'a/b' }) ?? [];
  assert.equal(mirror?.base, 'http://m.example:5000/v2');
  assert.deepEqual(mirror?.trust, { caFiles: [], clientCertificates: [], skipVerify: true });
  assert.deepEqual(own?.trust.caFiles, ['/hub.pem']);
  assert.deepEqual([mirror?.source, own?.source], ['crisp.toml:2', 'crisp.toml:1']);
});

test('keys and mirrors that match nothing are refused with their lines', () => {
  for (const [given, ...parts] of [
    [{ myregistry: entry() }, 'crisp.toml:1', '"myregistry"'],
    [{ 'harbor.example/proxy': entry() }, 'crisp.toml:1'],
    [{ '*': entry() }, 'crisp.toml:1'],
    [{ '': entry() }, 'crisp.toml:1'],
    [{ 'a.*.example': entry() }, 'crisp.toml:1'],
    [{ '*.example:5000': entry() }, 'crisp.toml:1'],
    [{ 'a.example:99999': entry() }, 'crisp.toml:1'],
    [{ 'ftp://a.example': entry() }, 'crisp.toml:1'],
    [{ 'user:secret@a.example': entry() }, 'crisp.toml:1', '"a.example"'],
    [{ 'https://user:secret@a.example': entry() }, 'crisp.toml:1', '"https://a.example"'],
    [{ 'docker.io': entry(), 'index.docker.io': entry() }, 'crisp.toml:11', 'docker.io', 'crisp.toml:1'],
    [{ 'a.example': entry({ mirrors: ['*.b'] }) }, 'crisp.toml:2', '*.b'],
    [{ 'a.example': entry({ mirrors: ['ftp://b'] }) }, 'crisp.toml:2'],
    [{ 'a.example': entry({ mirrors: ['b/Upper'] }) }, 'crisp.toml:2'],
    [{ 'a.example': entry({ mirrors: ['https://user:secret@b'] }) }, 'crisp.toml:2', 'credentials'],
    [{ 'a.example': entry({ mirrors: ['https://b?x=1'] }) }, 'crisp.toml:2', 'query'],
    [{ bad: entry(), 'a.example': entry({ mirrors: [''] }) }, 'crisp.toml:1', 'crisp.toml:12'],
  ] as const) {
    assert.throws(
      () => table(given as unknown as Record<string, RegistryOptions>),
      (error) => {
        assert.ok(hasCode(error, 'InvalidArgument') && error instanceof Error);
        for (const part of parts) assert.ok(error.message.includes(part), error.message);
        assert.ok(!error.message.includes('secret'), error.message);
        return true;
      },
      JSON.stringify(given),
    );
  }
});
