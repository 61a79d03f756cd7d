/**
 * Layers that are EROFS images where the kernel mounts none from files: through loop devices, as many as there are layers in use,
 * which outlive the daemon and are given back when their layers go. The disk has fs-verity.
 */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { obstacle } from './cache.ts';
import { DEEP, REGISTRY } from './kit.ts';
import { LAYERS, layerDevices, layerMounts, removeImages } from './layer-state.ts';
import { RUNNING, stopwatch, until, VirtualNode } from './virtual-node.ts';

/** More than fit into the options of one overlay by their paths: a page before Linux 6.7. */
const MANY = 200;
/** What modprobe(8) does instead of loading modules. */
const MODULES = '/etc/modprobe.d/node-test.conf';
const VERITY_FLAG = 0x100000;
const READ_FLAGS = `python3 -c 'import array, fcntl, sys
for path in sys.argv[1:]:
  flags = array.array("i", [0, 0])
  fcntl.ioctl(open(path), 0x80086601, flags)
  print(flags[0])'`;
const CHECK =
  'cd /deep; n=0; for file in *; do test "$(cat $file)" = $file && n=$((n+1)); done; echo $n $(cat /top)';
const WHOLE = `${DEEP - 1} ${DEEP - 1}\n`;
const why = obstacle();
if (why) console.log(`# SKIPPED: no virtual machine here: ${why}`);

if (why) test('layers', { skip: why });
else {
  const node = await VirtualNode.installed('layers');
  after(() => node[Symbol.asyncDispose]());
  // A number for those that there are at first, and no limit.
  await node.sh('systemctl stop crisp; modprobe -r loop; modprobe loop max_loop=1; systemctl start crisp');
  const timer = stopwatch('layers');
  const deep = { image: `${REGISTRY}/deep` };
  const check = (id: string) => node.exec(id, ['sh', '-c', CHECK], 300);
  const layers = async () => {
    const { info } = await node.client.Status({ verbose: true });
    return JSON.parse(info['layers'] ?? '{}');
  };
  let pod = '';
  let running = '';

  test('the probe at the start takes loop devices and leaves none', async () => {
    await node.serving();
    const { form, by, stored } = await layers();
    assert.deepEqual([form, by, stored], ['erofs', 'loop', { erofs: 0, directory: 0 }], await node.log());
    assert.deepEqual(
      await node.lines('grep -r . /sys/block/loop*/loop/backing_file 2>/dev/null || true'),
      [],
    );
    assert.deepEqual(
      await node.lines('ls -d /run/crisp/images/probe /var/lib/crisp/images/probe 2>/dev/null || true'),
      [],
    );
  });

  test(`${MANY} layers: a loop device each, one overlay of them, and all devices are given back`, async () => {
    const found = await node.sh(
      `unshare --mount crisp/lib/node sources/test/node/many-layers.ts ${MANY} /var/lib/many-layers`,
    );
    assert.deepEqual(JSON.parse(found), { shown: MANY, isVolatile: true, devices: MANY, left: 0 });
    await until('the devices are free', async () => {
      const busy = await node.lines('ls /sys/block/loop*/loop/backing_file 2>/dev/null || true');
      return busy.length === 0;
    });
    timer(`${MANY} layers`);
  });

  test(`${DEEP} layers in use: a loop device each, for all containers; their images are sealed`, async () => {
    await node.pull('deep', 40 * 60_000);
    timer(`${DEEP} layers pulled`);
    pod = await node.runPod();
    running = await node.run(pod, deep);
    timer('container started');
    assert.equal(await check(running), WHOLE);
    const devices = await layerDevices(node);
    assert.equal(devices.length, DEEP);
    assert.equal((await layerMounts(node)).length, DEEP);
    const second = await node.run(pod, deep);
    assert.equal(await check(second), WHOLE);
    assert.deepEqual(await layerDevices(node), devices, 'both containers have the same');
    const flags = await node.lines(`${READ_FLAGS} ${LAYERS}/*/layer.erofs`);
    assert.equal(flags.filter((line) => (Number(line) & VERITY_FLAG) !== 0).length, DEEP);
    const write = await node.machine.run(`for file in ${LAYERS}/*/layer.erofs; do echo x >>$file; done`);
    assert.equal(write.output.match(/Operation not permitted/g)?.length, DEEP, write.output);
    timer('checked');
  });

  test('a daemon that is killed, or starts anew, finds them and mounts none twice', async () => {
    const devices = await layerDevices(node);
    for (const how of ['kill -KILL $(systemctl show -P MainPID crisp)', 'systemctl restart crisp']) {
      const before = await node.sh('systemctl show -P MainPID crisp');
      await node.sh(how);
      await until('systemd has started it anew', async () => {
        const pid = await node.sh('systemctl show -P MainPID crisp');
        return pid !== '0' && pid !== before;
      });
      await node.serving();
      assert.equal((await node.status(running)).state, RUNNING);
      assert.equal(await check(running), WHOLE);
      const third = await node.run(pod, deep);
      assert.equal(await check(third), WHOLE);
      assert.deepEqual(await layerDevices(node), devices);
      assert.equal((await layerMounts(node)).length, DEEP);
    }
    timer('killed and restarted');
  });

  test('with the pod and the image go all mounts and loop devices', async () => {
    await node.removePods();
    await removeImages(node);
    assert.deepEqual(await node.leftovers(), []);
    timer('removed');
  });

  test('without the modules new layers are directories, with the reason, and what is there is pulled again', async () => {
    const id = await node.pull('busybox');
    await node.sh(`systemctl stop crisp; modprobe -r erofs loop
      printf 'install %s /bin/false\\n' erofs loop >${MODULES}; systemctl start crisp`);
    await node.serving();
    const { form, reason, stored } = await layers();
    assert.deepEqual([form, stored], ['directory', { erofs: 1, directory: 0 }]);
    assert.match(reason, /by file: .*ENODEV.*by loop: .*\/dev\/loop-control/);
    assert.deepEqual((await node.client.ListImages({})).images, []);
    const log = await node.sh('journalctl -b -u crisp -o cat --no-pager | tail -n 40');
    assert.match(log, /"form":"directory","reason":".*ENODEV.*"the form of new layers"/);
    assert.match(log, /"layers":1,.*"this node cannot mount layers that are EROFS images"/);
    assert.match(await node.sh('crisp ctl info'), /ENODEV/);
    assert.equal(await node.pull('busybox'), id);
    assert.deepEqual((await layers()).stored, { erofs: 0, directory: 1 });
    const container = await node.run(await node.runPod());
    assert.equal(await node.exec(container, ['echo', 'hello']), 'hello\n');
    await node.removePods();
    timer('in directories');
  });

  test('where images are demanded, the daemon says what the node lacks, and ends', async () => {
    await node.sh(`systemctl stop crisp; printf 'install loop /bin/false\\n' >${MODULES}
      printf '[image]\\nlayers = "erofs"\\n' >/etc/crisp/crisp.toml.d/60-layers.toml`);
    const { code, output } = await node.machine.run('timeout 300 crisp serve');
    assert.equal(code, 1, output);
    assert.match(
      output,
      /image\.layers = .*erofs.*, which this node cannot: by file: .*; by loop: .*loop-control/,
    );
    assert.match(output, /set image\.layers = .*auto.*, or load the kernel modules erofs and loop/);
    assert.deepEqual(await node.leftovers(), []);
    timer('refused');
  });
}
