import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import type { DeviceFeatures } from '../oci-runtime/device-features.ts';
import type { OciSpec } from '../spec/oci.ts';
import { applyEdits } from './apply.ts';
import { CdiDevices, requestedDevices } from './devices.ts';
import { checkEdits } from './requirements.ts';
import { parseSpec } from './spec.ts';

const root = mkdtempSync(join(tmpdir(), 'crisp-cdi-'));
after(() => rmSync(root, { recursive: true }));
const [low, high] = [join(root, 'etc'), join(root, 'run')];
for (const directory of [low, high]) mkdirSync(directory);

const specOf = (changes: object = {}) => ({
  cdiVersion: '0.6.0',
  kind: 'vendor.com/net',
  devices: [{ name: 'dev0', containerEdits: { env: ['DEV=0'] } }],
  ...changes,
});
const refused = (code: ErrorCode, text: RegExp) => (error: unknown) => {
  assert.ok(hasCode(error, code), String(error));
  assert.match(error.message, text);
  assert.ok(error.hint.length > 0);
  return true;
};
const net = (hostInterfaceName: string, name = hostInterfaceName) => ({ hostInterfaceName, name });
const netDevices = (...devices: object[]) =>
  specOf({ cdiVersion: '1.1.0', containerEdits: { netDevices: devices } });
const intelRdt = (changes: object) => specOf({ cdiVersion: '1.1.0', containerEdits: { intelRdt: changes } });
const editsOf = (document: object, file = '/f') => ({
  ...parseSpec(file, JSON.stringify(document)).edits,
  file,
});
const emptySpec = (): OciSpec => ({
  ociVersion: '1.0.2',
  process: {
    terminal: false,
    user: { uid: 0, gid: 0 },
    args: ['x'],
    env: ['DEV=old', 'DEVICE=kept'],
    cwd: '/',
  },
  root: { path: '/r', readonly: false },
  mounts: [{ destination: '/a', type: 'bind', source: '/a' }],
  annotations: {},
  linux: { namespaces: [], cgroupsPath: '/x', resources: {} },
});

