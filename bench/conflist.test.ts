import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { assertCrioNetworkInUse, assertNetworkInUse, assertSameNetwork, writeConflist } from './conflist.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-conflist-'));
const [own, peer] = [join(directory, 'own'), join(directory, 'peer')];
const file = join(peer, '10-bench.conflist');
test.beforeEach(() => {
  writeConflist(own, 'crisp', '/a');
  writeConflist(peer, 'containerd', '/b');
});
test.after(() => rmSync(directory, { recursive: true }));

test('both sides have the same network except for names and addresses', () => {
  assert.doesNotThrow(() => assertSameNetwork([own, peer]));
});

test('a network that differs in an option is refused', () => {
  writeFileSync(file, readFileSync(file, 'utf8').replace('"ipMasq": true', '"ipMasq": false'));
  assert.throws(() => assertSameNetwork([own, peer]), /configurations differ/);
});

test('the network that the peer reports is compared with the file', () => {
  const info = (source: string) => ({
    cniconfig: JSON.stringify({ Networks: [{ Config: { Source: source } }] }),
  });
  const source = readFileSync(file, 'utf8');
  assert.doesNotThrow(() => assertNetworkInUse(peer, info(source)));
  assert.throws(() => assertNetworkInUse(peer, info(source.replace('portmap', 'firewall'))), /does not use/);
  assert.throws(() => assertNetworkInUse(peer, {}), /does not use/);
});

test('CRI-O has the same network, and uses the only list of its directory', () => {
  const crio = join(directory, 'crio');
  writeConflist(crio, 'crio', '/c');
  assert.doesNotThrow(() => assertSameNetwork([own, crio]));
  const configuration = (dir: string, name = 'bench', plugins = '/usr/lib/cni'): string =>
    `[crio]\n[crio.network]\ncni_default_network = "${name}"\nnetwork_dir = "${dir}"\nplugin_dirs = ["${plugins}"]\n`;
  assert.doesNotThrow(() => assertCrioNetworkInUse(crio, configuration(`${crio}/`)));
  const refused = (text: string) =>
    assert.throws(() => assertCrioNetworkInUse(crio, text), /CRI-O does not use the network/);
  refused(configuration('/etc/cni/net.d'));
  refused(configuration(crio, 'other'));
  refused(configuration(crio, 'bench', '/opt/cni/bin'));
  refused('');
  writeFileSync(join(crio, '00-first.conflist'), '{}');
  refused(configuration(crio));
});
