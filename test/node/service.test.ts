/** crisp as a service of systemd: installed, reloaded, stopped, killed, hung, upgraded and removed, while pods run on. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { obstacle } from './cache.ts';
import { REGISTRY } from './kit.ts';
import { READY, RUNNING, stopwatch, until, VirtualNode } from './virtual-node.ts';

/** Writes a number a line; exits with 7 when /end exists. */
const COUNTING = 'n=0; while [ ! -e /end ]; do n=$((n+1)); echo $n; sleep 0.2; done; exit 7';
/** Every file but those of the running system, of the tests, and crisp's configuration, which the tests write. */
const FILES =
  'find / -xdev \\( -path /root -o -path /etc/crisp -o -path /var/log -o -path /tmp -o -path /var/tmp -o -path /srv \\) -prune -o -print | sort';
const why = obstacle();
if (why) console.log(`# SKIPPED: no virtual machine here: ${why}`);

if (why) test('service', { skip: why });
else {
  const node = await VirtualNode.start('service');
  after(() => node[Symbol.asyncDispose]());
  const timer = stopwatch('service');
  const mainPid = () => node.sh('systemctl show -P MainPID crisp');

  test('the script installs; the unit is active when the daemon has notified READY', async () => {
    await node.sh(`${FILES} >before`);
    await node.sh('crisp/install');
    const status = await node.sh('systemctl status --no-pager crisp');
    assert.match(status, /Active: active \(running\)/);
    assert.match(status, /Status: "serving \/run\/crisp\/crisp\.sock"/);
    assert.match(status, /loaded \(\/etc\/systemd\/system\/crisp.service; enabled/);
    assert.match(await node.sh('crisp version'), /^crisp \d/);
    timer('installed');
  });

  test('a second installation changes nothing', async () => {
    const pid = await mainPid();
    assert.match(await node.sh('crisp/install'), /is installed and serves/);
    assert.equal(await mainPid(), pid);
    assert.equal((await node.lines('ls /usr/local/lib/crisp')).length, 2);
    timer('installed again');
  });

  test('the life of a pod', async () => {
    await node.serving();
    const image = await node.pull('busybox');
    const pod = await node.runPod();
    const id = await node.run(pod, { image, command: ['sh', '-c', 'echo hello; sleep 1000'] });
    assert.equal((await node.status(id)).state, RUNNING);
    assert.equal(await node.exec(id, ['hostname']), `${(await podStatus(node, pod)).metadata?.name}\n`);
    const { logPath } = await node.status(id);
    assert.match(await node.sh(`cat ${logPath}`), /^\S+ stdout F hello$/);
    const ip = (await podStatus(node, pod)).network?.ip ?? '';
    assert.match(ip, /^10\.88\./);
    await node.sh(`busybox ping -c 1 -W 20 ${ip}`);
    await node.client.StopContainer({ containerId: id });
    assert.equal((await node.status(id)).exitCode, 137);
    await node.client.RemoveContainer({ containerId: id });
    await node.removePods();
    assert.deepEqual(await node.leftovers(), []);
    timer('life of a pod');
  });

  test('what `kind load` calls on a node brings images to crisp', async () => {
    // An export needs the blobs of layers.
    await node.sh("printf '[image]\\nkeep_blobs = true\\n' >/etc/crisp/crisp.toml.d/60-blobs.toml");
    await node.sh('systemctl restart crisp');
    await node.serving();
    const id = await node.pull('busybox');
    await node.sh(`crisp image export ${REGISTRY}/busybox -o busybox.tar`);
    await node.sh('rm /etc/crisp/crisp.toml.d/60-blobs.toml; systemctl restart crisp');
    await node.serving();
    await node.client.RemoveImage({ image: { image: id } });
    assert.match(await node.sh('kind/containerd config dump'), /^snapshotter = "overlayfs"$/m);
    await node.sh(
      'kind/ctr --namespace=k8s.io images import --all-platforms --digests --snapshotter=overlayfs - <busybox.tar',
    );
    const { images } = await node.client.ListImages({});
    assert.deepEqual(
      images.map((image) => image.id),
      [id],
    );
    const names = await node.lines('kind/ctr -n k8s.io images ls -q');
    assert.equal(names[0], `${REGISTRY}/busybox:latest`);
    const other = await node.machine.run('kind/ctr --namespace=k8s.io containers ls');
    assert.equal(other.code, 1);
    assert.match(other.output, /'--namespace=k8s.io containers ls' is not supported/);
    timer('kind load');
  });

  test('pods run on while the daemon is stopped and started, and through SIGKILL', async () => {
    const pod = await node.runPod();
    const counting = await node.run(pod, { command: ['sh', '-c', COUNTING] });
    const ending = await node.run(pod, { command: ['sh', '-c', COUNTING] });
    const pid = await node.pid(counting);
    const started = (await node.status(counting)).startedAt;
    await node.sh(`systemctl stop crisp; test "$(systemctl is-active crisp || true)" = inactive`);
    await node.sh(
      `touch /proc/${await node.sh(`pgrep -f 'n=0; while' | grep -vx ${pid} | head -n 1`)}/root/end`,
    );
    await until(
      'the container has ended',
      async () => (await node.lines('ls /run/crisp/exits')).length === 1,
    );
    await node.sh(`kill -0 ${pid}; systemctl start crisp`);
    await node.serving();
    assert.equal((await node.exited(ending)).exitCode, 7);
    assert.equal(await node.pid(counting), pid);

    const main = await mainPid();
    await node.sh(`kill -KILL ${main}`);
    await until('systemd has started it anew', async () => !['0', main].includes(await mainPid()));
    await node.serving();
    assert.equal(await node.pid(counting), pid);
    const status = await node.status(counting);
    assert.deepEqual([status.state, String(status.startedAt)], [RUNNING, String(started)]);
    assert.equal((await podStatus(node, pod)).state, READY);
    assert.equal(await node.exec(counting, ['touch', '/end']), '');
    assert.equal((await node.exited(counting)).exitCode, 7);
    const counted = (await node.lines(`cut -d' ' -f4 ${status.logPath}`)).map(Number);
    assert.deepEqual(
      counted,
      counted.map((_, n) => n + 1),
    );
    timer('stopped, started, killed');
  });

  test('a reload is in effect when it returns; a wrong one fails with its line, and changes nothing', async () => {
    const pid = await mainPid();
    const file = '/etc/crisp/crisp.toml.d/70-reload.toml';
    const level = "crisp status -o json | grep -c 'loud' || true";
    const reloadWith = (text: string) =>
      node.machine.run(`printf '[log]\\nlevel = "${text}"\\n' >${file}; systemctl reload crisp`);
    const debug = await reloadWith('debug');
    assert.equal(debug.code, 0, debug.output);
    assert.match(await node.sh('crisp config'), /level = "debug"/);
    assert.match(await node.log(), /configuration reloaded/);
    const loud = await reloadWith('loud');
    assert.notEqual(loud.code, 0, loud.output);
    assert.match(await node.log(), new RegExp(`${file}:2: log.level must be one of`));
    assert.equal(await node.sh('systemctl is-active crisp'), 'active');
    assert.notEqual(await node.sh(level), '0');
    assert.equal((await node.machine.run(`rm ${file}; systemctl reload crisp`)).code, 0);
    assert.equal(await mainPid(), pid);
    assert.equal(await node.sh(level), '0');
    timer('reloaded');
  });

  test('a daemon that hangs is ended by the watchdog and started anew, and pods run on', async () => {
    const unit = '/run/systemd/system/crisp.service.d';
    await node.sh(`mkdir -p ${unit}; printf '[Service]\\nWatchdogSec=30s\\n' >${unit}/10-watchdog.conf
      systemctl daemon-reload; systemctl restart crisp`);
    await node.serving();
    const id = await node.run(await node.runPod());
    const pid = await node.pid(id);
    const main = await mainPid();
    await node.sh(`kill -STOP ${main}`);
    await until('systemd has started it anew', async () => !['0', main].includes(await mainPid()));
    await node.serving();
    assert.equal(await node.pid(id), pid);
    assert.equal((await node.status(id)).state, RUNNING);
    assert.match(await node.sh('journalctl -b -u crisp --no-pager'), /Watchdog timeout/);
    await node.sh(`rm -r ${unit}; systemctl daemon-reload; systemctl restart crisp`);
    await node.serving();
    timer('hung');
  });

  test('an upgrade keeps the pods; one that does not start is rolled back', async () => {
    const pod = (await node.client.ListPodSandbox({})).items[0]?.id ?? '';
    const id = await node.run(pod);
    const pid = await node.pid(id);
    await node.sh(
      `cp -al crisp newer; sed -i 's/"version": "[^"]*"/"version": "99.0.0"/' newer/lib/package.json; newer/install`,
    );
    await node.serving();
    assert.equal((await node.client.Version({})).runtimeVersion, '99.0.0');
    assert.equal(await node.pid(id), pid);
    await node.sh(
      `cp -al newer broken; sed -i 's/"99/"100/' broken/lib/package.json; rm broken/lib/js/main.js; echo 'throw 1' >broken/lib/js/main.js`,
    );
    const { code, output } = await node.machine.run('broken/install');
    assert.equal(code, 1, output);
    assert.match(output, /100\.0\.0-\d+ does not start; 99\.0\.0-\d+ is back in place/);
    await node.serving();
    assert.equal((await node.client.Version({})).runtimeVersion, '99.0.0');
    assert.equal((await node.status(id)).state, RUNNING);
    const kept = await node.lines('ls /usr/local/lib/crisp');
    assert.equal(kept.length, 2);
    assert.ok(kept[0]?.startsWith('99.0.0'));
    timer('upgraded');
  });

  test('the removal refuses while there are pods, and leaves nothing', async () => {
    const refusal = await node.machine.run('/usr/local/lib/crisp/current/install --remove --purge');
    assert.equal(refusal.code, 1, refusal.output);
    assert.match(refusal.output, /there are pods: stop the kubelet, then 'crisp ctl rmp -af'/);
    await node.removePods();
    await node.sh('/usr/local/lib/crisp/current/install --remove --purge');
    assert.deepEqual(await node.lines(`${FILES} | diff before - || true`), []);
    assert.deepEqual(await node.leftovers(), []);
    assert.match((await node.machine.run('systemctl status crisp')).output, /could not be found/);
    assert.deepEqual(
      await node.lines('ls -d /etc/crisp /run/crisp /sys/class/net/crisp0 2>/dev/null || true'),
      [],
    );
    await node.sh('crisp/install --remove --purge');
    timer('removed');
  });
}

async function podStatus(node: VirtualNode, podSandboxId: string) {
  const { status } = await node.client.PodSandboxStatus({ podSandboxId });
  assert.ok(status);
  return status;
}
