import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { newSandboxId } from '#core/ids.ts';
import { parseQuantity } from '#core/quantity.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { bandwidthOf } from './cni/bandwidth.ts';
import { parseNetworkConfig } from './cni/conflist.ts';
import { pluginEnvironment, pluginInput } from './cni/plugin-input.ts';
import { parseResult, pluginMessage, podIps } from './cni/result.ts';
import { planAttachment } from './request.ts';

const conflist = (changes: object = {}) =>
  parseNetworkConfig(
    '/etc/cni/net.d/10-x.conflist',
    JSON.stringify({ cniVersion: '1.0.0', name: 'x', plugins: [{ type: 'bridge' }], ...changes }),
  );

const refuses = (act: () => unknown, ...words: string[]): void => {
  assert.throws(act, (error: unknown) => {
    assert.ok(error instanceof CrispError);
    assert.equal(error.code, 'NetworkFailed');
    for (const word of words) assert.ok(error.message.includes(word), `${error.message} lacks ${word}`);
    return true;
  });
};

test('a list, and a single plugin, are a network', () => {
  const list = conflist({
    plugins: [
      { type: 'bridge', bridge: 'b0' },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  });
  assert.deepEqual(
    list.plugins.map(({ type }) => type),
    ['bridge', 'portmap'],
  );
  const single = parseNetworkConfig('/x.conf', '{"cniVersion":"0.3.1","name":"x","type":"ptp"}');
  assert.deepEqual([single.plugins.length, single.plugins[0]?.type], [1, 'ptp']);
  assert.equal(conflist({ cniVersions: ['0.4.0', '1.1.0', '9.0.0'] }).cniVersion, '1.1.0');
});

test('a broken configuration is refused with its file and the field', () => {
  const file = '/etc/cni/net.d/10-x.conflist';
  for (const text of ['', '{', '[]', 'null']) refuses(() => parseNetworkConfig(file, text), file);
  refuses(() => conflist({ name: undefined }), file, 'name');
  refuses(() => conflist({ name: '../x' }), '../x');
  for (const cniVersion of ['2.0.0', '0.3', 1, null]) refuses(() => conflist({ cniVersion }), 'cniVersion');
  refuses(() => conflist({ cniVersion: undefined, cniVersions: ['9.0.0'] }), 'cniVersion');
  refuses(() => conflist({ plugins: [] }), 'no plugins');
  refuses(() => conflist({ plugins: [7] }), 'plugins[0]');
  for (const type of ['../../bin/sh', '/bin/sh', '..', '', 7])
    refuses(() => conflist({ plugins: [{ type }] }), 'plugins[0].type');
  refuses(() => conflist({ plugins: [{ type: 'a', capabilities: [] }] }), 'capabilities');
});

const RESULT = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'br0' }, { name: 'veth1' }, { name: 'eth0', sandbox: '/var/run/netns/x' }],
  ips: [
    { address: '10.1.0.1/24', interface: 0 },
    { address: '10.1.0.5/24', gateway: '10.1.0.1', interface: 2 },
    { address: 'fd00::5/64', interface: 2 },
    { address: '10.1.0.5/24', interface: 2 },
  ],
};

test("only the sandbox's addresses are the pod's, each once, the first one first", () => {
  assert.deepEqual(podIps(parseResult(JSON.stringify(RESULT), '1.0.0')), ['10.1.0.5', 'fd00::5']);
  assert.deepEqual(podIps(parseResult('{"ips":[{"address":"10.0.0.2/8"}]}', '0.4.0')), ['10.0.0.2']);
});

test('results are converted to the version of the list', () => {
  const old = parseResult(
    '{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.2/8"}],"dns":{}}',
    '1.0.0',
  );
  assert.deepEqual(old, { cniVersion: '1.0.0', interfaces: [], ips: [{ address: '10.0.0.2/8' }], dns: {} });
  assert.deepEqual(parseResult(JSON.stringify(RESULT), '0.3.1').ips?.[2], {
    version: '6',
    address: 'fd00::5/64',
    interface: 2,
  });
});

test('old files: no version, an empty one, 0.1.0 and 0.2.0 are taken', () => {
  const versions = [undefined, '', '0.1.0', '0.2.0'].map((cniVersion) => conflist({ cniVersion }).cniVersion);
  assert.deepEqual(versions, ['0.1.0', '0.1.0', '0.1.0', '0.2.0']);
});

test('a result in the form of 0.2.0 is accepted, and a plugin of that version gets it', () => {
  const text = JSON.stringify({
    ip4: { ip: '10.1.0.5/24', gateway: '10.1.0.1', routes: [{ dst: '0.0.0.0/0' }] },
    ip6: { ip: 'fd00::5/64' },
    dns: {},
  });
  const result = parseResult(text, '1.0.0');
  assert.deepEqual(result, {
    cniVersion: '1.0.0',
    interfaces: [],
    ips: [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }, { address: 'fd00::5/64' }],
    routes: [{ gw: '10.1.0.1', dst: '0.0.0.0/0' }],
    dns: {},
  });
  assert.deepEqual(podIps(result), ['10.1.0.5', 'fd00::5']);
  const old = planAttachment(conflist({ cniVersion: '0.2.0' }), {
    id: newSandboxId(),
    config: sampleConfig(),
    cgroup: '/x',
  });
  const { prevResult } = JSON.parse(pluginInput('ADD', { type: 'a' }, old, parseResult(text, '0.2.0')));
  assert.deepEqual(prevResult, {
    cniVersion: '0.2.0',
    ip4: { ip: '10.1.0.5/24', gateway: '10.1.0.1', routes: [{ gw: '10.1.0.1', dst: '0.0.0.0/0' }] },
    ip6: { ip: 'fd00::5/64' },
    dns: {},
  });
  assert.ok(!('prevResult' in JSON.parse(pluginInput('DEL', { type: 'a' }, old, result))));
  for (const ip4 of [7, {}, { ip: '10.0.0.1' }, { ip: '10.0.0.1/33' }, []])
    refuses(() => parseResult(JSON.stringify({ ip4 }), '1.0.0'));
});

