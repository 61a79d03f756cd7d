import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, fromJson, toBigInt, toJson } from './index.ts';

test('JSON and YAML are read, in camelCase and snake_case', () => {
  const config = fromJson('ContainerConfig', {
    metadata: { name: 'web', attempt: 1 },
    image: { image: 'busybox' },
    command: ['sh'],
    log_path: 'web/0.log',
    envs: [{ key: 'K', value: 'V' }],
    CDI_devices: [{ name: 'a/b=c' }],
    labels: JSON.parse('{"snake_case": "x", "__proto__": "y"}'),
    mounts: [
      {
        container_path: '/a',
        hostPath: '/b',
        propagation: 'PROPAGATION_BIDIRECTIONAL',
        uidMappings: [{ host_id: 5 }],
      },
    ],
    linux: {
      resources: { memory_limit_in_bytes: '9007199254740993', cpuQuota: -1 },
      security_context: { run_as_user: { value: 7 } },
    },
    windows: null,
    stop_signal: 23,
  });
  assert.equal(config.metadata?.attempt, 1);
  assert.equal(config.logPath, 'web/0.log');
  assert.equal(Buffer.from(config.envs[0]?.value ?? []).toString(), 'V');
  assert.equal(config.CDIDevices[0]?.name, 'a/b=c');
  assert.deepEqual(Object.entries(config.labels), [
    ['snake_case', 'x'],
    ['__proto__', 'y'],
  ]);
  assert.equal(config.mounts[0]?.propagation, cri.MountPropagation.PROPAGATION_BIDIRECTIONAL);
  assert.equal(config.mounts[0]?.uidMappings[0]?.hostId, 5);
  assert.equal(toBigInt(config.linux?.resources?.memoryLimitInBytes), 9007199254740993n);
  assert.equal(toBigInt(config.linux?.resources?.cpuQuota), -1n);
  assert.equal(toBigInt(config.linux?.securityContext?.runAsUser?.value), 7n);
  assert.equal(config.windows, null);
  assert.equal(config.stopSignal, cri.Signal.SIGNAL_SIGTERM);
});

test('names of signals before cri-api 0.37 are read as those of today', () => {
  const numberOf = (stop_signal: string) => fromJson('ContainerConfig', { stop_signal }).stopSignal;
  assert.deepEqual(['SIGTERM', 'SIGNAL_SIGTERM', 'RUNTIME_DEFAULT'].map(numberOf), [23, 23, 0]);
  for (const name of ['SIGNAL_SIGNAL_SIGTERM', 'TERM', 'constructor'])
    assert.throws(() => numberOf(name), /^CrispError: stop_signal must be one of SIGNAL_RUNTIME_DEFAULT/);
});

test('mistakes are refused with the path of the field', () => {
  const cases: [unknown, RegExp][] = [
    [{ metadta: {} }, /^metadta is not a field of PodSandboxConfig; known: metadata, hostname/],
    [{ metadata: { attempt: -1 } }, /^metadata\.attempt must be a whole number \(uint32\), not -1$/],
    [{ metadata: { attempt: 1.5 } }, /^metadata\.attempt must be a whole number/],
    [{ metadata: [] }, /^metadata must be an object \(PodSandboxMetadata\), not \[\]$/],
    [
      { port_mappings: [{}, { protocol: 'ICMP' }] },
      /^port_mappings\[1\]\.protocol must be one of TCP, UDP, SCTP, not "ICMP"$/,
    ],
    [{ port_mappings: [{ protocol: 'constructor' }] }, /must be one of TCP/],
    [{ port_mappings: {} }, /^port_mappings must be a list/],
    [{ labels: { a: 1 } }, /^labels\.a must be a string, not 1$/],
    [{ labels: 'a' }, /^labels must be an object/],
    [
      { linux: { security_context: { privileged: 'yes' } } },
      /^linux\.security_context\.privileged must be true or false/,
    ],
    [
      { linux: { resources: { cpu_period: '9223372036854775808' } } },
      /cpu_period must be a whole number \(int64\)/,
    ],
    [{ linux: { resources: { cpu_period: 2 ** 53 } } }, /cpu_period must be/],
    [{ toString: {} }, /^toString is not a field/],
    [null, /^the message must be an object/],
    [[], /^the message must be an object/],
  ];
  for (const [value, reason] of cases)
    assert.throws(() => fromJson('PodSandboxConfig', value), { message: reason }, String(reason));
});

test('JSON output has all fields in proto3 form', () => {
  const json = toJson(
    'Container',
    fromJson('Container', { id: 'x', state: 'CONTAINER_RUNNING', createdAt: '1700000000000000001' }),
  );
  assert.equal(json['createdAt'], '1700000000000000001');
  assert.equal(json['state'], 'CONTAINER_RUNNING');
  assert.equal(json['imageRef'], '');
  assert.equal(json['metadata'], null);
  assert.deepEqual(json['labels'], {});
});
