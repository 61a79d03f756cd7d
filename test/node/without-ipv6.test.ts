/** A node whose kernel was booted with ipv6.disable=1: pods of IPv4 run as ever, and a range of IPv6 is refused with the reason. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { obstacle } from './cache.ts';
import { stopwatch, until, VirtualNode } from './virtual-node.ts';

const why = process.env['CRISP_NODE_WITHOUT_IPV6']
  ? obstacle()
  : 'it needs a machine of its own: CRISP_NODE_WITHOUT_IPV6=1 boots it (five minutes)';
if (why) console.log(`# SKIPPED: ${why}`);

if (why) test('without IPv6', { skip: why });
else {
  const timer = stopwatch('without-ipv6');
  const node = await VirtualNode.withoutIpv6('without-ipv6');
  after(() => node[Symbol.asyncDispose]());
  await node.serving();

  test('a pod has an address, is reached, and goes; the check of the node finds nothing to say', async () => {
    assert.match(await node.sh('ls /proc/sys/net/ipv6 2>&1 || true'), /No such file/);
    await node.pull('busybox');
    const pod = await node.runPod();
    const { status } = await node.client.PodSandboxStatus({ podSandboxId: pod });
    assert.match(status?.network?.ip ?? '', /^10\.88\.0\.\d+$/);
    assert.deepEqual(status?.network?.additionalIps, []);
    const container = await node.run(pod);
    await node.exec(container, ['ping', '-c1', '-W30', '10.88.0.1']);
    assert.match(await node.exec(container, ['ip', '-4', 'addr', 'show', 'eth0']), /10\.88\.0\./);
    assert.doesNotMatch(await node.exec(container, ['ip', 'addr']), /inet6/);
    const checks = await node.lines('crisp check || true');
    const ofNetwork = checks.filter((line) => /^\S+ +(cni\S*|pod-\S+|iptables|loopback|ip-\S+) /.test(line));
    assert.ok(ofNetwork.some((line) => line.includes('ip-families')));
    assert.deepEqual(
      ofNetwork.filter((line) => !line.startsWith('ok ')),
      [],
    );
    await node.removePods();
    assert.deepEqual(await node.leftovers(), []);
    timer('a pod of IPv4');
  });

  test('a network with a range of IPv6: the pod fails with the reason, and nothing is left; with IPv4 alone it runs', async () => {
    const file = '/etc/cni/net.d/99-crisp-bridge.conflist';
    await node.sh(
      `cp ${file} /root/former && sed -i 's#\\[{ "subnet": "10.88.0.0/16" }\\]#&, [{ "subnet": "fd00:88::/64" }]#' ${file}`,
    );
    await node.sh(`grep -q fd00:88 ${file}`);
    let told = '';
    await until('the pod is refused', async () => {
      told = await node.runPod().then(
        () => '',
        (error: unknown) => String(error),
      );
      if (told === '') await node.removePods(); // the configuration is not read yet
      return told !== '';
    });
    assert.match(told, /crisp-bridge/);
    assert.match(told, /IPv6/);
    assert.deepEqual(await node.leftovers(), []);
    await node.sh(`cp /root/former ${file}`);
    await until('the network is as before', () =>
      node.runPod().then(
        () => true,
        () => false,
      ),
    );
    await node.removePods();
    assert.deepEqual(await node.leftovers(), []);
    timer('a network of both');
  });
}