test('invalid output of a plugin is refused', () => {
  for (const text of [
    '',
    'panic: x',
    '[]',
    '7',
    '{"ips":7}',
    '{"interfaces":[1]}',
    '{"cniVersion":"7.0.0"}',
  ]) {
    refuses(() => parseResult(text, '1.0.0'));
  }
  for (const address of [
    '10.0.0.1',
    '10.0.0.1/33',
    'a/8',
    '10.0.0.1/8/9',
    7,
    null,
    '::1/129',
    '10.0.0.1/-1',
  ]) {
    refuses(() => parseResult(JSON.stringify({ ips: [{ address }] }), '1.0.0'), 'address');
  }
  refuses(() => parseResult('{"ips":[{"address":"10.0.0.1/8","interface":3}]}', '1.0.0'), 'interface');
});

test("a failed plugin's own message is in the error, in one bounded line", () => {
  assert.equal(
    pluginMessage('{"code":11,"msg":"try later","details":"busy"}', ''),
    'try later; busy (code 11)',
  );
  assert.equal(pluginMessage('', 'line 1\nline\x1b[2J 2'), 'line 1 line [2J 2');
  assert.equal(pluginMessage('', ''), 'no message');
  assert.ok(pluginMessage('', 'x'.repeat(10_000)).length < 600);
});

test('quantities and bandwidths', () => {
  const cases: [string, number | undefined][] = [
    ['10M', 1e7],
    ['1k', 1000],
    ['1Ki', 1024],
    ['1.5G', 1.5e9],
    ['1e3', 1000],
    ['100m', 1],
    ['.5k', 500],
    ['', undefined],
    ['M', undefined],
    ['1KB', undefined],
    ['-1', undefined],
    ['1 M', undefined],
    ['__proto__', undefined],
  ];
  for (const [text, bits] of cases) assert.equal(parseQuantity(text), bits, text);
  assert.equal(bandwidthOf({}), undefined);
  assert.deepEqual(bandwidthOf({ 'kubernetes.io/egress-bandwidth': '1M' }), {
    egressRate: 1e6,
    egressBurst: 2 ** 31 - 1,
  });
});

test('a plugin gets its configuration, the result before it, and the capabilities that it declares', () => {
  const id = newSandboxId();
  const portMappings = [
    { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' },
    { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' },
    { protocol: 'udp', containerPort: 53, hostPort: 53, hostIp: '127.0.0.1' },
    { protocol: 'tcp', containerPort: 81, hostPort: 0, hostIp: '' },
  ] as const;
  const config = sampleConfig({
    portMappings,
    annotations: { 'kubernetes.io/ingress-bandwidth': '1M', __proto__: null } as never,
  });
  const attachment = planAttachment(conflist(), { id, config, cgroup: '/kubepods/pod1' });
  const plugin = {
    type: 'portmap',
    snat: true,
    capabilities: { portMappings: true, bandwidth: true, dns: false, toString: true },
  };
  const result = parseResult(JSON.stringify(RESULT), '1.0.0');
  const input = JSON.parse(pluginInput('ADD', plugin, attachment, result));
  assert.deepEqual(input.runtimeConfig, {
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
      { hostPort: 53, containerPort: 53, protocol: 'udp', hostIP: '127.0.0.1' },
    ],
    bandwidth: { ingressRate: 1e6, ingressBurst: 2 ** 31 - 1 },
  });
  assert.deepEqual([input.name, input.cniVersion, input.type, input.snat], ['x', '1.0.0', 'portmap', true]);
  assert.deepEqual(input.prevResult, JSON.parse(JSON.stringify(result)));
  const bare = JSON.parse(pluginInput('ADD', { type: 'bridge' }, attachment, undefined));
  assert.deepEqual(bare, { type: 'bridge', name: 'x', cniVersion: '1.0.0' });
});

test('prevResult is part of DEL from 0.4.0 on', () => {
  const { dns: _, ...config } = sampleConfig();
  const at = (cniVersion: string) =>
    planAttachment(conflist({ cniVersion }), {
      id: newSandboxId(),
      config: { ...config, dns: undefined },
      cgroup: '/x',
    });
  const result = parseResult(JSON.stringify(RESULT), '1.0.0');
  assert.ok(!('prevResult' in JSON.parse(pluginInput('DEL', { type: 'a' }, at('0.3.1'), result))));
  assert.ok('prevResult' in JSON.parse(pluginInput('ADD', { type: 'a' }, at('0.3.1'), result)));
  assert.ok('prevResult' in JSON.parse(pluginInput('DEL', { type: 'a' }, at('0.4.0'), result)));
});

test('the environment of a plugin', () => {
  const id = newSandboxId();
  const attachment = planAttachment(conflist(), { id, config: sampleConfig(), cgroup: '/x' });
  assert.deepEqual(pluginEnvironment('DEL', id, attachment, '', ['/a', '/b']), {
    CNI_COMMAND: 'DEL',
    CNI_CONTAINERID: id,
    CNI_NETNS: '',
    CNI_IFNAME: 'eth0',
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=${id};K8S_POD_UID=b3b1f0de`,
    CNI_PATH: '/a:/b',
  });
});
