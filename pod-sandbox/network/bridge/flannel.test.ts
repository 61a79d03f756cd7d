import assert from 'node:assert/strict';
import test from 'node:test';
import type { PluginConfig } from '../cni/conflist.ts';
import { delegateOf, flannelOf, parseSubnet } from './flannel.ts';

const FILE = '/run/flannel/subnet.env';
const ENV = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;

test("the file of flannel's daemon", () => {
  assert.deepEqual(parseSubnet(FILE, ENV), {
    networks: ['10.244.0.0/16'],
    subnets: ['10.244.1.0/24'],
    mtu: 1450,
    ipMasq: true,
  });
  const dual = `${ENV}FLANNEL_IPV6_NETWORK=fd00:10::/48,fd00:10::/48\r\nFLANNEL_IPV6_SUBNET=fd00:10:0:1::1/64\n# more\n`;
  assert.deepEqual(parseSubnet(FILE, dual), {
    networks: ['10.244.0.0/16', 'fd00:10::/48'],
    subnets: ['10.244.1.0/24', 'fd00:10:0:1::/64'],
    mtu: 1450,
    ipMasq: true,
  });
});

test('a file that is not whole is refused with what is missing or wrong', () => {
  const refused = (text: string, message: string) =>
    assert.throws(() => parseSubnet(FILE, text), { name: 'CrispError', message });
  refused(
    '',
    `${FILE} is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ`,
  );
  refused(ENV.slice(0, -'FLANNEL_IPMASQ=true\n'.length), `${FILE} is missing FLANNEL_IPMASQ`);
  refused(ENV.replace('1450', 'x'), 'FLANNEL_MTU is "x", not a number');
  for (const cidr of ['10.244.1.1', '10.244.1.1/33', '10.244.1.1/x', 'x/8', '::1/8/8', ''])
    refused(
      ENV.replace('10.244.1.1/24', cidr),
      `FLANNEL_SUBNET: invalid CIDR address: ${JSON.stringify(cidr)}`,
    );
});

const subnet = parseSubnet(FILE, ENV);
const list = { name: 'cbr0', cniVersion: '0.3.1' } as const;

test('the delegate gets what flannel knows, unless the configuration says it', () => {
  assert.deepEqual(delegateOf({ type: 'flannel' }, list, subnet), {
    type: 'bridge',
    ipMasq: false,
    mtu: 1450,
    isGateway: true,
    ...list,
    ipam: {
      type: 'host-local',
      ranges: [[{ subnet: '10.244.1.0/24' }]],
      routes: [{ dst: '10.244.0.0/16' }],
    },
  });
  const delegate = { ipMasq: true, mtu: 1400, isGateway: false, hairpinMode: true };
  const ipam = { dataDir: '/x', routes: [{ dst: 'FD00:96::/112', gw: 'FD00::1' }], ranges: 'replaced' };
  assert.deepEqual(delegateOf({ type: 'flannel', delegate, ipam }, list, subnet), {
    type: 'bridge',
    ...delegate,
    ...list,
    ipam: {
      type: 'host-local',
      dataDir: '/x',
      ranges: [[{ subnet: '10.244.1.0/24' }]],
      routes: [{ dst: 'fd00:96::/112', gw: 'fd00::1' }, { dst: '10.244.0.0/16' }],
    },
  });
  assert.equal(
    delegateOf({ type: 'flannel', delegate: { type: 'macvlan' } }, list, subnet)['isGateway'],
    undefined,
  );
});

test('what crisp does not know of flannel is left to the plugin', () => {
  const known = (keys: object) => flannelOf({ plugins: [{ type: 'flannel', ...keys } as PluginConfig] });
  assert.ok(known({ subnetFile: '/x', dataDir: '/y', delegate: {}, ipam: {} }));
  for (const keys of [
    { capabilities: {} },
    { dataDir: 'relative' },
    { subnetFile: 7 },
    { delegate: null },
    { delegate: { name: 'x' } },
    { delegate: { ipam: {} } },
    { ipam: { routes: 7 } },
    { whatever: 1 },
  ])
    assert.equal(known(keys), undefined, JSON.stringify(keys));
});
