/** The daemon's disk is full: what makes is refused in clear words and leaves nothing, what removes succeeds. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import test, { afterEach } from 'node:test';
import { busyboxImage } from '../harness/images.ts';
import { EXITED, endsClean, POD, readIfPresent, refused, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('full', {
  prepare: (directory) => {
    for (const name of ['root', 'state']) {
      mkdirSync(join(directory, name), { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m,mode=700', 'test-disk', join(directory, name)]);
    }
  },
});
const [major = 0, minor = 0] = release().split('.').map(Number);
/** A pidfd has the exit status of its process, whatever its parent is. */
const kernelReports = major > 6 || (major === 6 && minor >= 15);
const root = join(node.settings.directory, 'root');
const state = join(node.settings.directory, 'state');

/** Writes until no byte fits. */
function fill(...disks: string[]): void {
  for (const disk of disks) {
    const file = openSync(join(disk, 'filler'), 'a');
    try {
      for (let size = 1 << 20; size >= 1; size = size > 1 ? size >> 1 : 0) {
        try {
          for (;;) writeSync(file, Buffer.alloc(size));
        } catch {
          // A smaller piece may fit.
        }
      }
    } finally {
      closeSync(file);
    }
  }
}

const empty = () => {
  for (const disk of [root, state]) rmSync(join(disk, 'filler'), { force: true });
};
// A test that fails must not make the others fail.
afterEach(empty);

test('on a full disk all that stops and removes succeeds', async () => {
  const extra = await node.addImage('extra', busyboxImage({ config: { Labels: { extra: 'yes' } } }));
  const pod = await node.runPod({}, { network: POD });
  const second = await node.runPod();
  const [one, two, three] = [await node.run(pod), await node.run(pod), await node.create(pod)];
  fill(root);
  await node.stop(one, 0);
  const { state, exitCode } = await node.status(one);
  assert.deepEqual([state, exitCode], [EXITED, 137]);
  await node.remove(one);
  await node.remove(two);
  await node.remove(three);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  await node.client.RemovePodSandbox({ podSandboxId: second });
  await node.client.RemoveImage({ image: { image: extra } });
  assert.deepEqual(
    (await node.client.ListImages({})).images.map(({ id }) => id),
    [node.image],
  );
  assert.deepEqual((await node.client.ListContainers({})).containers, []);
  assert.deepEqual((await node.client.ListPodSandbox({})).items, []);
  empty();
  assert.deepEqual(node.leftovers(), []);
});

test('on a full disk RunPodSandbox and CreateContainer are ResourceExhausted with the reason, and leave nothing', async () => {
  const pod = await node.runPod();
  const before = node.leftovers();
  fill(root);
  const config = node.podConfig();
  const container = node.containerConfig();
  const create = () =>
    node.client.CreateContainer({ podSandboxId: pod, config: container, sandboxConfig: {} });
  await refused(
    node.client.RunPodSandbox({ config }),
    'ResourceExhausted',
    /no space left|disk is full|ENOSPC/i,
  );
  await refused(create(), 'ResourceExhausted', /no space left|disk is full|ENOSPC/i);
  assert.deepEqual(
    (await node.client.ListPodSandbox({})).items.map(({ id }) => id),
    [pod],
  );
  assert.deepEqual((await node.client.ListContainers({})).containers, []);
  empty();
  assert.deepEqual(node.leftovers(), before);
  // The names are free, and the retry finds space.
  await node.client.RunPodSandbox({ config });
  const { containerId } = await create();
  await node.client.StartContainer({ containerId });
  await node.remove(containerId);
  await node.removePods();
});

test('with the tmpfs of the state full as well, all that stops and removes succeeds too', async () => {
  const pod = await node.runPod({}, { network: POD });
  const [one, two] = [await node.run(pod), await node.run(pod)];
  fill(root, state);
  await node.stop(one, 1);
  assert.equal((await node.status(one)).state, EXITED);
  await node.remove(two);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  empty();
  assert.deepEqual(node.leftovers(), []);
});

