import assert from 'node:assert/strict';
import test from 'node:test';
import {
  firewallOf,
  forwardAddition,
  forwardAdditionWith,
  isFirewall,
  partition,
  sharedForwardChains,
  sharedForwardRules,
} from './forward-rules.ts';

const RULES = {
  network: 'x',
  id: 'a',
  family: 4,
  ips: ['10.1.0.2'],
  adminChain: 'CNI-ADMIN',
  bridge: undefined,
} as const;

test('the configuration, with the defaults of the plugin; what only that knows is left to it', () => {
  const plugin = { type: 'firewall' };
  assert.deepEqual(firewallOf(plugin), {
    prefersFirewalld: true,
    adminChain: 'CNI-ADMIN',
    sameBridge: false,
  });
  const all = {
    ...plugin,
    backend: 'iptables',
    iptablesAdminChainName: 'SITE-ADMIN',
    firewalldZone: 'public',
    ingressPolicy: 'same-bridge',
  };
  assert.equal(isFirewall(all), true);
  assert.deepEqual(firewallOf(all), {
    prefersFirewalld: false,
    adminChain: 'SITE-ADMIN',
    sameBridge: true,
  });
  assert.equal(isFirewall({ ...plugin, backend: '', ingressPolicy: '', iptablesAdminChainName: '' }), true);
  for (const keys of [
    { backend: 'firewalld' },
    { backend: 'nftables' },
    { ingressPolicy: 'isolated' },
    { iptablesAdminChainName: 'ACCEPT' },
    { iptablesAdminChainName: 'CNI-FORWARD' },
    { iptablesAdminChainName: 'a -j DROP' },
    { iptablesAdminChainName: 'a\nCOMMIT' },
    { iptablesAdminChainName: 'a23456789-123456789-123456789' },
    { capabilities: {} },
  ])
    assert.equal(isFirewall({ ...plugin, ...keys }), false, JSON.stringify(keys));
});

test('a rule that a listing has is not written again', () => {
  // As iptables -S prints them after the plugin 1.1.1.
  const there = '-A CNI-FORWARD -d 10.1.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT';
  const listing = `-N CNI-FORWARD\n${there}\n-A CNI-FORWARD -s 10.1.0.22/32 -j ACCEPT\n`;
  const { present, absent } = partition(RULES, listing);
  assert.deepEqual(present, [there.slice('-A '.length)]);
  assert.deepEqual(absent, ['CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT']);
  const text = forwardAddition(RULES, absent);
  assert.equal(text.match(/^-A /gm)?.length, 1);
  assert.doesNotMatch(text, /^:|^-[DFX]/m); // nothing of other pods is touched
  assert.deepEqual(
    partition({ family: 6, ips: ['fd00::2'] }, '').absent[1],
    'CNI-FORWARD -s fd00::2/128 -j ACCEPT',
  );
});

test('of the shared rules only those that are missing are made, and no chain is declared, which would empty it', () => {
  const rules = { ...RULES, bridge: 'cni0' };
  assert.deepEqual([sharedForwardChains(RULES).length, sharedForwardRules(RULES).length], [2, 2]);
  assert.deepEqual([sharedForwardChains(rules).length, sharedForwardRules(rules).length], [4, 7]);
  const missing = sharedForwardRules(rules).slice(3, 5);
  const comment = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)"';
  assert.equal(
    forwardAdditionWith([], missing),
    [
      '*filter',
      `-I CNI-ISOLATION-STAGE-1 1 -i cni0 ! -o cni0 ${comment} -j CNI-ISOLATION-STAGE-2`,
      `-A CNI-ISOLATION-STAGE-1 ${comment} -j RETURN`,
      'COMMIT',
      '',
    ].join('\n'),
  );
});
