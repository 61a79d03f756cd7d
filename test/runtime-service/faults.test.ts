/** Programs of the node that fail: OCI runtimes, conmon, and processes that are killed from outside. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, globSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromBigInt } from '#api/cri/v1/index.ts';
import {
  EXITED,
  endsClean,
  nanoseconds,
  processesWith,
  RUNNING,
  refused,
  TestNode,
  until,
} from '../harness/pods.ts';
import { openSpdy } from '../streaming/sessions.ts';

const base = process.env['CRISP_TEST_DIR'] ?? '';
const program = (name: string) => join(base, `${name}-${process.pid}`);

/** A program of the node, as a shell script. */
function script(name: string, text: string): string {
  writeFileSync(program(name), `#!/bin/sh\n${text}\n`);
  chmodSync(program(name), 0o755);
  return program(name);
}

// The verb is the first argument that is no flag.
const verb = 'for v in "$@"; do case "$v" in -*) ;; *) break;; esac; done';
const failing = script(
  'failing',
  `${verb}; [ "$v" = create ] && { echo "the moon is full" >&2; exit 1; }; exec runc "$@"`,
);
const hanging = script(
  'hanging',
  `${verb}; [ "$v" = create ] && { sleep 7654${process.pid}; exit 1; }; exec runc "$@"`,
);
const nostart = script(
  'nostart',
  `${verb}; [ "$v" = start ] && { echo "will not start" >&2; exit 1; }; exec runc "$@"`,
);
const mark = program('moon');
const clinging = script(
  'clinging',
  `${verb}; [ "$v" = delete ] && [ -e ${mark} ] && { echo "cannot let go: exec: hook: executable file not found in PATH" >&2; exit 1; }; exec runc "$@"`,
);
// The words before the program are the wrapper's own process: what is killed in its course is all of them.
const slow = script('slow', `${verb}; [ "$v" = exec ] && { touch "$0.at-work"; sleep 1.5; }; exec runc "$@"`);
const stuck = script(
  'stuck',
  `${verb}; [ "$v" = exec ] && { touch "$0.at-work"; sleep 7655${process.pid}; }; exec runc "$@"`,
);
const waiting = script(
  'waiting',
  `${verb}; [ "$v" = create ] && { touch "$0.at-work"; until [ -e "$0.go" ]; do sleep 0.05; done; }; exec runc "$@"`,
);
// As runc 1.2 does of mappings beside the path of a user namespace: on standard error, unless it has a log.
const warning = script(
  'warning',
  `log=/dev/stderr; for v in "$@"; do case "$v" in --log=*) log=\${v#--log=};; -*) ;; *) break;; esac; done
   [ "$v" = create ] && echo "level=warning msg=the-moon-is-full" >>$log; exec runc "$@"`,
);
// It ends between the request and the runtime's update.
const ending = script(
  'ending',
  `${verb}; [ "$v" = update ] && { for id in "$@"; do :; done; runc "$1" kill "$id" KILL
   until runc "$1" state "$id" | grep -q '"stopped"'; do sleep 0.05; done; }; exec runc "$@"`,
);
const monitor = script('conmon', 'exec conmon "$@"');
const handlers = {
  failing,
  hanging,
  nostart,
  clinging,
  slow,
  stuck,
  waiting,
  warning,
  ending,
  missing: '/no/such/runtime',
};
const node = await TestNode.start('faults', {
  runtime: 'runc',
  extra: [
    '[timeouts]\nruntime = "3s"',
    `[conmon]\npath = "${monitor}"`,
    ...Object.entries(handlers).map(([name, path]) => `[runtime.handlers.${name}]\npath = "${path}"`),
  ].join('\n'),
});

const podWith = async (runtimeHandler: string) => {
  const config = node.podConfig();
  return (await node.client.RunPodSandbox({ config, runtimeHandler })).podSandboxId;
};

/** A failed start: the call's error has the words, the container is EXITED 128 StartError, nothing of it is left. */
async function failsToStart(pod: string, code: string, words: RegExp): Promise<void> {
  const id = await node.create(pod);
  await refused(node.client.StartContainer({ containerId: id }), code, words);
  const { state, exitCode, reason, message } = await node.status(id);
  assert.deepEqual([state, exitCode, reason], [EXITED, 128, 'StartError']);
  assert.match(message, words);
  await until('no process is left', () => processesWith(id).length === 0);
  assert.deepEqual(
    node.groups().filter((group) => group.includes(id)),
    [],
  );
  await node.remove(id);
}

