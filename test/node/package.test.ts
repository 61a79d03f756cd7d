/** The .deb on a fresh node with systemd: installed, reloaded, upgraded and back while a pod runs on, activated by its socket, purged. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { obstacle } from './cache.ts';
import { NEWER } from './kit.ts';
import { READY, RUNNING, stopwatch, until, VirtualNode } from './virtual-node.ts';

/** Every file but those of the running system, of the tests, of dpkg, and crisp's configuration, which the tests write. */
const FILES =
  'find / -xdev \\( -path /root -o -path /etc/crisp -o -path /var/log -o -path /tmp -o -path /var/tmp -o -path /srv -o -path /var/lib/dpkg -o -path "/var/lib/systemd/deb-systemd-helper-*" \\) -prune -o -print | sort';
const COUNTING = 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.2; done';
const NETWORK = '/usr/share/crisp/examples/99-crisp-bridge.conflist';
const why = obstacle();
if (why) console.log(`# SKIPPED: no virtual machine here: ${why}`);

if (why) test('package', { skip: why });
else {
  const node = await VirtualNode.start('package');
  after(() => node[Symbol.asyncDispose]());
  const timer = stopwatch('package');
  const mainPid = () => node.sh('systemctl show -P MainPID crisp');
  const install = (version: string) => node.sh(`dpkg -i packages/crisp_${version}-1_amd64.deb 2>&1`);
  const version = await node.sh(`sed -n 's/.*"version": "\\(.*\\)".*/\\1/p' crisp/lib/package.json`);
  let container = '';
  let pid = 0;

  test('dpkg -i enables and starts the daemon; a network is there when the example is copied', async () => {
    await node.sh(`${FILES} >before`);
    const output = await install(version);
    const status = await node.sh('systemctl status --no-pager crisp');
    assert.match(status, /Active: active \(running\)/, output);
    assert.match(status, /\/lib\/systemd\/system\/crisp\.service; enabled/);
    assert.equal((await node.machine.run('systemctl is-enabled crisp.socket')).output.trim(), 'disabled');
    assert.equal(await node.sh('dpkg --verify crisp | grep -v "/share/\\(man\\|doc\\)/" || true'), '');
    await node.serving();
    assert.equal(await networkReady(node), false);
    await node.sh(`mkdir -p /etc/cni/net.d; cp ${NETWORK} /etc/cni/net.d/`);
    await until('NetworkReady', () => networkReady(node));
    timer('installed');
  });

  test('a pod; a reload is in effect when it returns', async () => {
    const image = await node.pull('busybox');
    container = await node.run(await node.runPod(), { image, command: ['sh', '-c', COUNTING] });
    pid = await node.pid(container);
    const file = '/etc/crisp/crisp.toml.d/70-reload.toml';
    const main = await mainPid();
    await node.sh(`printf '[log]\\nlevel = "debug"\\n' >${file}; systemctl reload crisp; rm ${file}`);
    assert.match(await node.log(), /configuration reloaded/);
    assert.equal(await mainPid(), main);
    timer('a pod, reloaded');
  });

  test('an upgrade and the way back restart the daemon alone', async () => {
    for (const wanted of [NEWER, version]) {
      const main = await mainPid();
      await install(wanted);
      await node.serving();
      assert.equal((await node.client.Version({})).runtimeVersion, wanted);
      assert.notEqual(await mainPid(), main);
      assert.deepEqual([await node.pid(container), (await node.status(container)).state], [pid, RUNNING]);
      assert.equal((await node.client.ListPodSandbox({})).items[0]?.state, READY);
      assert.equal((await node.lines('ls /usr/lib/crisp/running')).length, 2);
      assert.equal(await node.exec(container, ['echo', 'hello']), 'hello\n');
      timer(`${wanted} installed`);
    }
    const { logPath } = await node.status(container);
    const counted = (await node.lines(`cut -d' ' -f4 ${logPath}`)).map(Number);
    assert.deepEqual(
      counted,
      counted.map((_, n) => n + 1),
    );
  });

  test('with crisp.socket a call starts the daemon, and pods run on', async () => {
    await node.sh(
      'systemctl enable --quiet crisp.socket; systemctl stop crisp.service; systemctl start crisp.socket',
    );
    const check = await node.machine.run('crisp check --output json');
    assert.match(check.output, /\/run\/crisp\/crisp\.sock, where systemd listens: a call starts the daemon/);
    assert.equal((await node.machine.run('systemctl is-active crisp.service')).output.trim(), 'inactive');
    assert.match(await node.sh('crisp ctl version'), /crisp/);
    await node.serving();
    assert.equal(await node.pid(container), pid);
    const [before] = await node.lines('stat -c %i /run/crisp/crisp.sock');
    await node.sh('systemctl restart crisp.service & crisp ctl version; wait');
    assert.deepEqual(await node.lines('stat -c %i /run/crisp/crisp.sock'), [before]);
    timer('activated');
  });

  test('the removal is refused while there are pods; a purge leaves nothing', async () => {
    await node.serving();
    const main = await mainPid();
    const refusal = await node.machine.run('dpkg --purge crisp');
    assert.equal(refusal.code, 1, refusal.output);
    assert.match(refusal.output, /there are pods: stop the kubelet, then 'crisp ctl rmp -af'/);
    assert.match(await node.sh(`dpkg-query -W -f '\${Status}' crisp`), / ok installed$/);
    assert.equal(await mainPid(), main);
    await node.removePods();
    assert.deepEqual(await node.leftovers(), []);
    await node.sh('dpkg --purge crisp');
    assert.deepEqual(await node.lines(`${FILES} | diff before - || true`), []);
    assert.deepEqual(await node.leftovers(), []);
    assert.match((await node.machine.run('systemctl status crisp.service')).output, /could not be found/);
    assert.deepEqual(
      await node.lines('ls -d /etc/crisp /run/crisp /sys/class/net/crisp0 2>/dev/null || true'),
      [],
    );
    timer('purged');
  });
}

async function networkReady(node: VirtualNode): Promise<boolean> {
  const { status } = await node.client.Status({});
  return status?.conditions.find(({ type }) => type === 'NetworkReady')?.status ?? false;
}