test('with the tmpfs of the state full the code of a container is still its own, where the kernel reports it', async () => {
  const pod = await node.runPod();
  const [killed, ends] = [
    await node.run(pod),
    await node.run(pod, {
      command: ['sh', '-c', 'while ! test -e /dev/shm/go; do sleep 0.05; done; exit 6'],
    }),
  ];
  const { pid } = await node.facts(killed);
  assert.equal((await node.exec(killed, ['true'])).code, 0);
  fill(root, state);
  process.kill(pid, 'SIGKILL');
  await node.exited(killed);
  empty();
  assert.equal((await node.status(killed)).exitCode, kernelReports ? 137 : 255);
  fill(state);
  writeFileSync(`/proc/${(await node.facts(ends)).pid}/root/dev/shm/go`, '');
  await node.exited(ends);
  empty();
  const { exitCode, reason } = await node.status(ends);
  assert.deepEqual([exitCode, reason], kernelReports ? [6, 'Error'] : [255, 'Unknown']);
  await Promise.all([node.remove(killed), node.remove(ends)]);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

/** A full tmpfs for the copies of records alone: nothing that a stop frees makes room for them. Returns what undoes it. */
function fillCopies(): () => void {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const directories = ['containers', 'sandboxes'].map((kind) => join(state, 'records', kind, boot));
  for (const directory of directories) {
    assert.deepEqual(readdirSync(directory), []);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k,mode=700', 'test-copies', directory]);
  }
  fill(...directories);
  return () => {
    for (const directory of directories.splice(0)) execFileSync('umount', [directory]);
  };
}

test('with the tmpfs of the state full alone, what is recorded is on the disk at once', async (t) => {
  const pod = await node.runPod({}, { network: POD });
  const id = await node.run(pod);
  await node.recorded();
  const undo = fillCopies();
  t.after(undo);
  const recorded = (path: string) => readFileSync(join(root, path, 'record.json'), 'utf8');
  await node.stop(id, 0);
  assert.match(recorded(`containers/${id}`), /"exited"/);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  assert.match(recorded(`sandboxes/${pod}`), /"reason":"stopped"/);
  assert.match(readFileSync(node.daemon.logFile, 'utf8'), /the state directory refuses copies of records/);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  undo();
  assert.deepEqual(node.leftovers(), []);
});

test('with the tmpfs of the state full alone, what makes is ResourceExhausted and names the file', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod);
  await node.recorded();
  const before = node.leftovers();
  fill(state);
  const full = /cannot be written|no space left|ENOSPC/;
  await refused(node.create(pod), 'ResourceExhausted', full);
  await refused(node.client.RunPodSandbox({ config: node.podConfig() }), 'ResourceExhausted', full);
  await refused(node.exec(id, ['true']), 'ResourceExhausted', full);
  empty();
  assert.deepEqual(node.leftovers(), before);
  assert.equal((await node.exec(id, ['true'])).code, 0);
  await node.removePods();
});

test('a container that ends on a full disk is EXITED with its code, also after a restart', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod, {
    command: ['sh', '-c', 'while ! test -e /dev/shm/go; do sleep 0.05; done; exit 6'],
  });
  fill(root);
  assert.equal((await node.exec(id, ['touch', '/dev/shm/go'])).code, 0);
  assert.equal((await node.exited(id)).exitCode, 6);
  await node.restart('kill', async () => empty());
  assert.equal((await node.exited(id)).exitCode, 6);
  await node.remove(id);
});

test('the exit of a container is written when there is space again', async () => {
  const pod = await node.runPod();
  const early = await node.run(pod);
  await node.recorded();
  // The first record of this one is possibly not on the disk before the disk is full.
  const late = await node.run(pod);
  fill(root);
  await Promise.all([node.stop(early, 0), node.stop(late, 0)]);
  empty();
  for (const id of [early, late]) {
    const record = join(root, 'containers', id, 'record.json');
    await until('it is written', () => readIfPresent(record).includes('"exited"'));
    assert.equal((await node.status(id)).exitCode, 137);
  }
});

endsClean(node);