test('a runtime that fails at create: its message is the error', async () => {
  await failsToStart(await podWith('failing'), 'Internal', /the moon is full/);
});

test('a runtime that warns at create: the log of the container has its own lines alone', async () => {
  const { out, err } = await node.output(await podWith('warning'), ['sh', '-c', 'echo out; echo err >&2']);
  assert.deepEqual([out, err], ['out', 'err']);
});

test('an update that meets the end of the container: a failed precondition, and the exit is recorded', async () => {
  const id = await node.run(await podWith('ending'));
  const linux = { memoryLimitInBytes: fromBigInt(64n << 20n) };
  await refused(
    node.client.UpdateContainerResources({ containerId: id, linux, annotations: {} }),
    'FailedPrecondition',
    /has ended: it has no limits to change/,
  );
  assert.equal((await node.exited(id)).exitCode, 137);
  await node.remove(id);
});

test('a runtime that fails at start: its message is the error', async () => {
  await failsToStart(await podWith('nostart'), 'Internal', /will not start/);
});

test('a runtime that hangs at create is ended at its deadline, all of it', async () => {
  await failsToStart(await podWith('hanging'), 'DeadlineExceeded', /OCI create/);
  await until('its children are gone', () => processesWith(`sleep 7654${process.pid}`).length === 0);
});

test('a runtime that is not installed', async () => {
  await failsToStart(await podWith('missing'), 'NotFound', /no.such.runtime/);
});

test('what a removed container leaves behind is reported by the removal of its pod, and retried', async () => {
  const before = node.leftovers();
  const pod = await podWith('clinging');
  const config = node.containerConfig();
  const request = { podSandboxId: pod, config, sandboxConfig: {} };
  const { containerId } = await node.client.CreateContainer(request);
  await node.client.StartContainer({ containerId });
  writeFileSync(mark, '');
  await node.remove(containerId);
  await refused(node.status(containerId), 'NotFound');
  const again = await node.client.CreateContainer(request);
  assert.notEqual(again.containerId, containerId, 'the name is free');
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await refused(
    node.client.RemovePodSandbox({ podSandboxId: pod }),
    'Internal',
    /runtime could not be removed.*cannot let go/,
  );
  rmSync(mark);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  assert.deepEqual(
    node.leftovers().filter((leftover) => !before.includes(leftover)),
    [],
  );
});

test('an unknown handler is refused, naming those that there are; it is echoed where it is known', async () => {
  const { items: before } = await node.client.ListPodSandbox({});
  await refused(podWith('gvisor'), 'InvalidArgument', /"?gvisor"?.*failing/);
  const { items } = await node.client.ListPodSandbox({});
  assert.equal(items.length, before.length);
  const pod = await podWith('failing');
  const { status } = await node.client.PodSandboxStatus({ podSandboxId: pod });
  assert.equal(status?.runtimeHandler, 'failing');
});

test('a conmon that fails, and one that is missing', async () => {
  const pod = await node.runPod();
  script('conmon', 'echo "no monitor today" >&2; exit 7');
  await failsToStart(pod, 'Internal', /no monitor today/);
  chmodSync(monitor, 0o600);
  await failsToStart(pod, 'NotFound', /conmon/);
  script('conmon', 'exec conmon "$@"');
  chmodSync(monitor, 0o755);
  await node.remove(await node.run(pod));
});

const execTraces = (id: string): string[] => [
  ...node.groups().filter((group) => group.includes(`${id}/exec-`)),
  ...readdirSync(join(node.settings.directory, 'state/containers', id)).filter((name) =>
    name.startsWith('exec-'),
  ),
];

async function atWork(handler: string): Promise<void> {
  await until('the runtime is at work', () => existsSync(`${handler}.at-work`));
  rmSync(`${handler}.at-work`);
}

