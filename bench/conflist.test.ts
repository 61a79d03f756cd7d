import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { assertNetworkInUse, assertSameNetwork, writeConflist } from './conflist.ts';

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
