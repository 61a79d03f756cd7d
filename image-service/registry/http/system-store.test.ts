import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { getCACertificates, rootCertificates } from 'node:tls';
import { hasCode } from '#core/errors.ts';
import { PemFiles } from './pem-files.ts';
import { systemStore } from './system-store.ts';

const root = mkdtempSync(join(tmpdir(), 'store-'));
after(() => rmSync(root, { recursive: true, force: true }));
const [one = '', two = '', three = ''] = rootCertificates;
const extra = getCACertificates('extra');
const write = (name: string, text: string): string => {
  const path = join(root, name);
  writeFileSync(path, text);
  return path;
};
const found = (env: Record<string, string>, places: { files: string[]; directories: string[] }) => {
  const store = systemStore(new PemFiles(), env, places);
  return { names: store.certificates().slice(0, -extra.length || undefined), source: store.source };
};

test('the first file that holds certificates, and every directory; the same certificate counts once', () => {
  const empty = write('empty', '# nothing\n');
  const bundle = write('bundle', `text\n${one}\n${two}\nmore text`);
  const later = write('later', three);
  const directory = join(root, 'certs');
  mkdirSync(directory);
  writeFileSync(join(directory, 'a.pem'), two.replaceAll('\n', '\r\n'));
  symlinkSync('a.pem', join(directory, 'hash.0'));
  symlinkSync(later, join(directory, 'c.pem'));
  symlinkSync('/nowhere/d', join(directory, 'd.pem'));
  const places = {
    files: [join(root, 'missing'), empty, bundle, later],
    directories: [join(root, 'none'), directory],
  };
  const { names, source } = found({}, places);
  assert.equal(names.length, 3);
  assert.deepEqual(new Set(names.map((pem) => pem.replace(/\s/g, ''))).size, 3);
  assert.equal(source, `${bundle}, ${directory}`);
  assert.deepEqual(found({ SSL_CERT_FILE: later, SSL_CERT_DIR: '/nowhere' }, places).names, [three]);
  assert.equal(found({ SSL_CERT_DIR: `/nowhere:${directory}` }, places).names.length, 3);
});

test("a system without certificates has Node's, but not where a variable leads to none", () => {
  const none = { files: ['/nowhere'], directories: ['/nowhere'] };
  assert.deepEqual(found({}, none).names, [...rootCertificates]);
  for (const env of [{ SSL_CERT_FILE: '/nowhere' }, { SSL_CERT_DIR: '/nowhere' }])
    assert.throws(
      () => found(env, none),
      (error) => hasCode(error, 'FailedPrecondition') && error.message.includes('/nowhere'),
    );
});

test('the hash changes with the certificates, and only with them', () => {
  const path = write('changing', one);
  const files = new PemFiles();
  const hash = () => systemStore(files, { SSL_CERT_FILE: path, SSL_CERT_DIR: '/nowhere' }).hash;
  const first = hash();
  assert.equal(hash(), first);
  writeFileSync(path, two);
  assert.notEqual(hash(), first);
  writeFileSync(path, one);
  assert.equal(hash(), first);
});

test('what is not a regular file is not waited for', { timeout: 60_000 }, () => {
  const directory = join(root, 'pipes');
  mkdirSync(directory);
  const fifo = join(directory, 'fifo');
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
  symlinkSync('/dev/zero', join(directory, 'zero.pem'));
  symlinkSync(fifo, join(directory, 'fifo.pem'));
  writeFileSync(join(directory, 'one.pem'), one);
  assert.deepEqual(
    found({ SSL_CERT_FILE: fifo, SSL_CERT_DIR: directory }, { files: [], directories: [] }).names,
    [one],
  );
  for (const path of [fifo, '/dev/zero', directory])
    assert.throws(
      () => new PemFiles().read(path, 'CA file'),
      new RegExp(`CA file ${path}: it is not a regular file`),
    );
});