for (const [name, program, what] of [
  ['slow', slow, 'slower than the deadline'],
  ['stuck', stuck, 'stuck'],
] as const) {
  test(`a runtime that is ${what}: neither it nor its command outlives the answer`, async () => {
    const id = await node.run(await podWith(name));
    const mark = `sleep 77${Math.floor(Math.random() * 1e9)}`;
    const call = node.exec(id, mark.split(' '), 1);
    await refused(call, 'DeadlineExceeded', /did not end within 1 s and was killed/);
    assert.deepEqual(
      [...processesWith(mark), ...processesWith(`exec-`).filter((line) => line.includes(id))],
      [],
    );
    assert.deepEqual(execTraces(id), []);
    await atWork(program);

    const client = new AbortController();
    const request = { containerId: id, cmd: mark.split(' '), timeout: fromBigInt(0n) };
    const cancelled = node.client.ExecSync(request, { signal: client.signal });
    await atWork(program);
    client.abort();
    await refused(cancelled, 'Cancelled');
    await until('nothing of it is left', () => execTraces(id).length === 0);
    assert.deepEqual(processesWith(mark), []);

    for (const tty of [false, true]) {
      const wishes = { stdin: false, stdout: true, stderr: !tty, tty };
      const { url } = await node.client.Exec({ containerId: id, cmd: mark.split(' '), ...wishes });
      const session = await openSpdy(url, wishes);
      await atWork(program);
      session.vanish();
      await until('nothing of it is left', () => execTraces(id).length === 0);
      assert.deepEqual(processesWith(mark), []);
      assert.deepEqual(
        processesWith('exec-').filter((line) => line.includes(id)),
        [],
      );
    }

    const lost = node.exec(id, mark.split(' '), 0).catch(() => {});
    await atWork(program);
    await node.restart('kill');
    await lost;
    await until('the next daemon has ended it', () => execTraces(id).length === 0);
    assert.deepEqual(processesWith(mark), []);
    assert.deepEqual(
      processesWith('exec-').filter((line) => line.includes(id)),
      [],
    );
    await node.remove(id);
  });
}

test('a start that two callers have joined is cancelled only when both have disconnected', async () => {
  const pod = await podWith('waiting');
  const begun = async (containerId: string) => {
    const clients = [new AbortController(), new AbortController()] as const;
    const [first, second] = [
      node.client.StartContainer({ containerId }, { signal: clients[0].signal }),
      node.client.StartContainer({ containerId }, { signal: clients[1].signal }),
    ];
    await atWork(waiting);
    await node.client.Version({ version: '' }); // by now the second call has come, too
    clients[0].abort();
    await refused(first, 'Cancelled');
    return { second, leave: () => clients[1].abort() };
  };
  const [one, two] = [await node.create(pod), await node.create(pod)];
  const abandoned = await begun(one);
  abandoned.leave();
  await refused(abandoned.second, 'Cancelled');
  await until('it is undone', async () => (await node.status(one)).state === EXITED);
  assert.equal((await node.status(one)).reason, 'StartError');
  await until('nothing of it is left', () => processesWith(one).length === 0);

  const joined = await begun(two);
  writeFileSync(`${waiting}.go`, '');
  await joined.second;
  assert.equal((await node.status(two)).state, RUNNING);
  await Promise.all([node.remove(one), node.remove(two)]);
});

test('a command whose cgroup cannot be made leaves no file behind', async () => {
  const id = await node.run(await node.runPod());
  const { cgroup } = await node.facts(id);
  const groups = globSync([`/sys/fs/cgroup${cgroup}`, `/sys/fs/cgroup/*${cgroup}`]);
  const mount = (...args: string[]) => assert.equal(spawnSync('mount', args).status, 0);
  for (const group of groups) {
    mount('--bind', group, group);
    mount('-o', 'remount,bind,ro', group);
  }
  try {
    await refused(node.exec(id, ['true']), 'Internal', /make cgroup/);
    const { url } = await node.client.Exec({
      containerId: id,
      cmd: ['true'],
      stdin: false,
      stdout: true,
      stderr: true,
      tty: false,
    });
    const session = await openSpdy(url, { stdout: true, stderr: true });
    assert.equal((await session.ended()).status.status, 'Failure');
  } finally {
    for (const group of groups) spawnSync('umount', [group]);
  }
  await until('nothing is left', () => execTraces(id).length === 0);
  await node.remove(id);
});

