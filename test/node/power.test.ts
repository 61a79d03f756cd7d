/** After reboots and power cuts: what is listed is complete, what died is reported so, and all of it can be removed. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Chances } from '../crash/seed.ts';
import { obstacle } from './cache.ts';
import { REGISTRY } from './kit.ts';
import { EXITED, NOT_READY, RUNNING, until, VirtualNode } from './virtual-node.ts';

type Disk = 'ext4' | 'xfs' | 'btrfs';
const chances = new Chances();
/** The file systems of crisp's root; the machine's own disk is ext4. One of the others by chance: another run has the other one. */
const DISKS = (process.env['CRISP_NODE_DISKS']?.split(',') ?? [
  'ext4',
  ...chances.sample(['xfs', 'btrfs'], 0.5),
]) as Disk[];
const CHECK_SUMS =
  'cd /; md5sum -c sums >tmp/checked; code=$?; grep -v ": OK$" tmp/checked; test $code = 0 && test $(wc -l <sums) -gt 600';
/** The record of a layer is synced with its image: the one of a pull that never ended may be torn, and is skipped. */
const UNFINISHED_LAYER =
  /"key":"(chain|damaged)-[0-9a-f]+".*"msg":"an image or layer record is unreadable; it is skipped"/;
const why = obstacle();
if (why) console.log(`# SKIPPED: no virtual machine here: ${why}`);

if (why) test('power', { skip: why });
else {
  const node = await VirtualNode.installed('power');
  after(() => node[Symbol.asyncDispose]());
  /** How long a pull takes here and now, in ms: instants mean the same on a slow machine. */
  let pullMs = 0;

  test('a reboot: pods are NOTREADY, exits are kept, addresses are released, removal works', async () => {
    await node.pull('busybox');
    const started = performance.now();
    await node.pull('large-0');
    pullMs = performance.now() - started;
    const pods = [await node.runPod(), await node.runPod(), await node.runPod()];
    const running = await node.run(pods[0] ?? '');
    const ended = await node.run(pods[1] ?? '', { command: ['sh', '-c', 'exit 3'] });
    await node.exited(ended);
    assert.equal((await addresses(node)).length, 3);
    await node.reboot();

    const { items } = await node.client.ListPodSandbox({});
    assert.deepEqual(
      items.map(({ id, state }) => [id, state]).sort(),
      pods.map((id) => [id, NOT_READY]).sort(),
    );
    const lost = await node.status(running);
    assert.equal(lost.state, EXITED);
    // systemd ends scopes during the shutdown: whether the daemon still notices is a matter of chance.
    const ends = ['255 Unknown', '143 Error', '137 Error'];
    assert.ok(ends.includes(`${lost.exitCode} ${lost.reason}`), `${lost.exitCode} ${lost.reason}`);
    assert.equal((await node.status(ended)).exitCode, 3);
    await released(node);
    await node.removePods();
    assert.deepEqual(await node.leftovers(), []);
    const pod = await node.runPod();
    assert.equal((await node.status(await node.run(pod))).state, RUNNING);
    await node.removePods();
  });

  for (const [round, disk] of DISKS.entries()) {
    test(`power cut on ${disk}: pods that were stopped and exits that were reported are kept, also with an fsync of another process`, async () => {
      await node.up();
      await useDisk(node, disk);
      const ids = [await node.runPod(), await node.runPod(), await node.runPod()];
      const ended = await node.run(ids[0] ?? '', { command: ['sh', '-c', 'exit 3'] });
      await node.exited(ended);
      for (const id of ids.slice(1)) await node.client.StopPodSandbox({ podSandboxId: id });
      await until('late records are on the disk', async () => {
        const copies = await node.lines('find /run/crisp/records -type f');
        return copies.length === 0;
      });
      // Of another program's file: with it the whole journal is flushed. The CNI plugins' files, which nothing syncs, may be
      // on another file system: a release of an address that a power cut undoes there is not this test's subject.
      await node.sh(
        'echo x >/var/lib/crisp/stranger; sync /var/lib/crisp/stranger; sync --file-system /var/lib/cni',
      );
      await node.powerCut();
      const { items } = await node.client.ListPodSandbox({});
      assert.deepEqual(items.map(({ id }) => id).sort(), ids.toSorted());
      assert.equal((await node.status(ended)).exitCode, 3);
      await checkRecords(node, [], [ended]);
      await node.removePods();
      await released(node);
      assert.deepEqual(await node.leftovers(), []);
    });

    test(`power cut on ${disk} amid pulls and pod starts: no record is wrong, all can be removed`, async (t) => {
      await node.up();
      // A cut may undo releases of addresses, which nothing syncs: see the test of restarts for that.
      await node.sh('sync --file-system /var/lib/cni');
      const delay = Math.round(pullMs * (0.1 + 3 * chances.next()));
      await chances.at(`cut after ${delay} ms`, async () => {
        const done = await cutAmid(node, round, delay);
        t.diagnostic(`cut after ${delay} ms; had answered: ${done.join(', ') || 'nothing'}`);
        await checkRecords(node, done);
        await checkImages(node, done);
        await node.removePods();
        // Of the pods before, whose releases the cut may have undone, in the background.
        await released(node);
        assert.deepEqual(await node.leftovers(), []);
      });
    });
  }
}

