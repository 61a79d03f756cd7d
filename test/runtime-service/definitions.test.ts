/** What operators and vendors define in files, in real containers: CDI devices and OCI hooks. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { cri } from '#api/cri/v1/index.ts';
import {
  EXITED,
  endsClean,
  makeDirectory,
  processesWith,
  refused,
  TestNode,
  until,
} from '../harness/pods.ts';

const cdi = (directory: string) => join(directory, '../cdi');
const hooks = (directory: string) => join(directory, '../hooks.d');
const node = await TestNode.start('definitions', {
  prepare: (directory) => {
    for (const path of [cdi(directory), hooks(directory)]) mkdirSync(path);
  },
  configure: (directory) =>
    `[cdi]\ndirs = [${JSON.stringify(cdi(directory))}]\n[hooks]\ndirs = [${JSON.stringify(hooks(directory))}]\n[timeouts]\nruntime = "10s"`,
});
const pod = await node.runPod();
const inCdi = (name: string) => join(cdi(node.settings.directory), name);
const inHooks = (name: string) => join(hooks(node.settings.directory), name);
const empty = async () => assert.deepEqual((await node.client.ListContainers({})).containers, []);

const data = makeDirectory(node, 'vendor');
writeFileSync(join(data, 'library'), 'vendor library\n');
writeFileSync(
  inCdi('vendor.json'),
  JSON.stringify({
    cdiVersion: '0.6.0',
    kind: 'vendor.example/zero',
    containerEdits: {
      env: ['VENDOR=yes'],
      mounts: [{ hostPath: data, containerPath: '/opt/vendor', options: ['ro'] }],
    },
    devices: [
      {
        name: 'one',
        containerEdits: {
          deviceNodes: [{ path: '/dev/vendor-one', hostPath: '/dev/zero', permissions: 'rw' }],
        },
      },
      { name: 'two', containerEdits: { env: ['TWO=2'], additionalGids: [4321] } },
    ],
  }),
);

test('CDI devices by field and by annotation: nodes that can be read, variables, mounts, groups', async () => {
  const id = await node.run(pod, {
    CDIDevices: [{ name: 'vendor.example/zero=one' }],
    annotations: { 'cdi.k8s.io/plugin_7': 'vendor.example/zero=two' },
  });
  const script =
    'head -c 3 /dev/vendor-one | od -An -tx1; cat /opt/vendor/library; echo $VENDOR $TWO; id -G; touch /opt/vendor/x 2>&1';
  const { out, err } = await node.exec(id, ['sh', '-c', script]);
  assert.match(out, /^ 00 00 00\nvendor library\nyes 2\n0 4321\n.*Read-only file system/, err);
  assert.deepEqual((await node.status(id)).mounts, [], 'what the vendor adds is no mount of the client');
  await node.remove(id);
});

test("a vendor's network device is refused where the OCI runtime does not move it", async () => {
  const containerEdits = { netDevices: [{ hostInterfaceName: 'eth7', name: 'net1' }] };
  const spec = { cdiVersion: '1.1.0', kind: 'vendor.example/nic', devices: [{ name: 'a', containerEdits }] };
  writeFileSync(inCdi('nic.json'), JSON.stringify(spec));
  await refused(
    node.create(pod, { CDIDevices: [{ name: 'vendor.example/nic=a' }] }),
    'FailedPrecondition',
    /nic\.json: runtime handler \w+ \(.*\) does not apply netDevices/,
  );
  await empty();
  rmSync(inCdi('nic.json'));
});

test('CDI devices that are unknown, have invalid names, or have a wrong spec are refused and leave nothing', async () => {
  const create = (name: string) => node.create(pod, { CDIDevices: [{ name }] });
  await refused(create('vendor.example/zero=three'), 'NotFound', /vendor\.example\/zero=three/);
  await refused(create('/dev/zero'), 'InvalidArgument', /vendor\/class=name/);
  const lie = { path: '/dev/sda', hostPath: '/dev/null', type: 'c', major: 8, minor: 0 };
  const spec = { cdiVersion: '0.6.0', kind: 'liar.example/disk' };
  const devices = [{ name: 'd', containerEdits: { deviceNodes: [lie] } }];
  writeFileSync(inCdi('liar.json'), JSON.stringify({ ...spec, devices }));
  await refused(create('liar.example/disk=d'), 'FailedPrecondition', /liar\.json.*1:3, not 8:0/);
  writeFileSync(inCdi('liar.json'), '{');
  await refused(create('liar.example/disk=d'), 'FailedPrecondition', /liar\.json is neither/);
  const id = await node.create(pod, { CDIDevices: [{ name: 'vendor.example/zero=one' }] });
  await node.remove(id);
  rmSync(inCdi('liar.json'));
  await empty();
});

const hook = (name: string, script: string, more: object = {}) => {
  const program = join(node.directory, `${name}.sh`);
  writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const { stages = ['prestart'], when = { always: true }, timeout } = more as Record<string, unknown>;
  const given = {
    path: program,
    args: [name, 'argument'],
    env: ['HOOK=set'],
    ...(timeout ? { timeout } : {}),
  };
  writeFileSync(inHooks(`${name}.json`), JSON.stringify({ version: '1.0.0', hook: given, when, stages }));
};

test('hooks run at their stages for the containers that they are for', async () => {
  const output = join(node.directory, 'output');
  hook('record', `echo "$HOOK $1 $(cat | tr ',' '\\n' | grep -c '"id"')" >> ${output}`, {
    stages: ['createRuntime', 'poststop'],
    when: { annotations: { '^example/hook$': '^yes$' } },
  });
  const plain = await node.run(pod);
  assert.ok(!existsSync(output));
  const id = await node.run(pod, { annotations: { 'example/hook': 'yes' } });
  assert.equal(readFileSync(output, 'utf8'), 'set argument 1\n');
  await Promise.all([node.remove(id), node.remove(plain)]);
  // A removal is answered before all of it is undone.
  await until('poststop has run', () => readFileSync(output, 'utf8') === 'set argument 1\nset argument 1\n');
  rmSync(inHooks('record.json'));
});

test('a hook that fails or hangs is the error of the start, and leaves no trace', async () => {
  hook('fail', 'echo no such luck >&2; exit 3');
  const failing = await node.create(pod);
  await refused(node.client.StartContainer({ containerId: failing }), 'Internal', /hook/i);
  const { state, reason } = await node.status(failing);
  assert.deepEqual([state, reason], [EXITED, 'StartError']);
  rmSync(inHooks('fail.json'));
  hook('hang', `exec sleep 4711${process.pid}`, { timeout: 1 });
  const hanging = await node.create(pod);
  await refused(node.client.StartContainer({ containerId: hanging }), 'Internal');
  assert.equal((await node.status(hanging)).state, EXITED);
  assert.deepEqual(processesWith(`sleep 4711${process.pid}`), [], 'the hook itself is ended');
  rmSync(inHooks('hang.json'));
  await Promise.all([node.remove(failing), node.remove(hanging)]);
});

test('a hook file that cannot be used stops creation by its name', async () => {
  const put = (text: string) => writeFileSync(inHooks('bad.json'), text);
  for (const text of ['{', '{"version":"1.0.0","when":{"always":true},"stages":["precreate"]}']) {
    put(text);
    await refused(node.create(pod), 'FailedPrecondition', /bad\.json/);
  }
  put('{"version":"1.0.0","when":{"commands":["^never$"]},"stages":["precreate"]}');
  await node.remove(await node.create(pod));
  rmSync(inHooks('bad.json'));
  await empty();
});

test('an AppArmor profile that is not available is refused by its name, in both fields; the default needs none', async () => {
  const create = (security: cri.LinuxContainerSecurityContextInit) => node.create(pod, { security });
  const localhost = { profileType: 2, localhostRef: 'localhost/no-such-profile' };
  await refused(create({ apparmor: localhost }), 'FailedPrecondition', /no-such-profile/);
  await refused(
    create({ apparmorProfile: 'localhost/no-such-profile' }),
    'FailedPrecondition',
    /no-such-profile/,
  );
  const newer = { apparmor: { profileType: 1 }, apparmorProfile: 'localhost/no-such-profile' };
  for (const security of [newer, {}]) await node.remove(await create(security));
  await empty();
});

endsClean(node);
