import assert from 'node:assert/strict';
import test from 'node:test';
import type { Facts } from './cluster/facts.ts';
import { handlerFeature, nodeFeature, serverSince, since, unmet } from './needs.ts';
import { minorOf } from './versions.ts';

const facts = (server: string, kubelet: string, node: Partial<Facts['node']> = {}): Facts => ({
  server,
  node: {
    name: 'n',
    kubelet,
    runtime: 'crisp://0.1.0',
    kernel: '6.1',
    os: 'Debian',
    arch: 'amd64',
    addresses: [],
    handlers: [],
    features: [],
    ...node,
  },
  runtimeClasses: [],
  kubeletConfig: undefined,
});

test('the minor number of versions as distributions write them', () => {
  const versions = { 'v1.36.2': 36, '1.30+': 30, 'v1.33.1-eks-1de2ab1': 33, 'v1.34.0-alpha.1+abc': 34 };
  for (const [version, minor] of Object.entries(versions)) assert.equal(minorOf(version), minor, version);
  for (const version of [undefined, '', 'unknown', 'v2.0.0', 'v0.1', 'v1', '21.36.1'])
    assert.equal(minorOf(version), undefined, version);
});

test('a feature needs the version of both: the reason names the one that is older', () => {
  const resize = since(33, 'in-place resize');
  assert.equal(resize(facts('v1.33.0', 'v1.33.0')), undefined);
  assert.equal(
    resize(facts('v1.30.4', 'v1.30.4')),
    'the API server is v1.30.4: no in-place resize (since 1.33)',
  );
  assert.equal(
    resize(facts('v1.34.0', 'v1.32.1')),
    'the kubelet is v1.32.1: no in-place resize (since 1.33)',
  );
  assert.equal(serverSince(33, 'x')(facts('v1.34.0', 'v1.32.1')), undefined);
  assert.match(serverSince(33, 'x')(facts('v1.32.0', 'v1.36.0')) ?? '', /API server is v1\.32\.0/);
});

test('an unknown version is taken as new: the case tells', () => {
  assert.equal(since(33, 'x')(facts('devel', 'unknown')), undefined);
});

test('features of the default handler count, not those of others', () => {
  const need = handlerFeature('userNamespaces');
  const has = { name: '', features: ['userNamespaces'] };
  const other = { name: 'kata', features: ['userNamespaces'] };
  assert.equal(need(facts('v1.36.0', 'v1.36.0', { handlers: [other, has] })), undefined);
  assert.match(
    need(facts('v1.36.0', 'v1.36.0', { handlers: [other, { name: '', features: [] }] })) ?? '',
    /default handler has no userNamespaces/,
  );
  assert.match(need(facts('v1.29.0', 'v1.29.0')) ?? '', /does not report its runtime's handlers/);
});

test('features of the node', () => {
  const need = nodeFeature('supplementalGroupsPolicy');
  assert.equal(need(facts('v1.36.0', 'v1.36.0', { features: ['supplementalGroupsPolicy'] })), undefined);
  assert.match(need(facts('v1.36.0', 'v1.36.0')) ?? '', /does not report supplementalGroupsPolicy/);
});

test('the first need that is not met is the reason', () => {
  const needs = [since(20, 'a'), since(33, 'b'), since(34, 'c')];
  assert.match(unmet(needs, facts('v1.30.0', 'v1.30.0')) ?? '', /no b /);
  assert.equal(unmet(needs, facts('v1.34.0', 'v1.34.0')), undefined);
  assert.equal(unmet([], facts('v1.20.0', 'v1.20.0')), undefined);
});