/** Puts crisp's root on a file system of this kind, the spare disk's, also after the next boots. */
async function useDisk(node: VirtualNode, kind: Disk): Promise<void> {
  if (kind === 'ext4') return;
  await node.removePods();
  await node.sh(`
    systemctl stop crisp
    umount /var/lib/crisp || true
    mkfs.${kind} -q -f /dev/vdc
    mkdir -p /var/lib/crisp
    printf '%s\\n' '[Unit]' 'DefaultDependencies=no' 'Before=crisp.service' '[Service]' 'Type=oneshot' \\
      'RemainAfterExit=yes' 'ExecStart=/bin/mount -t ${kind} /dev/vdc /var/lib/crisp' \\
      '[Install]' 'RequiredBy=crisp.service' >/etc/systemd/system/node-disk.service
    systemctl daemon-reload
    systemctl enable --quiet node-disk
    systemctl restart node-disk
    systemctl start crisp
    sync`);
  await node.serving();
  await node.pull('busybox');
}

const addresses = (node: VirtualNode): Promise<string[]> =>
  node.lines(`ls /var/lib/cni/networks/crisp-bridge | grep '^[0-9]' || true`);

/** Of pods that are removed, and of those that were being made, which the daemon undoes in the background. */
async function released(node: VirtualNode): Promise<void> {
  try {
    await until('the addresses are released', async () => (await addresses(node)).length === 0);
  } catch (error) {
    const owners = await node.sh('cd /var/lib/cni/networks/crisp-bridge && grep -H . *');
    const { items } = await node.client.ListPodSandbox({});
    const pods = items.map(({ id, state }) => `${id} ${state}`).join('\n');
    throw new Error(`${error}\n${owners}\npods:\n${pods}\n${await node.log()}`);
  }
}

/** Starts pulls and pods, takes the power away amid them; what had been answered by then, and comes back. */
async function cutAmid(node: VirtualNode, round: number, delay: number): Promise<string[]> {
  const done: string[] = [];
  const image = `large-${round % 3}`;
  const { images } = await node.client.ListImages({});
  for (const { id, repoTags } of images)
    if (repoTags.some((tag) => tag.includes('/large-')))
      await node.client.RemoveImage({ image: { image: id } });
  const over = new AbortController();
  const act = async (name: string, start: () => Promise<string>) => {
    const value = await start();
    if (!over.signal.aborted) done.push(`${name} ${value}`);
    return value;
  };
  const pulling = act('image', () => node.pull(image));
  const starting = (async () => {
    while (!over.signal.aborted) {
      const pod = await act('pod', () => node.runPod());
      await act('container', () => node.run(pod));
    }
  })();
  const settled = Promise.allSettled([pulling, starting]);
  await sleep(delay);
  over.abort();
  await node.powerCut();
  await settled;
  return done;
}

/**
 * Every acknowledged pod is there (containers do not outlive their pod); what is listed is reported as dead. `ended`: the
 * containers whose exit was reported before.
 */
async function checkRecords(
  node: VirtualNode,
  done: readonly string[],
  ended: readonly string[] = [],
): Promise<void> {
  const pods = (await node.client.ListPodSandbox({})).items;
  const containers = (await node.client.ListContainers({})).containers;
  for (const { id, state } of pods) assert.equal(state, NOT_READY, `pod ${id}`);
  for (const { id } of containers) {
    const { state, exitCode, reason } = await node.status(id);
    assert.notEqual(state, RUNNING, `container ${id}`);
    // One whose start was under way, or that ran: its exit was not observed.
    const ends = ['128 StartError', '255 Unknown'];
    if (state === EXITED && !ended.includes(id))
      assert.ok(ends.includes(`${exitCode} ${reason}`), `${exitCode} ${reason}`);
  }
  for (const entry of done.filter((entry) => entry.startsWith('pod ')))
    assert.ok(
      pods.some(({ id }) => `pod ${id}` === entry),
      `${entry} is lost`,
    );
  const log = await node.lines('journalctl -b -u crisp -o cat --no-pager');
  const complaints = log.filter((line) => /"level":"(warn|error)"/.test(line));
  assert.deepEqual(
    complaints.filter((line) => !UNFINISHED_LAYER.test(line)),
    [],
  );
}

/** A listed image has every blob with its digest, and every file; one that is not listed can be pulled. */
async function checkImages(node: VirtualNode, done: readonly string[]): Promise<void> {
  const { images } = await node.client.ListImages({});
  for (const entry of done.filter((entry) => entry.startsWith('image ')))
    assert.ok(
      images.some(({ id }) => `image ${id}` === entry),
      `${entry} is lost`,
    );
  const wrong = await node.lines(
    `cd /var/lib/crisp/images/content/blobs/sha256; for blob in *; do echo "$blob  $blob"; done | sha256sum -c --quiet 2>&1 || true`,
  );
  assert.deepEqual(wrong, []);
  const listed = images.flatMap(({ repoTags }) => repoTags).find((tag) => tag.includes('/large-'));
  const large = listed?.replace(`${REGISTRY}/`, '') ?? 'large-0:latest';
  if (!listed) await node.pull(large);
  const pod = await node.runPod();
  const checked = await node.run(pod, {
    image: `${REGISTRY}/${large}`,
    command: ['sh', '-c', CHECK_SUMS],
  });
  const { exitCode } = await node.exited(checked);
  const log = await node.sh(`cat /var/log/pods/*/ctr-*.log | grep -v '^$' | tail -n 20 || true`);
  assert.equal(exitCode, 0, `files of ${large} differ:\n${log}`);
  const verified = await node.machine.run('crisp check --images');
  assert.equal(verified.code, 0, verified.output);
}
