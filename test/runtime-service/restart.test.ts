/** The daemon ends, by SIGTERM and by SIGKILL, and comes back: pods and containers do not notice. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { startDaemon } from '../harness/daemon.ts';
import {
  busy,
  EXITED,
  endsClean,
  nanoseconds,
  POD,
  polite,
  RUNNING,
  TestNode,
  until,
} from '../harness/pods.ts';

const node = await TestNode.start('restart');
const ticking = ['sh', '-c', 'n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.02; done'];
const { SANDBOX_READY, SANDBOX_NOTREADY } = cri.PodSandboxState;

for (const end of ['stop', 'kill'] as const) {
  test(`after ${end === 'stop' ? 'SIGTERM' : 'SIGKILL'}: all runs on, logs go on, exits in between are known`, async () => {
    const pod = await node.runPod({}, { network: POD });
    const before = await podStatus(pod);
    const [long, short, killed, created] = await Promise.all([
      node.run(pod, { command: ticking }),
      node.run(pod, { command: ['sh', '-c', 'while ! test -e /go; do sleep 0.02; done; exit 9'] }),
      node.run(pod, { command: busy }),
      node.create(pod, { command: polite }),
    ]);
    const facts = await node.facts(long);
    const seen = node.leftovers().join('\n');
    for (const kind of [
      /^mount .*ns\/net/m,
      /rootfs/,
      /^\d+ \S*conmon/m,
      /^cgroup/m,
      /ipam\/.*10\.234\.7/,
      /-j CNI-/,
      /sandboxes/,
    ]) {
      assert.match(seen, kind, 'leftovers() must see what it looks for');
    }
    const log = await node.logPath(long);
    const lines = () => readFileSync(log, 'utf8').split('\n').length;
    let down = { from: 0n, to: 0n };
    const rootOfShort = `/proc/${(await node.facts(short)).pid}/root`;
    const { pid: victim } = await node.facts(killed);
    await node.restart(end, async () => {
      const seen = lines();
      await until('the log goes on without a daemon', () => lines() > seen + 3);
      const from = BigInt(Date.now()) * 1_000_000n;
      writeFileSync(`${rootOfShort}/go`, '');
      process.kill(victim, 'SIGKILL');
      await sleep(300);
      down = { from, to: BigInt(Date.now()) * 1_000_000n };
    });

    const ended = await node.exited(short);
    assert.deepEqual([ended.exitCode, ended.reason], [9, 'Error']);
    const finishedAt = nanoseconds(ended.finishedAt);
    // The file's time is the kernel's coarse clock, up to a tick of 10 ms behind.
    assert.ok(
      finishedAt >= down.from - 20_000_000n && finishedAt <= down.to,
      `${finishedAt} is not in the downtime`,
    );
    assert.equal((await node.exited(killed)).exitCode, 137);
    assert.deepEqual([(await node.status(long)).state, (await node.facts(long)).pid], [RUNNING, facts.pid]);

    const after = await podStatus(pod);
    assert.deepEqual([after.state, after.network?.ip], [SANDBOX_READY, before.network?.ip]);
    assert.match(after.network?.ip ?? '', /^10\.234\.7\.\d+$/);
    assert.equal(nanoseconds(after.createdAt), nanoseconds(before.createdAt));

    assert.equal((await node.exec(long, ['echo', 'still'])).out, 'still\n');
    await node.client.StartContainer({ containerId: created });
    await node.handlesSigterm(created);
    await node.stop(created, 60);
    assert.equal((await node.status(created)).exitCode, 0);
    await node.stop(long, 0);
    assert.equal((await node.status(long)).exitCode, 137);
    await node.client.StopPodSandbox({ podSandboxId: pod });
    await node.client.RemovePodSandbox({ podSandboxId: pod });
    assert.deepEqual(node.leftovers(), []);
  });
}

async function podStatus(podSandboxId: string): Promise<cri.PodSandboxStatus> {
  const { status } = await node.client.PodSandboxStatus({ podSandboxId });
  assert.ok(status);
  return status;
}

test('a stop that waits does not keep the daemon from ending, and does not kill behind the next one', {
  timeout: 300_000,
}, async () => {
  const pod = await node.runPod();
  const id = await node.run(pod, {
    command: ['sh', '-c', 'trap "echo heard" TERM; echo ready; while :; do sleep 0.05; done'],
  });
  // Without its trap it would not hear the signal: it is the first process of its namespace.
  await until('it listens', async () => (await node.logLines(id)).length > 0);
  const client = new AbortController();
  const request = { containerId: id, timeout: fromBigInt(600n) };
  const call = node.client.StopContainer(request, { signal: client.signal });
  await until('the signal has come', async () => (await node.logLines(id)).length > 1);
  client.abort();
  await assert.rejects(call);
  await node.restart('stop');
  assert.equal((await node.status(id)).state, RUNNING);
  await node.stop(id, 0);
  assert.equal((await node.status(id)).exitCode, 137);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('a pod whose pause process died while no daemon ran is NOTREADY, with its containers still to be stopped', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod);
  const { info } = await node.client.PodSandboxStatus({ podSandboxId: pod, verbose: true });
  const pid = Number(/"pid":\s*(\d+)/.exec(JSON.stringify(info).replaceAll('\\', ''))?.[1]);
  assert.ok(pid > 1, JSON.stringify(info));
  await node.restart('kill', async () => {
    process.kill(pid, 'SIGKILL');
    await until('it is gone', () => !existsSync(`/proc/${pid}/ns/net`));
  });
  assert.equal((await podStatus(pod)).state, SANDBOX_NOTREADY);
  assert.equal((await node.status(id)).state, RUNNING);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  assert.equal((await node.status(id)).state, EXITED);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('a second daemon on the same root is refused, the first serves on', async () => {
  const serve = ['cli/main.ts', 'serve', '--config', join(node.settings.directory, 'crisp.toml')];
  const second = spawnSync(process.execPath, serve, { encoding: 'utf8', timeout: 300_000 });
  assert.ok(second.status !== null && second.status > 0, `status ${second.status}`);
  assert.match(second.stderr, /lock|other daemon|already|in use/i);
  assert.equal((await node.client.Version({})).version, '0.1.0');
});

test('the socket that a killed daemon leaves is replaced; a file in its place is refused and kept', async () => {
  const socket = join(node.settings.directory, 'state/crisp.sock');
  await node.restart('kill', async () => assert.ok(statSync(socket).isSocket()));
  assert.equal((await node.client.Version({})).version, '0.1.0');
  await node.restart('stop', async () => {
    assert.ok(!existsSync(socket), 'an orderly end takes the socket away');
    writeFileSync(socket, 'precious');
    await assert.rejects(startDaemon(node.settings), /ended with [1-9]/);
    assert.equal(readFileSync(socket, 'utf8'), 'precious');
    rmSync(socket);
  });
});

test('a creation that was interrupted by SIGKILL is undone, and its name is free', async () => {
  const pod = await node.runPod();
  const config = node.containerConfig();
  const call = node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} });
  call.catch(() => {});
  await node.restart('kill');
  await call.catch(() => {});
  const { containerId } = await node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} });
  const { containers } = await node.client.ListContainers({ filter: { podSandboxId: pod } });
  assert.deepEqual(
    containers.map(({ id }) => id),
    [containerId],
  );
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('removals that are interrupted by SIGKILL are finished by the next daemon', async () => {
  const before = node.leftovers();
  const pod = await node.runPod();
  const ids = await Promise.all(Array.from({ length: 4 }, () => node.run(pod, { command: busy })));
  await Promise.all(ids.map((id) => node.remove(id)));
  await node.restart('kill');
  const { containers } = await node.client.ListContainers({ filter: { podSandboxId: pod } });
  assert.deepEqual(containers, []);
  const left = () => node.leftovers().filter((leftover) => ids.some((id) => leftover.includes(id)));
  await until('nothing of the containers is left', () => left().length === 0);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  // The daemon may still be trying out id maps behind its first answers.
  await until('nothing new is left', () => node.leftovers().every((leftover) => before.includes(leftover)));
});

test('a start that was interrupted by SIGKILL leaves a container that runs or has failed, and no stray process', async () => {
  const pod = await node.runPod();
  for (const ms of [5, 20, 45]) {
    const id = await node.create(pod);
    const call = node.client.StartContainer({ containerId: id }).catch(() => {});
    await sleep(ms);
    await node.restart('kill');
    await call;
    const { state, exitCode } = await until('it is settled', async () => {
      const status = await node.status(id);
      return status.state === RUNNING || status.state === EXITED ? status : undefined;
    }).catch(() => node.status(id));
    if (state === EXITED) assert.equal(exitCode, 128);
    await node.remove(id);
    await until('nothing of it is left', () => !node.leftovers().some((leftover) => leftover.includes(id)));
  }
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('a command whose daemon was killed is ended by the next one; its container runs on', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod);
  const call = node.exec(id, ['sh', '-c', 'trap "" TERM; sleep 1000 & sleep 1000'], 0).catch(() => {});
  const execs = () => node.leftovers().filter((leftover) => leftover.includes(id) && /exec-/.test(leftover));
  await until('the command runs', () => execs().some((trace) => trace.startsWith('cgroup')));
  await node.restart('kill');
  await call;
  await until('nothing of the command is left', () => execs().length === 0);
  assert.equal((await node.status(id)).state, RUNNING);
  assert.equal((await node.exec(id, ['echo', 'on'])).out, 'on\n');
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

endsClean(node);