const [major = 0, minor = 0] = release().split('.').map(Number);
/** A pidfd has the exit status of its process, whatever its parent is. */
const kernelReports = major > 6 || (major === 6 && minor >= 15);
/** The end of a container that was killed without a monitor. */
const KILLED = kernelReports ? [137, 'Error'] : [255, 'Unknown'];

async function monitorOf(id: string): Promise<number> {
  const found = processesWith(id).filter((line) => /^\d+ \S*conmon /.test(line));
  assert.equal(found.length, 1, found.join('\n'));
  return Number(found[0]?.split(' ')[0]);
}

test('conmon is killed while it creates a container: the error names it, with the signal where the kernel reports it', async () => {
  const pod = await podWith('hanging');
  const containerId = await node.create(pod);
  const call = node.client.StartContainer({ containerId });
  call.catch(() => {});
  await until('the runtime hangs', () => processesWith(`sleep 7654${process.pid}`).length > 0);
  process.kill(await monitorOf(containerId), 'SIGKILL');
  const how = kernelReports ? 'killed by SIGKILL' : 'killed, or it crashed';
  await refused(call, 'Internal', new RegExp(`conmon ended before the container was created \\(${how}\\)`));
  await call.catch(({ message }) => assert.doesNotMatch(message, /JSON/));
  const { state, exitCode, reason } = await node.status(containerId);
  assert.deepEqual([state, exitCode, reason], [EXITED, 128, 'StartError']);
  await until('nothing is left of it', () => processesWith(`sleep 7654${process.pid}`).length === 0);
  await node.remove(containerId);
});

test('conmon is killed: the container is watched on, and its end is noticed', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod);
  process.kill(await monitorOf(id), 'SIGKILL');
  assert.equal((await node.exec(id, ['echo', 'alive'])).out, 'alive\n');
  // Longer than a sweep: a living container is not taken for a dead one.
  await sleep(2500);
  assert.equal((await node.status(id)).state, RUNNING);
  process.kill((await node.facts(id)).pid, 'SIGKILL');
  const { exitCode, reason, message, finishedAt } = await node.exited(id);
  assert.deepEqual([exitCode, reason], KILLED);
  assert.ok(kernelReports || message !== '');
  assert.ok(nanoseconds(finishedAt) > 0n);
  await node.remove(id);
});

test('container and conmon are both killed; and a container without conmon is stopped and removed', async () => {
  const pod = await node.runPod();
  const [both, alone] = [await node.run(pod), await node.run(pod)];
  const { pid } = await node.facts(both);
  process.kill(await monitorOf(both), 'SIGKILL');
  process.kill(pid, 'SIGKILL');
  process.kill(await monitorOf(alone), 'SIGKILL');
  await node.stop(alone, 0);
  assert.equal((await node.status(alone)).exitCode, KILLED[0]);
  assert.deepEqual([(await node.exited(both)).exitCode, (await node.status(both)).reason], KILLED);
  await Promise.all([node.remove(both), node.remove(alone)]);
});

test('container and conmon are killed while no daemon runs', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod);
  const { pid } = await node.facts(id);
  const conmon = await monitorOf(id);
  await node.restart('kill', async () => {
    process.kill(conmon, 'SIGKILL');
    process.kill(pid, 'SIGKILL');
  });
  const { exitCode, reason } = await node.exited(id);
  assert.deepEqual([exitCode, reason], [255, 'Unknown']);
  await node.remove(id);
});

test('the bundle of a container is readable by root alone', async () => {
  const pod = await node.runPod();
  const id = await node.create(pod, { envs: [{ key: 'TOKEN', value: Buffer.from('hush-hush-41') }] });
  const record = join(node.settings.directory, 'root/containers', id, 'record.json');
  await until('the record is on the disk', () => existsSync(record));
  assert.ok(!readFileSync(record, 'utf8').includes('hush'));
  assert.ok(!readFileSync(node.daemon.logFile, 'utf8').includes('hush-hush-41'));
  await node.remove(id);
});

endsClean(node);
