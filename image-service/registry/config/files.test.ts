/** Which files count, and that they are read anew when they have changed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parseReference } from '../../image/reference.ts';
import { HostDirectories } from './host-directory.ts';
import { RegistryConfig } from './registry-config.ts';

function scene(required = false) {
  const directory = mkdtempSync(join(tmpdir(), 'registry-files-'));
  const [first, second] = [join(directory, 'first'), join(directory, 'second')];
  const path = join(directory, 'registries.conf');
  const config = new RegistryConfig({
    registries: { 'own.example': [{ url: 'https://mirror.own', source: 'crisp.toml:1' }] },
    hostsDirectories: [first, second],
    registriesConf: { path, required, dropIns: `${path}.d` },
  });
  return {
    directory,
    write(name: string, text: string) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    },
    remove: (name: string) => rmSync(join(directory, name), { recursive: true }),
    async origins(reference: string): Promise<string> {
      const found = await config.endpoints(parseReference(reference));
      return found.map(({ origin }) => origin.replace('https://', '')).join(' ');
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
const location = (host: string, prefix = 'a.example') =>
  `[[registry]]\nprefix = "${prefix}"\nlocation = "${host}"\n`;

test('drop-ins are read by name, and a later file replaces the entry of a prefix', async () => {
  using at = scene();
  assert.equal(await at.origins('a.example/x'), 'a.example');
  at.write('registries.conf', location('one.example'));
  assert.equal(await at.origins('a.example/x'), 'one.example');
  at.write('registries.conf.d/20.conf', location('three.example'));
  at.write('registries.conf.d/10.conf', location('two.example') + location('other.example', 'b.example'));
  at.write('registries.conf.d/30.txt', location('four.example'));
  mkdirSync(join(at.directory, 'registries.conf.d/40.conf'));
  assert.equal(await at.origins('a.example/x'), 'three.example');
  assert.equal(await at.origins('b.example/x'), 'other.example');
  at.remove('registries.conf.d/20.conf');
  assert.equal(await at.origins('a.example/x'), 'two.example');
  at.write('registries.conf.d/10.conf', 'x');
  await assert.rejects(at.origins('c.example/x'), /registries\.conf\.d\/10\.conf:1: /);
  assert.equal(await at.origins('own.example/x'), 'mirror.own');
});

test('a file that the operator has named must exist', async () => {
  using at = scene(true);
  await assert.rejects(at.origins('a.example/x'), /registries\.conf: it does not exist/);
  assert.equal(await at.origins('own.example/x'), 'mirror.own');
});

test('a link to nothing is not taken for a missing file', async () => {
  using at = scene();
  for (const name of ['registries.conf', 'registries.conf.d/10.conf', 'first/a.example/hosts.toml']) {
    at.write(name, '');
    at.remove(name);
    symlinkSync('/nowhere', join(at.directory, name));
    await assert.rejects(at.origins('a.example/x'), /: it is a link to nothing/);
    assert.equal(await at.origins('own.example/x'), 'mirror.own');
    at.remove(name);
  }
});

test('the first directory of a host counts, by its names in order, then _default', async () => {
  using at = scene();
  at.write('second/a.example_5000_/hosts.toml', 'server = "https://s"');
  assert.equal(await at.origins('a.example:5000/x'), 's');
  at.write('first/_default/hosts.toml', 'server = "https://d"');
  assert.equal(await at.origins('a.example:5000/x'), 'd');
  at.write('first/a.example:5000/hosts.toml', 'server = "https://colon"');
  assert.equal(await at.origins('a.example:5000/x'), 'colon');
  at.write('first/a.example_5000_/hosts.toml', 'server = "https://underscore"');
  assert.equal(await at.origins('a.example:5000/x'), 'underscore');
  assert.equal(await at.origins('a.example/x'), 'd');
  assert.equal(await at.origins('own.example/x'), 'mirror.own');
});

test('a directory with certificates alone, or an empty file, leaves the endpoints to registries.conf', async () => {
  using at = scene();
  at.write('first/_default/hosts.toml', 'server = "https://d"');
  at.write('first/a.example/ca.crt', '');
  at.write('registries.conf', location('r.example'));
  assert.equal(await at.origins('a.example/x'), 'r.example');
  at.write('first/a.example/hosts.toml', '\n');
  assert.equal(await at.origins('a.example/x'), 'r.example');
  at.write('first/a.example/hosts.toml', '[host."https://h"]');
  assert.equal(await at.origins('a.example/x'), 'h a.example');
});

test('what is not a readable file of a sensible size is a fault of its host, and never waited for', async () => {
  using at = scene();
  mkdirSync(join(at.directory, 'first/fifo.example'), { recursive: true });
  spawnSync('mkfifo', [join(at.directory, 'first/fifo.example/hosts.toml')]);
  mkdirSync(join(at.directory, 'first/dir.example/hosts.toml'), { recursive: true });
  at.write('first/large.example/hosts.toml', '#'.repeat(2 << 20));
  for (const name of ['fifo', 'dir', 'large'])
    await assert.rejects(
      at.origins(`${name}.example/x`),
      new RegExp(`first/${name}\\.example/hosts\\.toml: it is`),
    );
  assert.equal(await at.origins('a.example/x'), 'a.example');
});

test('the own file of a token server or redirect target has its trust', () => {
  using at = scene();
  const trustOf = (host: string) => new HostDirectories([join(at.directory, 'first')]).trustOf(host);
  at.write('first/_default/hosts.toml', 'ca = "/d.pem"');
  assert.equal(trustOf('auth.example'), undefined);
  at.write('first/auth.example/hosts.toml', '[host."https://auth.example"]\nca = "/a.pem"\n');
  assert.deepEqual(trustOf('auth.example')?.caFiles, ['/a.pem']);
  at.write('first/auth.example_5000_/hosts.toml', 'ca = "b.pem"');
  assert.deepEqual(trustOf('auth.example:5000')?.caFiles, [
    join(at.directory, 'first/auth.example_5000_/b.pem'),
  ]);
  at.write('first/auth.example/hosts.toml', 'ca = 1');
  assert.throws(() => trustOf('auth.example'), /auth\.example\/hosts\.toml:1: /);
  mkdirSync(join(at.directory, 'first/loop.example'));
  symlinkSync('hosts.toml', join(at.directory, 'first/loop.example/hosts.toml'));
  mkdirSync(join(at.directory, 'first/fifo.example'));
  spawnSync('mkfifo', [join(at.directory, 'first/fifo.example/hosts.toml')]);
  at.write('first/large.example/hosts.toml', '#'.repeat(2 << 20));
  for (const name of ['loop', 'fifo', 'large']) {
    const wanted = new RegExp(`first/${name}\\.example/hosts\\.toml: it (is|cannot)`);
    assert.throws(
      () => trustOf(`${name}.example`),
      (error) => hasCode(error, 'FailedPrecondition') && wanted.test(error.message),
    );
  }
  for (const host of ['..', '../first/auth.example', 'none.example', ''])
    assert.equal(trustOf(host), undefined);
});
