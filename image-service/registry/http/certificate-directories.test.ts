import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { trustInDirectories } from './certificate-directories.ts';

const root = mkdtempSync(join(tmpdir(), 'certs-'));
after(() => rmSync(root, { recursive: true, force: true }));
const place = (host: string, ...names: string[]) => {
  mkdirSync(join(root, host), { recursive: true });
  for (const name of names) writeFileSync(join(root, host, name), '');
};
const authorities = (host: string) =>
  trustInDirectories([join(root, 'missing'), root], host).caFiles.map((path) => path.slice(root.length + 1));

test('directories are found by each name of their host, and by no other', () => {
  place('docker.io', 'a.crt', 'hosts.toml');
  place('registry.test', 'b.crt');
  place('registry.test:443', 'c.crt');
  place('registry.test:5000', 'd.crt');
  place('other.test_5000_', 'e.crt');
  place('[fd00::1]:5000', 'f.crt');
  for (const [host, ...expected] of [
    ['docker.io', 'docker.io/a.crt'],
    ['registry-1.docker.io', 'docker.io/a.crt'],
    ['registry.test', 'registry.test/b.crt', 'registry.test:443/c.crt'],
    ['registry.test:5000', 'registry.test:5000/d.crt'],
    ['other.test:5000', 'other.test_5000_/e.crt'],
    ['[fd00::1]:5000', '[fd00::1]:5000/f.crt'],
    ['sub.registry.test'],
    ['..'],
    ['../docker.io'],
    [''],
  ]) {
    assert.deepEqual(authorities(host ?? ''), expected, host);
  }
});

test('certificates and keys are pairs by their names', () => {
  place('pair.test', 'x.cert', 'x.key', 'y.y.cert', 'y.y.key', 'ca.crt', 'README');
  const { clientCertificates } = trustInDirectories([root], 'pair.test');
  assert.deepEqual(
    clientCertificates.map(({ certFile, keyFile }) =>
      [certFile, keyFile].map((path) => path.slice(root.length + 11)),
    ),
    [
      ['x.cert', 'x.key'],
      ['y.y.cert', 'y.y.key'],
    ],
  );
  place('half.test', 'client.key');
  assert.throws(
    () => trustInDirectories([root], 'half.test'),
    (error) => hasCode(error, 'FailedPrecondition') && error.message.includes('client.cert is missing'),
  );
});
