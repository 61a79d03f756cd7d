/** Resource limits: read back from the control files, and what happens beyond them. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { busy, EXITED, endsClean, nanoseconds, RUNNING, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('limits');
const pod = await node.runPod();
const MIB = 1 << 20;
const long = (value: number) => fromBigInt(BigInt(value));
const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers');

/** A control file's content, in whichever hierarchy. */
function control(cgroup: string, file: string): string {
  const controller = file.split('.')[0];
  return readFileSync(
    v2 ? `/sys/fs/cgroup${cgroup}/${file}` : `/sys/fs/cgroup/${controller}${cgroup}/${file}`,
    'utf8',
  ).trim();
}

test('memory, cpu and cpuset are in the control files and in the status', async () => {
  const resources = {
    memoryLimitInBytes: long(64 * MIB),
    cpuShares: long(512),
    cpuQuota: long(50_000),
    cpuPeriod: long(100_000),
    cpusetCpus: '0',
    cpusetMems: '0',
    oomScoreAdj: long(321),
  };
  const id = await node.run(pod, { resources });
  const { cgroup, pid } = await node.facts(id);
  assert.match(cgroup, new RegExp(`^${node.cgroup}/.*${id}$`));
  const wanted = v2
    ? { 'memory.max': `${64 * MIB}`, 'cpu.max': '50000 100000', 'cpuset.cpus': '0' }
    : {
        'memory.limit_in_bytes': `${64 * MIB}`,
        'cpu.shares': '512',
        'cpu.cfs_quota_us': '50000',
        'cpu.cfs_period_us': '100000',
        'cpuset.cpus': '0',
        'cpuset.mems': '0',
      };
  for (const [file, value] of Object.entries(wanted)) assert.equal(control(cgroup, file), value, file);
  assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '321');
  const reported = (await node.status(id)).resources?.linux;
  assert.ok(reported);
  assert.deepEqual(
    [
      reported.memoryLimitInBytes,
      reported.cpuShares,
      reported.cpuQuota,
      reported.cpuPeriod,
      reported.oomScoreAdj,
    ].map(nanoseconds),
    [BigInt(64 * MIB), 512n, 50_000n, 100_000n, 321n],
  );
  assert.deepEqual([reported.cpusetCpus, reported.cpusetMems], ['0', '0']);
  await node.remove(id);
});

test('a score that the daemon may not give is clamped to what it may', async () => {
  const own = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
  const mayLower =
    (BigInt(`0x${/CapEff:\s+(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]}`) >> 24n) & 1n;
  const id = await node.run(pod, { resources: { oomScoreAdj: long(-998) } });
  const { pid } = await node.facts(id);
  assert.equal(
    Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8')),
    mayLower ? -998 : Math.max(-998, own),
  );
  await node.remove(id);
});

test("every process of the container, exec's too, is in its cgroup in every hierarchy", async () => {
  const id = await node.run(pod, { resources: { memoryLimitInBytes: long(64 * MIB) } });
  const { cgroup } = await node.facts(id);
  const lines = (await node.exec(id, ['cat', '/proc/self/cgroup'])).out.trim().split('\n');
  const used = lines.filter((line) => /:(memory|cpu|cpuset|pids|freezer|blkio|devices)[:,]/.test(line));
  assert.ok(used.length > 3 || v2, lines.join(' '));
  for (const line of used) assert.ok(line.split(':')[2]?.includes(cgroup), line);
  await node.remove(id);
});

const limited = { memoryLimitInBytes: long(15 * MIB), memorySwapLimitInBytes: long(15 * MIB) };
const eater = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=20M'];

test('the first process beyond the limit: 137 and OOMKilled, also after a restart of the daemon', async () => {
  const id = await node.run(pod, { command: eater, resources: limited });
  const { exitCode, reason } = await node.exited(id);
  assert.deepEqual([exitCode, reason], [137, 'OOMKilled']);
  await node.restart('kill');
  const again = await node.status(id);
  assert.deepEqual([again.state, again.exitCode, again.reason], [EXITED, 137, 'OOMKilled']);
  await node.remove(id);
});

test('a child beyond the limit: OOMKilled with the exit code of the first process', async () => {
  const script = `${eater.join(' ')}; sleep 0.1; exit 3`;
  const id = await node.run(pod, { command: ['sh', '-c', script], resources: limited });
  const { exitCode, reason } = await node.exited(id);
  assert.deepEqual([exitCode, reason], [3, 'OOMKilled']);
  await node.remove(id);
});

test('an exec beyond the limit is killed, the container runs on; it is OOMKilled when it ends', async () => {
  const id = await node.run(pod, { command: busy, resources: limited });
  assert.equal((await node.exec(id, eater)).code, 137);
  assert.equal((await node.status(id)).state, RUNNING);
  await node.stop(id);
  const { exitCode, reason } = await node.status(id);
  assert.deepEqual([exitCode, reason], [137, 'OOMKilled']);
  await node.remove(id);
});

test('a limited container whose processes stay within the limit is Completed', async () => {
  const id = await node.run(pod, {
    command: ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=1M', 'count=1'],
    resources: limited,
  });
  const { exitCode, reason } = await node.exited(id);
  assert.deepEqual([exitCode, reason], [0, 'Completed']);
  await node.remove(id);
});

endsClean(node);
