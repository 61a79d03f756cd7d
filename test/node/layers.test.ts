/**
 * Layers that are EROFS images where the kernel mounts none from files: through loop devices, as many as there are layers in use,
 * which outlive the daemon and are given back when their layers go. The disk has fs-verity.
 */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { obstacle } from './cache.ts';
import { DEEP, REGISTRY } from './kit.ts';
import { RUNNING, stopwatch, until, VirtualNode } from './virtual-node.ts';

const LAYERS = '/var/lib/crisp/images/layers';
/** `device file`, for each loop device that shows a layer. */
const DEVICES = `for file in /sys/block/loop*/loop/backing_file; do
  if [ -e "$file" ]; then device=\${file#/sys/block/}; echo "/dev/\${device%%/*} $(cat "$file")"; fi
done | grep -F ${LAYERS} || true`;
const MOUNTS = `grep -F ' /run/crisp/images/layers/' /proc/self/mountinfo || true`;
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
  const timer = stopwatch('layers');
  const deep = { image: `${REGISTRY}/deep` };
  const check = (id: string) => node.exec(id, ['sh', '-c', CHECK], 300);
  let pod = '';
  let running = '';

  test('the probe at the start takes loop devices and leaves none', async () => {
    await node.serving();
    const { info } = await node.client.Status({ verbose: true });
    const { form, by, stored } = JSON.parse(info['layers'] ?? '{}');
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

  test(`${DEEP} layers in use: a loop device each, for all containers; their images are sealed`, async () => {
    await node.pull('deep');
    timer('pulled');
    pod = await node.runPod();
    running = await node.run(pod, deep);
    timer('container started');
    assert.equal(await check(running), WHOLE);
    const devices = await node.lines(DEVICES);
    assert.equal(devices.length, DEEP);
    assert.equal((await node.lines(MOUNTS)).length, DEEP);
    const second = await node.run(pod, deep);
    assert.equal(await check(second), WHOLE);
    assert.deepEqual(await node.lines(DEVICES), devices, 'both containers have the same');
    const flags = await node.lines(`${READ_FLAGS} ${LAYERS}/*/layer.erofs`);
    assert.equal(flags.filter((line) => (Number(line) & VERITY_FLAG) !== 0).length, DEEP);
    const write = await node.machine.run(`for file in ${LAYERS}/*/layer.erofs; do echo x >>$file; done`);
    assert.equal(write.output.match(/Operation not permitted/g)?.length, DEEP, write.output);
    timer('checked');
  });

  test('a daemon that is killed, or starts anew, finds them and mounts none twice', async () => {
    const devices = await node.lines(DEVICES);
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
      assert.deepEqual(await node.lines(DEVICES), devices);
      assert.equal((await node.lines(MOUNTS)).length, DEEP);
    }
    timer('killed and restarted');
  });
}
