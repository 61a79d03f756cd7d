/** Pid namespaces: shared by the pod, a container's own, the node's, another container's; and what /proc/1 gives away. */
import assert from 'node:assert/strict';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import {
  CONTAINER,
  EXITED,
  endsClean,
  NODE,
  POD,
  processesWith,
  RUNNING,
  refused,
  TARGET,
  TestNode,
  until,
} from '../harness/pods.ts';

const node = await TestNode.start('pid');
const shared = await node.runPod({}, { pid: POD });
const own = await node.runPod({}, { pid: CONTAINER });
const inPod = { namespaceOptions: { pid: POD } };
const namespaceOf = (pid: number | string) => readlinkSync(`/proc/${pid}/ns/pid`);
const host = namespaceOf('self');

test('POD: all containers and the pause process share one namespace, in which no container has pid 1', async () => {
  const [one, two] = await Promise.all([
    node.run(shared, { security: inPod }),
    node.run(shared, { security: inPod }),
  ]);
  const pids = (await Promise.all([one, two].map((id) => node.facts(id)))).map(({ pid }) => pid);
  const [first = 0, second = 0] = pids;
  assert.equal(namespaceOf(first), namespaceOf(second));
  assert.notEqual(namespaceOf(first), host);
  const { out } = await node.exec(one, ['ps', '-o', 'pid,args']);
  assert.equal(out.match(/sleep 1000/g)?.length, 2, out);
  assert.match(out, /^\s*1 .*pause/m);
  await Promise.all([node.remove(one), node.remove(two)]);
});

test('POD: when the first process of a container ends, the rest of it is killed, the others live on', async () => {
  const other = await node.run(shared, { security: inPod });
  const script = `(setsid sleep 5431${process.pid} &); setsid sh -c "trap : TERM HUP; sleep 5431${process.pid}; sleep 5431${process.pid}" & until [ -e /go ]; do sleep 0.05; done; exit 4`;
  const id = await node.run(shared, { security: inPod, command: ['sh', '-c', script] });
  await until('the children run', () => processesWith(`sleep 5431${process.pid}`).length >= 3);
  assert.equal((await node.exec(id, ['touch', '/go'])).code, 0);
  const { exitCode, reason } = await node.exited(id);
  assert.deepEqual([exitCode, reason], [4, 'Error']);
  assert.deepEqual(processesWith(`sleep 5431${process.pid}`), []);
  assert.equal((await node.status(other)).state, RUNNING);
  assert.equal((await node.exec(other, ['true'])).code, 0);
  await Promise.all([node.remove(id), node.remove(other)]);
});

test('POD: orphans are reaped by the pause process', async () => {
  const id = await node.run(shared, {
    security: inPod,
    command: ['sh', '-c', '(sleep 0.1 &); (sleep 0.1 &); sleep 1000'],
  });
  await until('no zombie is left', async () => {
    const { out } = await node.exec(id, ['sh', '-c', 'cat /proc/[0-9]*/stat 2>/dev/null']);
    return out.includes('(sleep)') && !/\) Z /.test(out);
  });
  await node.remove(id);
});

/** What a container as root finds behind /proc/1; `-` for what it may not see. */
const look = `
for l in root cwd exe; do printf '%s=' $l; readlink /proc/1/$l 2>/dev/null || echo -; done
printf 'list='; ls -A /proc/1/root 2>/dev/null | tr '\\n' ' '; echo
printf 'cwdlist='; ls -A /proc/1/cwd 2>/dev/null | tr '\\n' ' '; echo
printf 'fds='; for f in /proc/1/fd/*; do readlink $f 2>/dev/null | tr '\\n' ' '; done; echo
printf 'passwd='; cat /proc/1/root/etc/passwd /proc/1/cwd/etc/passwd 2>/dev/null | head -1; echo
printf 'up='; ls -A /proc/1/root/.. /proc/1/cwd/../.. 2>/dev/null | grep -E 'etc|usr|var' | tr '\\n' ' '; echo
printf 'environ='; tr '\\0' ' ' < /proc/1/environ 2>/dev/null; echo
`;