const wrong: Readonly<Record<string, readonly [changes: unknown, text: RegExp]>> = {
  'no object': [[], /is not an object/],
  'an unknown version': [specOf({ cdiVersion: '2.0.0' }), /cdiVersion is "2\.0\.0"/],
  'no kind': [specOf({ kind: undefined }), /kind is missing/],
  'a kind that is a path': [specOf({ kind: '../../etc/passwd' }), /kind is/],
  'no devices': [specOf({ devices: [] }), /devices is empty/],
  'a device twice': [specOf({ devices: [{ name: 'a' }, { name: 'a' }] }), /names a twice/],
  'a device that is no object': [specOf({ devices: ['a'] }), /devices\[0\] is not an object/],
  'an unknown field': [specOf({ containerEdits: { privileged: true } }), /privileged is unknown/],
  'a variable without a name': [specOf({ containerEdits: { env: ['=x'] } }), /env has "=x"/],
  'a relative device': [specOf({ containerEdits: { deviceNodes: [{ path: 'dev/x' }] } }), /path is "dev\/x"/],
  'a device path that climbs': [
    specOf({ containerEdits: { deviceNodes: [{ path: '/dev/../x' }] } }),
    /path is/,
  ],
  'permissions that are none': [
    specOf({ containerEdits: { deviceNodes: [{ path: '/dev/x', permissions: 'all' }] } }),
    /permissions is "all"/,
  ],
  'a number that is a text': [
    specOf({ containerEdits: { deviceNodes: [{ path: '/x', major: '1' }] } }),
    /major is "1"/,
  ],
  'a mount of nothing': [
    specOf({ containerEdits: { mounts: [{ containerPath: '/x' }] } }),
    /hostPath is missing/,
  ],
  'an unknown hook': [
    specOf({ containerEdits: { hooks: [{ hookName: 'now', path: '/x' }] } }),
    /hookName is now/,
  ],
  'group 0': [specOf({ containerEdits: { additionalGids: [0] } }), /additionalGids has 0/],
  'a network device of an early version': [
    specOf({ cdiVersion: '1.0.0', containerEdits: { netDevices: [net('eth1')] } }),
    /netDevices needs cdiVersion 1\.1\.0, not 1\.0\.0/,
  ],
  'a network device without a name': [netDevices({ hostInterfaceName: 'eth1' }), /name is missing/],
  'a network device that is a path': [netDevices(net('a/b')), /hostInterfaceName is "a\/b"/],
  'a network device of 16 characters': [netDevices(net('eth1', 'a'.repeat(16))), /name is "aaaa/],
  'two network devices of one name': [netDevices(net('eth1', 'x'), net('eth2', 'x')), /has name x twice/],
  'a network device twice': [netDevices(net('eth1', 'x'), net('eth1', 'y')), /hostInterfaceName eth1 twice/],
  'RDT of an early version': [
    specOf({ containerEdits: { intelRdt: {} } }),
    /intelRdt needs cdiVersion 0\.7\.0, not 0\.6\.0/,
  ],
  'RDT with a field of a later version': [
    specOf({ cdiVersion: '0.7.0', containerEdits: { intelRdt: { schemata: ['L3:0=f'] } } }),
    /schemata needs cdiVersion 1\.1\.0/,
  ],
  'a class that is a path': [intelRdt({ closID: '../x' }), /closID is "\.\.\/x"/],
  'an unknown field of RDT': [intelRdt({ enableCMT: true }), /enableCMT is unknown/],
};

test('specs that are wrong are refused with their file and the field', async (t) => {
  for (const [name, [document, text]] of Object.entries(wrong)) {
    await t.test(name, () => {
      assert.throws(
        () => parseSpec('/etc/cdi/x.json', JSON.stringify(document)),
        refused('FailedPrecondition', text),
      );
      assert.throws(() => parseSpec('/etc/cdi/x.json', JSON.stringify(document)), /\/etc\/cdi\/x\.json/);
    });
  }
  assert.throws(() => parseSpec('/x', '{"a": ['), refused('FailedPrecondition', /\/x is neither/));
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'.replaceAll(/./g, (c) => `${c}: &${c} [${`*${String.fromCharCode(c.charCodeAt(0) - 1)},`.repeat(9)}]\n`)}`;
  assert.throws(() => parseSpec('/x', bomb), refused('FailedPrecondition', /\/x/));
});

test('names come from the field and from annotations, each once', () => {
  const annotations = { 'cdi.k8s.io/plugin_1': 'a.b/c=1, a.b/c=2', other: 'a.b/c=3' };
  assert.deepEqual(requestedDevices(['a.b/c=2', 'a.b/c=0'], annotations), ['a.b/c=2', 'a.b/c=0', 'a.b/c=1']);
});

test('a later directory wins, two files of one are a conflict, changes are seen', async () => {
  const cdi = new CdiDevices([low, high, join(root, 'missing')]);
  const write = (path: string, changes: object = {}) => writeFileSync(path, JSON.stringify(specOf(changes)));
  const env = async () => (await cdi.edits(['vendor.com/net=dev0'])).flatMap((edits) => edits.env);
  await assert.rejects(env(), refused('NotFound', /no spec in .*has it/));
  write(join(low, 'one.json'));
  assert.deepEqual(await env(), ['DEV=0']);
  writeFileSync(
    join(high, 'two.yaml'),
    'cdiVersion: 0.5.0\nkind: vendor.com/net\ncontainerEdits: {env: [ALL=1]}\ndevices:\n- name: dev0\n  containerEdits: {env: ["DEV=high"]}\n- name: dev1\n  containerEdits: {}\n',
  );
  assert.deepEqual(await env(), ['ALL=1', 'DEV=high']);
  const both = await cdi.edits(['vendor.com/net=dev0', 'vendor.com/net=dev1']);
  assert.equal(both.filter((edits) => edits.env.includes('ALL=1')).length, 1);
  write(join(high, 'three.json'));
  await assert.rejects(env(), refused('FailedPrecondition', /claimed by .*three\.json and by .*two\.yaml/));
  writeFileSync(join(high, 'three.json'), 'broken {');
  assert.deepEqual(await env(), ['ALL=1', 'DEV=high']);
  await assert.rejects(
    cdi.edits(['vendor.com/net=dev9']),
    refused('FailedPrecondition', /dev9.*three\.json is not an object/),
  );
  chmodSync(join(high, 'two.yaml'), 0o666);
  await assert.rejects(
    cdi.edits(['vendor.com/net=dev1']),
    refused('FailedPrecondition', /users other than root/),
  );
  await assert.rejects(cdi.edits(['/dev/null']), refused('InvalidArgument', /not a qualified name/));
  rmSync(high, { recursive: true });
  assert.deepEqual(await env(), ['DEV=0']);
});

test('edits: variables replaced, devices with their rules, mounts, hooks with a limit, groups', async () => {
  const text = JSON.stringify(
    specOf({
      containerEdits: {
        env: ['DEV=new'],
        deviceNodes: [{ path: '/dev/zero-too', hostPath: '/dev/zero', permissions: 'r', uid: 7 }],
        mounts: [{ hostPath: '/b', containerPath: '/a', options: ['ro'] }],
        hooks: [{ hookName: 'createContainer', path: '/bin/true', args: ['true'] }],
        additionalGids: [44],
      },
    }),
  );
  const { edits } = parseSpec('/f', text);
  const spec = emptySpec();
  await applyEdits(spec, [{ ...edits, file: '/f' }]);
  assert.deepEqual(spec.process.env, ['DEVICE=kept', 'DEV=new']);
  const [device] = spec.linux.devices ?? [];
  assert.deepEqual(
    [device?.path, device?.type, device?.major, device?.minor, device?.uid],
    ['/dev/zero-too', 'c', 1, 5, 7],
  );
  assert.deepEqual(spec.linux.resources.devices, [
    { allow: true, type: 'c', major: 1, minor: 5, access: 'r' },
  ]);
  assert.deepEqual(spec.mounts, [
    { destination: '/a', type: 'bind', source: '/b', options: ['rbind', 'ro'] },
  ]);
  assert.deepEqual(spec.hooks, {
    createContainer: [{ timeout: 30, path: '/bin/true', args: ['true'], env: [] }],
  });
  assert.deepEqual(spec.process.user.additionalGids, [44]);
});

test('network devices by their name on the node; of RDT the last one counts', async () => {
  const spec = emptySpec();
  const rdt = { closID: '/', l3CacheSchema: 'L3:0=f', schemata: ['MB:0=70'], enableMonitoring: true };
  await applyEdits(spec, [
    editsOf(netDevices(net('eth1', 'x'), net('eth2'))),
    editsOf(intelRdt({ closID: 'gold', memBwSchema: 'MB:0=20' })),
    editsOf(netDevices(net('eth1', 'y'))),
    editsOf(intelRdt(rdt)),
  ]);
  assert.deepEqual(spec.linux.netDevices, { eth1: { name: 'y' }, eth2: { name: 'eth2' } });
  assert.deepEqual(spec.linux.intelRdt, rdt);
  await assert.rejects(
    applyEdits(emptySpec(), [
      editsOf(netDevices(net('eth1', 'x'))),
      editsOf(netDevices(net('eth2', 'x')), '/g'),
    ]),
    refused('FailedPrecondition', /\/g: network device eth2 has the name x .* as eth1 has/),
  );
});

test('what the OCI runtime or the pod would ignore is refused with the file', async () => {
  const check = (document: object, features: Partial<DeviceFeatures>, network: 'pod' | 'node' = 'pod') => {
    const all = { version: 'runc version 1.1.5', netDevices: true, intelRdt: 'all', ...features } as const;
    return checkEdits({ handler: 'runc', features: async () => all }, { network }, [editsOf(document)]);
  };
  const device = netDevices(net('eth1'));
  await check(device, { intelRdt: 'none' });
  await check(intelRdt({ closID: 'gold' }), { netDevices: false, intelRdt: 'classes' }, 'node');
  await check(specOf(), { netDevices: false, intelRdt: 'none' }, 'node');
  const wrong = (text: RegExp) => refused('FailedPrecondition', text);
  await assert.rejects(
    check(device, { netDevices: false }),
    wrong(/\/f: .*runc version 1\.1\.5.*netDevices/),
  );
  await assert.rejects(check(device, {}, 'node'), wrong(/\/f: .*network of the node/));
  await assert.rejects(check(intelRdt({}), { intelRdt: 'none' }), wrong(/does not apply intelRdt/));
  const monitored = intelRdt({ enableMonitoring: true });
  await assert.rejects(check(monitored, { intelRdt: 'classes' }), wrong(/enableMonitoring/));
});

test('a mount of a vendor hides nothing below it, and never the root', async () => {
  const edited = async (...mounts: object[]) => {
    const spec = emptySpec();
    spec.mounts = ['/etc/resolv.conf', '/usr/lib/vendor/mine'].map((destination) => ({ destination }));
    const { edits } = parseSpec('/f', JSON.stringify(specOf({ containerEdits: { mounts } })));
    await applyEdits(spec, [{ ...edits, file: '/f' }]);
    return spec.mounts.map(({ destination }) => destination);
  };
  const at = (containerPath: string) => ({ hostPath: '/b', containerPath });
  assert.deepEqual(await edited(at('/usr/lib/vendor'), at('/etc/')), [
    '/etc',
    '/etc/resolv.conf',
    '/usr/lib/vendor',
    '/usr/lib/vendor/mine',
  ]);
  assert.deepEqual(await edited(at('/usr/lib/vendor//mine')), ['/etc/resolv.conf', '/usr/lib/vendor/mine']);
  await assert.rejects(edited(at('/./')), refused('FailedPrecondition', /\/f: a mount at \//));
});

test('a spec that contradicts a device of the node is refused with its file', async () => {
  const lie = (node: object) =>
    applyEdits(emptySpec(), [
      {
        ...parseSpec('/f', JSON.stringify(specOf({ containerEdits: { deviceNodes: [node] } }))).edits,
        file: '/f',
      },
    ]);
  await assert.rejects(
    lie({ path: '/dev/no-such' }),
    refused('FailedPrecondition', /\/f: device \/dev\/no-such is not on/),
  );
  await assert.rejects(
    lie({ path: '/dev/null', type: 'b' }),
    refused('FailedPrecondition', /of type c, not b/),
  );
  await assert.rejects(
    lie({ path: '/dev/null', type: 'c', major: 8, minor: 0 }),
    refused('FailedPrecondition', /1:3, not 8:0/),
  );
  await assert.rejects(lie({ path: '/etc/passwd' }), refused('FailedPrecondition', /is not a device/));
});
