/**
 * A node with SELinux: Debian's policy, with the types of containers that it lacks (guest/selinux.cil). What containers are
 * denied is the kernel's doing; all else on the node is permissive.
 */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import type { cri } from '#api/cri/v1/index.ts';
import { obstacle } from './cache.ts';
import { type ContainerChanges, RUNNING, stopwatch, VirtualNode } from './virtual-node.ts';

const why = process.env['CRISP_NODE_SELINUX']
  ? obstacle()
  : 'the machine of the other tests has no SELinux policy: CRISP_NODE_SELINUX=1 makes and boots one that has (five minutes)';
if (why) console.log(`# SKIPPED: ${why}`);

if (why) test('selinux', { skip: why });
else {
  const timer = stopwatch('selinux');
  const node = await VirtualNode.labelled('selinux');
  after(() => node[Symbol.asyncDispose]());
  await node.serving();
  const context = async (pid: number | undefined) =>
    (await node.sh(`tr -d '\\0' </proc/${pid}/attr/current`)).trim();
  const labelsOf = (...paths: string[]) => node.lines(`stat -c %C ${paths.join(' ')}`);
  const pod = async (podSandboxId: string) => {
    const { info } = await node.client.PodSandboxStatus({ podSandboxId, verbose: true });
    return JSON.parse(info['info'] ?? '{}') as { pid: number; processLabel: string; mountLabel: string };
  };
  const volume = (hostPath: string, selinuxRelabel: boolean): ContainerChanges => ({
    mounts: [{ hostPath, containerPath: '/data', selinuxRelabel } satisfies cri.MountInit],
  });
  /** Exit code and output of a command in a container. */
  const tried = async (containerId: string, ...cmd: string[]) => {
    const { exitCode, stdout, stderr } = await node.client.ExecSync({ containerId, cmd });
    return `${exitCode} ${Buffer.from(stdout)}${Buffer.from(stderr)}`.trim();
  };
  const labels: Record<string, string> = {};
  const pods: Record<string, string> = {};
  const containers: Record<string, string> = {};

  test('each pod has a pair of categories of its own, at its processes, files and relabelled volumes', async () => {
    await node.pull('busybox');
    assert.match(await node.sh('crisp check || true'), /ok +selinux +permissive, .*:container_t:s0 with two/);
    for (const name of ['one', 'two']) {
      await node.sh(`mkdir -p /srv/${name}/below && echo ${name} >/srv/${name}/below/secret`);
      const id = await node.runPod();
      const container = await node.run(id, volume(`/srv/${name}`, true));
      const { pid, processLabel, mountLabel } = await pod(id);
      assert.match(processLabel, /^system_u:system_r:container_t:s0:c\d+,c\d+$/);
      const level = processLabel.split(':').slice(3).join(':');
      assert.equal(mountLabel, `system_u:object_r:container_file_t:${level}`);
      assert.deepEqual(
        [await context(pid), await context(await node.pid(container))],
        [processLabel, processLabel],
      );
      assert.match(
        await tried(container, 'cat', '/proc/self/attr/current'),
        new RegExp(`^0 ${processLabel}`),
      );
      const root = `/run/crisp/sandboxes/${id}`;
      const bundle = `/run/crisp/containers/${container}`;
      const files = [`/srv/${name}`, `/srv/${name}/below/secret`, `${root}/resolv.conf`, `${root}/hostname`];
      const found = await labelsOf(...files, `${root}/shm`, `${bundle}/rootfs/bin`);
      assert.deepEqual([...new Set(found)], [mountLabel]);
      const inside = `/proc/${await node.pid(container)}/root`;
      const seen = await labelsOf(
        ...['/data/below/secret', '/dev/shm', '/dev/mqueue', '/etc/hostname', '/bin'].map(
          (path) => inside + path,
        ),
      );
      assert.deepEqual([...new Set(seen)], [mountLabel], seen.join());
      [labels[name], pods[name], containers[name]] = [processLabel, id, container];
    }
    assert.notEqual(labels['one'], labels['two']);
    assert.match(await node.log(), /"pods get SELinux labels"/);
    timer('labelled');
  });

  test('what is requested counts; privileged containers and pods with the node’s processes are not confined', async () => {
    const options = { user: '', role: '', type: '', level: 's0:c7,c9' };
    const id = await node.runPod({ securityContext: { selinuxOptions: options } });
    const container = await node.run(id);
    assert.equal(await context(await node.pid(container)), 'system_u:system_r:container_t:s0:c7,c9');
    const none = node.runPod({ securityContext: { selinuxOptions: { ...options, type: 'none_t' } } });
    await assert.rejects(none, /no context system_u:system_r:none_t:s0:c7,c9/);
    const free = await node.runPod({ securityContext: { privileged: true } });
    const privileged = await node.run(free, { securityContext: { privileged: true } });
    const shared = await node.runPod({ securityContext: { namespaceOptions: { pid: 2 } } });
    const ofNode = await node.run(shared, { securityContext: { namespaceOptions: { pid: 2 } } });
    for (const one of [privileged, ofNode])
      assert.doesNotMatch(await context(await node.pid(one)), /:container_t:/);
    timer('requested');
  });

  test('enforced: a pod reads its own volumes, not those of another and not the files of the node', async () => {
    await node.sh('setenforce 1');
    const { one = '', two = '' } = pods;
    assert.equal(await tried(containers['one'] ?? '', 'cat', '/data/below/secret'), '0 one');
    const beside = await node.run(one, volume('/srv/one', false));
    assert.equal(await tried(beside, 'cat', '/data/below/secret'), '0 one');
    assert.equal(
      await tried(beside, 'sh', '-c', 'echo x >/dev/shm/x && echo y >/data/new && cat /dev/shm/x'),
      '0 x',
    );
    const foreign = await node.run(two, volume('/srv/one', false));
    const ofNode = await node.run(two, volume('/srv', false));
    const denied = async () => [
      await tried(foreign, 'cat', '/data/below/secret'),
      await tried(foreign, 'sh', '-c', 'echo x >/data/below/secret'),
      await tried(ofNode, 'ls', '/data'),
    ];
    for (const reply of await denied()) assert.match(reply, /^[12] .*Permission denied/i);
    // It is the policy that denies it, nothing else.
    await node.sh('setenforce 0');
    assert.deepEqual((await denied()).slice(0, 2), ['0 one', '0']);
    await node.sh('setenforce 1; echo one >/srv/one/below/secret');
    timer('enforced');
  });

  test('a volume that is mounted with its label needs no relabelling, as with the kubelet’s SELinuxMount', async () => {
    const level = 's0:c20,c21';
    await node.sh(`mkdir -p /srv/labelled && mount -t tmpfs \
      -o 'context="system_u:object_r:container_file_t:${level}"' none /srv/labelled && echo own >/srv/labelled/file`);
    const selinuxOptions = { user: '', role: '', type: '', level };
    const id = await node.runPod({ securityContext: { selinuxOptions } });
    const container = await node.run(id, volume('/srv/labelled', true));
    assert.equal(await tried(container, 'cat', '/data/file'), '0 own');
    // Not its label: the file system refuses another, which is no error.
    const other = await node.run(pods['one'] ?? '', volume('/srv/labelled', true));
    assert.match(await tried(other, 'cat', '/data/file'), /^1 .*Permission denied/);
    timer('mounted with a label');
  });

  test('a volume that goes from pod to pod, and one whose walk was cut short', async () => {
    const path = '/srv/moved';
    await node.sh(`mkdir -p ${path}/below && echo moved >${path}/below/file`);
    const files = [path, `${path}/below`, `${path}/below/file`];
    const give = async (id: string) => {
      const container = await node.run(id, volume(path, true));
      const { mountLabel } = await pod(id);
      assert.deepEqual([...new Set(await labelsOf(...files))], [mountLabel]);
      assert.equal(await tried(container, 'cat', '/data/below/file'), '0 moved');
      return mountLabel;
    };
    const { one = '', two = '' } = pods;
    await give(one);
    const ofTwo = await give(two);
    // As a walk for another pod leaves it: the root's label while it goes on, and a part with the new one.
    await node.sh(`chcon system_u:object_r:container_ro_file_t:s0 ${path}`);
    await node.sh(`chcon -l s0:c30,c31 ${path}/below/file`);
    assert.equal(await give(two), ofTwo);
    timer('cut short');
  });

  test('a daemon that was killed finds the labels of its pods; a new pod has others', async () => {
    await node.sh('systemctl kill --kill-whom=main -s KILL crisp');
    await node.serving();
    const { one = '', two = '' } = pods;
    assert.equal((await node.status(containers['one'] ?? '')).state, RUNNING);
    assert.deepEqual(
      [(await pod(one)).processLabel, (await pod(two)).processLabel],
      [labels['one'], labels['two']],
    );
    const third = (await pod(await node.runPod())).processLabel;
    assert.ok(third !== labels['one'] && third !== labels['two'], third);
    assert.equal(await context(await node.pid(await node.run(one))), labels['one']);
    timer('restarted');
  });

  test('pods are removed with all that they had', async () => {
    await node.removePods();
    await node.sh('setenforce 0; umount /srv/labelled');
    assert.deepEqual(await node.leftovers(), []);
    timer('removed');
  });
}