for (const [name, capabilities] of [
  ['without capabilities', { dropCapabilities: ['ALL'] }],
  ['with the default ones', {}],
  ['with CAP_SYS_PTRACE', { addCapabilities: ['SYS_PTRACE'] }],
  ['with CAP_SYS_PTRACE alone', { dropCapabilities: ['ALL'], addCapabilities: ['SYS_PTRACE'] }],
] as const) {
  test(`POD: as root ${name}, /proc/1 shows nothing of the host`, async () => {
    const security = {
      ...inPod,
      runAsUser: { value: 0 as never },
      capabilities: { ...capabilities } as never,
    };
    const id = await node.run(shared, { security });
    const { out } = await node.exec(id, ['sh', '-c', look]);
    const seen = Object.fromEntries(
      out
        .trim()
        .split('\n')
        .map((line) => line.split('=') as [string, string]),
    );
    assert.ok(['-', '/'].includes(seen['root'] ?? ''), out);
    assert.ok(['-', '/'].includes(seen['cwd'] ?? ''), out);
    // The root is the empty directory in which the pause process is; its program is not in it.
    assert.deepEqual(
      [seen['list'], seen['cwdlist'], seen['passwd'], seen['up'], seen['environ']],
      ['', '', '', '', ''],
      out,
    );
    assert.ok(
      (seen['fds'] ?? '')
        .split(' ')
        .filter(Boolean)
        .every((target) => /^(\/dev\/null|\/null|-)$/.test(target)),
      out,
    );
    // Its program is a sealed copy in memory, no file of the host: its bytes are no secret, but nothing can change them.
    assert.match(seen['exe'] ?? '', /^(-|\/memfd:crisp-pause \(deleted\))$/);
    assert.notEqual((await node.exec(id, ['sh', '-c', ': >> /proc/1/exe'])).code, 0);
    await node.remove(id);
  });
}

test("CONTAINER: the container's first process is 1 and sees itself alone", async () => {
  const id = await node.run(own, { security: { namespaceOptions: { pid: CONTAINER } } });
  const { out } = await node.exec(id, ['ps', '-o', 'pid,args']);
  assert.match(out, /^\s*1 sleep 1000$/m);
  assert.equal(out.trim().split('\n').length, 3, out);
  await node.remove(id);
});

test('NODE: the host is seen, in a pod that was made so; in another pod it is refused', async () => {
  const onNode = await node.runPod({}, { pid: NODE });
  const security = { namespaceOptions: { pid: NODE } };
  const id = await node.run(onNode, {
    security,
    command: ['sh', '-c', `sleep 5432${process.pid} & sleep 5432${process.pid}`],
  });
  const { pid } = await node.facts(id);
  assert.equal(namespaceOf(pid), host);
  assert.equal((await node.exec(id, ['sh', '-c', `test -d /proc/${process.pid}`])).code, 0);
  await node.stop(id, 0);
  assert.deepEqual(processesWith(`sleep 5432${process.pid}`), [], 'the whole container ends with the stop');
  await refused(node.create(shared, { security }), 'InvalidArgument', /NODE/);
  await node.client.RemovePodSandbox({ podSandboxId: onNode });
});

test('TARGET: the namespace of another container of the pod, while that one runs', async () => {
  const target = await node.run(own, { security: { namespaceOptions: { pid: CONTAINER } } });
  const security = { namespaceOptions: { pid: TARGET, targetId: target } };
  const id = await node.run(own, { security, command: ['sleep', '5433'] });
  const pids = await Promise.all([node.facts(target), node.facts(id)]);
  assert.equal(namespaceOf(pids[0].pid), namespaceOf(pids[1].pid));
  assert.match((await node.exec(id, ['ps', '-o', 'pid,args'])).out, /^\s*1 sleep 1000$/m);
  await node.stop(target, 0);
  assert.equal((await node.exited(id)).state, EXITED, 'the namespace ends with its first process');
  await refused(node.create(own, { security }), 'FailedPrecondition', /not running/);
  const elsewhere = await node.run(shared);
  const foreign = { namespaceOptions: { pid: TARGET, targetId: elsewhere } };
  await refused(node.create(own, { security: foreign }), 'FailedPrecondition', /this pod/);
  await Promise.all([target, id, elsewhere].map((container) => node.remove(container)));
});

test('TARGET: where another process has the number of the target by then, its namespace is not joined', async () => {
  const [target, stranger] = [await node.run(own), await node.run(own)];
  const security = { namespaceOptions: { pid: TARGET, targetId: target } };
  const id = await node.create(own, { security });
  // As if the target had ended and the stranger had got its number.
  const file = join(node.settings.directory, 'state/containers', id, 'config.json');
  const [before, after] = [(await node.facts(target)).pid, (await node.facts(stranger)).pid];
  const spec = readFileSync(file, 'utf8');
  assert.ok(spec.includes(`/proc/${before}/ns/pid`));
  writeFileSync(file, spec.replace(`/proc/${before}/ns/pid`, `/proc/${after}/ns/pid`));
  await refused(
    node.client.StartContainer({ containerId: id }),
    'FailedPrecondition',
    /target of the pid namespace/,
  );
  assert.equal((await node.status(id)).state, EXITED);
  await Promise.all([target, stranger, id].map((container) => node.remove(container)));
});

test("the pause process: in the pod's cgroup, as uid 65535, without capabilities, with a filter", async () => {
  const pauses = node
    .processesIn(node.cgroup)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('pause'));
  assert.equal(pauses.length, 2, 'one for each pod');
  const [pid] = pauses;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  for (const pattern of [/Uid:\t65535/, /CapBnd:\t0+\n/, /CapEff:\t0+\n/, /NoNewPrivs:\t1/, /Seccomp:\t2/])
    assert.match(status, pattern);
});

endsClean(node);
