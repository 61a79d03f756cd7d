/** Requests as they arrive: encoded and decoded, so that unset fields have their decoded values. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { signalNumber } from '#runtime-service/signals.ts';
import { containerConfig } from './container-config.ts';
import { MAX_LABELS } from './labels.ts';

const metadata = { name: 'web', attempt: 4294967295 };
const received = (config: cri.ContainerConfigInit) =>
  cri.ContainerConfig.decode(cri.ContainerConfig.encode(config).finish());
const of = (config: cri.ContainerConfigInit) => containerConfig(received({ metadata, ...config }));
const security = (securityContext: cri.LinuxContainerSecurityContextInit) =>
  of({ linux: { securityContext } }).security;
const refused = (act: () => unknown, text: RegExp) =>
  assert.throws(act, (error) => hasCode(error, 'InvalidArgument') && text.test(error.message));

test('labels and annotations together have a limit, in bytes', () => {
  const half = 'é'.repeat(MAX_LABELS / 4 - 1);
  const fit = { labels: { ab: half }, annotations: { cd: half } };
  assert.equal(of(fit).labels['ab'], half);
  refused(
    () => of({ ...fit, annotations: { cde: half } }),
    /labels and annotations have 8388609 bytes, more than 8388608/,
  );
});

test('a config needs metadata; without a linux block the defaults apply', () => {
  refused(() => containerConfig(null), /metadata is missing/);
  refused(() => containerConfig(received({})), /metadata is missing/);
  const bare = of({});
  assert.deepEqual(bare.metadata, metadata);
  assert.deepEqual([bare.image, bare.userSpecifiedImage, bare.stopSignal, bare.logPath], ['', '', '', '']);
  assert.deepEqual(
    [bare.security.pid, bare.security.seccomp, bare.security.runAsUser],
    ['pod', undefined, undefined],
  );
  assert.equal(bare.resources.memoryLimitBytes, 0n);
  const { image, userSpecifiedImage } = of({ image: { image: 'sha256:1', userSpecifiedImage: 'web:1' } });
  assert.deepEqual([image, userSpecifiedImage], ['sha256:1', 'web:1']);
});

test('CDI devices are passed on by name', () => {
  assert.deepEqual(of({ CDIDevices: [{ name: 'a.example/b=c' }] }).cdiDevices, ['a.example/b=c']);
});

test('values of variables are bytes; those that are not UTF-8 are replaced', () => {
  const envs = [
    { key: 'A', value: Buffer.from('ä=\n') },
    { key: 'BOM', value: Buffer.from('\ufeffx') },
    { key: 'E', value: Buffer.alloc(0) },
    { key: 'TOKEN', value: Buffer.from([0x61, 0xff, 0xc3, 0x62]) },
  ];
  assert.deepEqual(of({ envs }).envs, [
    { key: 'A', value: 'ä=\n' },
    { key: 'BOM', value: '\ufeffx' },
    { key: 'E', value: '' },
    { key: 'TOKEN', value: 'a\ufffd\ufffdb' },
  ]);
});

test('keys of Object.prototype in labels, annotations and unified are ordinary keys', () => {
  const hostile: Record<string, string> = Object.create(null);
  for (const key of ['__proto__', 'constructor', 'hasOwnProperty', '']) hostile[key] = `value of ${key}`;
  const config = of({ labels: hostile, annotations: hostile, linux: { resources: { unified: hostile } } });
  for (const map of [config.labels, config.annotations, config.resources.unified]) {
    assert.deepEqual(Object.entries(map).toSorted(), Object.entries(hostile).toSorted());
  }
});

test('every stop signal of the enum is one that Linux has', () => {
  const numbers = Object.values(cri.Signal).filter((value) => typeof value === 'number');
  assert.ok(numbers.length > 60);
  assert.equal(of({ stopSignal: 0 }).stopSignal, '');
  for (const value of numbers) {
    if (value === 0) continue;
    const name = of({ stopSignal: value }).stopSignal;
    const number = signalNumber(name);
    assert.ok(number >= 1 && number <= 64, name);
  }
  assert.equal(of({ stopSignal: cri.Signal.SIGNAL_SIGRTMINPLUS3 }).stopSignal, 'SIGRTMIN+3');
  assert.equal(of({ stopSignal: cri.Signal.SIGNAL_SIGRTMAXMINUS14 }).stopSignal, 'SIGRTMAX-14');
  for (const value of [-1, 999]) refused(() => of({ stopSignal: value }), /stop_signal/);
});

test('mounts keep all that the status must echo', () => {
  const mount = {
    containerPath: '/data',
    hostPath: '/srv',
    readonly: true,
    selinuxRelabel: true,
    propagation: cri.MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
    recursiveReadOnly: true,
    uidMappings: [{ hostId: 100000, containerId: 0, length: 65536 }],
    gidMappings: [],
  };
  assert.deepEqual(of({ mounts: [mount] }).mounts, [
    { ...mount, propagation: 'host-to-container', image: '', imageSubPath: '' },
  ]);
  // Absent where there are none: the hash of a request, by which a retry is known, is that of crisp before 1.37's field.
  const options = ['noexec', 'nosuid'];
  assert.deepEqual(of({ mounts: [{ ...mount, mountOptions: options }] }).mounts[0]?.options, options);
  const volume = of({ mounts: [{ containerPath: '/m', image: { image: 'models:1' }, imageSubPath: 'a' }] })
    .mounts[0];
  assert.deepEqual([volume?.image, volume?.imageSubPath, volume?.hostPath], ['models:1', 'a', '']);
  refused(() => of({ mounts: [{ propagation: 5 }] }), /mounts\.propagation: 5/);
});

test('user 0 and no user are distinct, and 64 bits are kept', () => {
  const bare = security({});
  assert.deepEqual([bare.runAsUser, bare.runAsGroup], [undefined, undefined]);
  const full = security({
    runAsUser: {},
    runAsGroup: { value: fromBigInt(-1n) },
    supplementalGroups: [fromBigInt(2n ** 40n)],
  });
  assert.deepEqual([full.runAsUser, full.runAsGroup, full.supplementalGroups], [0n, -1n, [2n ** 40n]]);
  const { resources } = of({
    linux: { resources: { memoryLimitInBytes: fromBigInt(2n ** 53n + 1n), cpuQuota: fromBigInt(-1n) } },
  });
  assert.deepEqual([resources.memoryLimitBytes, resources.cpuQuota], [2n ** 53n + 1n, -1n]);
});

test('seccomp: no message is unconfined, an empty one RuntimeDefault, the deprecated string is still read', () => {
  assert.equal(security({}).seccomp, undefined);
  assert.deepEqual(security({ seccomp: {} }).seccomp, { type: 'RuntimeDefault', localhostRef: '' });
  const local = { profileType: 2, localhostRef: '/var/lib/kubelet/seccomp/a.json' };
  assert.deepEqual(security({ seccomp: local }).seccomp, {
    type: 'Localhost',
    localhostRef: local.localhostRef,
  });
  const deprecated = (seccompProfilePath: string) => security({ seccompProfilePath }).seccomp;
  assert.deepEqual(deprecated('unconfined'), { type: 'Unconfined', localhostRef: '' });
  assert.deepEqual(deprecated('runtime/default'), { type: 'RuntimeDefault', localhostRef: '' });
  assert.deepEqual(deprecated('localhost//a.json'), { type: 'Localhost', localhostRef: '/a.json' });
  const both = security({ seccomp: { profileType: 1 }, seccompProfilePath: 'runtime/default' });
  assert.equal(both.seccomp?.type, 'Unconfined', 'the message takes precedence');
  refused(() => security({ seccomp: { profileType: 3 } }), /seccomp: 3/);
});

test('AppArmor names are read with and without their prefix', () => {
  const local = (localhostRef: string) =>
    security({ apparmor: { profileType: 2, localhostRef } }).apparmor?.localhostRef;
  assert.equal(local('localhost/k8s'), 'k8s');
  assert.equal(local('k8s'), 'k8s');
  assert.deepEqual(security({ apparmorProfile: 'localhost/k8s' }).apparmor, {
    type: 'Localhost',
    localhostRef: 'k8s',
  });
});

test('capabilities, pid mode and target', () => {
  const context = security({
    capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['ALL'] },
    namespaceOptions: { pid: cri.NamespaceMode.TARGET, targetId: 'abc' },
  });
  assert.deepEqual([context.addCapabilities, context.dropCapabilities], [['NET_ADMIN'], ['ALL']]);
  assert.deepEqual([context.pid, context.targetId], ['target', 'abc']);
  assert.equal(security({ namespaceOptions: {} }).pid, 'pod');
  refused(() => security({ namespaceOptions: { pid: 9 } }), /pid: 9/);
});
