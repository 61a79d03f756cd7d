import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { openCgroups } from '#linux/cgroup/open.ts';
import { CgroupsV2 } from '#linux/cgroup/v2.ts';
import type { Cgroups, Child } from '#linux/ports/kernel.ts';
import { ProcessWatches } from '#linux/process/child.ts';
import { readBootId } from '#linux/process/identity.ts';
import { RealProcesses } from '#linux/process/processes.ts';
import { launcher, silent, within } from './observe.ts';

const processes = new RealProcesses(new ProcessWatches(readBootId()), launcher, silent);
const env = { PATH: '/usr/bin:/bin' };
const prefix = `${process.env['CRISP_TEST_CGROUP'] ?? '/crisp-test'}-linux`;
const soon = () => AbortSignal.timeout(20_000);

/** The machine's own layout, and where that is a hybrid its cgroup2 tree as well (kill and events need no controller). */
const layouts = new Map<string, Cgroups>([['own', openCgroups()]]);
if (layouts.get('own')?.version === 1 && existsSync('/sys/fs/cgroup/unified/cgroup.procs')) {
  layouts.set('unified', new CgroupsV2('/sys/fs/cgroup/unified'));
}

/** A shell that is in the group before it starts its children. */
async function family(cgroups: Cgroups, path: string, script: string): Promise<Child> {
  const child = await processes.spawn({ argv: ['sh', '-c', `read go; ${script}`], env, stdin: 'pipe' });
  await cgroups.join(path, child.process.pid);
  child.stdin?.end('go\n');
  return child;
}

for (const [name, cgroups] of layouts) {
  test(`${name}: a child is in its groups before its program begins`, async (t) => {
    const path = `${prefix}/enter-${name}`;
    t.after(() => cgroups.remove(path, soon()));
    const joinFiles = cgroups.joinFiles(path);
    const argv = ['/bin/sh', '-c', 'cat /proc/self/cgroup; readlink /proc/self/fd/*'];
    await assert.rejects(processes.run({ argv, env, joinFiles }, soon()), (error) => {
      return hasCode(error, 'NotFound') && error.message.includes(path);
    });
    await cgroups.create(path);
    const { stdout, stderr } = await processes.run({ argv, env, joinFiles }, soon());
    const lines = stdout.toString().split('\n');
    assert.equal(lines.filter((line) => line.endsWith(`:${path}`)).length, joinFiles.length);
    assert.equal(lines.filter((line) => line.startsWith('pipe:')).length, 2, 'the status pipe is closed');
    assert.equal(stderr.toString(), '');
    await assert.rejects(processes.spawn({ argv: ['/bin/none'], env, joinFiles }), (error) => {
      return hasCode(error, 'NotFound') && error.message.includes('/bin/none');
    });
    await within(() => cgroups.processes(path).length === 0);
  });

  test(`${name}: a group lives from create to remove`, async (t) => {
    const path = `${prefix}/pod-${name}/ctr`;
    t.after(() => cgroups.remove(prefix, soon()));
    assert.equal(cgroups.exists(path), false);
    assert.deepEqual(cgroups.processes(path), []);
    await cgroups.kill(path, soon());
    await cgroups.remove(path, soon());
    await cgroups.create(path);
    await cgroups.create(path);
    assert.equal(cgroups.exists(path), true);
    const child = await family(cgroups, path, 'sleep 300 & sleep 301 & sleep 302; true');
    await within(() => cgroups.processes(`${prefix}/pod-${name}`).length === 4);
    const own = readFileSync(`/proc/${child.process.pid}/cgroup`, 'utf8');
    assert.ok(own.split('\n').filter((line) => line.endsWith(path)).length >= 1);
    assert.equal(cgroups.oomKills(path), 0);
    assert.equal(cgroups.read(path, 'memory.none'), undefined);
    await assert.rejects(cgroups.remove(path, AbortSignal.timeout(100)), (error) => {
      return (
        hasCode(error, 'Aborted') &&
        error.message.includes(path) &&
        error.message.includes(`${child.process.pid}`)
      );
    });
    cgroups.signalAll(path, 15);
    assert.equal((await child.exited).signal, 15);
    await cgroups.kill(path, soon());
    await cgroups.remove(`${prefix}/pod-${name}`, soon());
    assert.equal(cgroups.exists(path), false);
  });

  test(`${name}: kill reaches what forks, in groups below too`, async (t) => {
    const path = `${prefix}/forks-${name}`;
    t.after(() => cgroups.remove(prefix, soon()));
    await cgroups.create(`${path}/below`);
    // Forks slowly for ever: every generation leaves a child that forks again and the parent ends.
    const chain = 'f() { sleep 0.02; (f) & }; trap "" TERM HUP; read go; f; wait';
    const child = await processes.spawn({ argv: ['bash', '-c', chain], env, stdin: 'pipe' });
    await cgroups.join(`${path}/below`, child.process.pid);
    child.stdin?.end('go\n');
    await within(() => cgroups.processes(path).some((pid) => pid !== child.process.pid));
    await cgroups.kill(path, soon());
    assert.deepEqual(cgroups.processes(path), []);
    await cgroups.remove(path, soon());
    assert.equal(cgroups.exists(path), false);
  });

  test(`${name}: a bare child of a group with processes takes some of them and is killed alone`, async (t) => {
    const path = `${prefix}/ctr-${name}`;
    t.after(() => cgroups.remove(prefix, soon()));
    await cgroups.create(path);
    const first = await family(cgroups, path, 'exec sleep 300');
    const second = await processes.spawn({ argv: ['sleep', '300'], env });
    await cgroups.join(path, second.process.pid);
    await cgroups.createChild(`${path}/exec`);
    await cgroups.createChild(`${path}/exec`);
    await cgroups.join(`${path}/exec`, second.process.pid);
    await cgroups.kill(`${path}/exec`, soon());
    assert.equal((await second.exited).signal, 9);
    assert.equal(processes.alive(first.process), true);
    await cgroups.remove(`${path}/exec`, soon());
    await cgroups.kill(path, soon());
    assert.equal((await first.exited).signal, 9);
  });

  test(`${name}: no path leads out, none to the daemon's own death`, async (t) => {
    t.after(() => cgroups.remove(prefix, soon()));
    for (const path of ['/', '', 'x', '/a/../b', '/a//b', '/a/.', '/a/', '/a\0', '/..']) {
      await assert.rejects(cgroups.create(path), (error) => hasCode(error, 'InvalidArgument'));
      await assert.rejects(
        async () => cgroups.kill(path, soon()),
        (error) => hasCode(error, 'InvalidArgument'),
      );
      await assert.rejects(
        async () => cgroups.remove(path, soon()),
        (error) => hasCode(error, 'InvalidArgument'),
      );
      assert.throws(
        () => cgroups.read(path, 'cgroup.procs'),
        (error) => hasCode(error, 'InvalidArgument'),
      );
    }
    await cgroups.create(prefix);
    assert.throws(
      () => cgroups.read(prefix, '../cgroup.procs'),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    await assert.rejects(cgroups.write(prefix, 'pids.nothing', '1'), (error) => hasCode(error, 'NotFound'));
  });
}

test('limits are read back, and a refused value is named', async (t) => {
  const cgroups = openCgroups();
  const path = `${prefix}/limits`;
  t.after(() => cgroups.remove(prefix, soon()));
  await cgroups.create(path);
  const [file, bad] =
    cgroups.version === 1 ? ['memory.limit_in_bytes', 'nonsense'] : ['memory.max', 'nonsense'];
  await cgroups.write(path, file, '33554432');
  assert.equal(cgroups.read(path, file), '33554432');
  await cgroups.write(path, 'pids.max', '7');
  assert.equal(cgroups.read(path, 'pids.max'), '7');
  await assert.rejects(
    cgroups.write(path, file, bad),
    (error) => hasCode(error, 'KernelRefused') && /nonsense/.test(error.message),
  );
});

test('an OOM kill in a group below is counted', async (t) => {
  const cgroups = openCgroups();
  const path = `${prefix}/oom`;
  t.after(() => cgroups.remove(prefix, soon()));
  await cgroups.create(`${path}/below`);
  const files = cgroups.version === 1 ? ['memory.limit_in_bytes'] : ['memory.max', 'memory.swap.max'];
  for (const file of files)
    await cgroups.write(`${path}/below`, file, file.includes('swap') ? '0' : '16777216');
  const child = await processes.spawn({
    argv: ['sh', '-c', 'read go; exec dd if=/dev/zero of=/dev/null bs=64M count=1'],
    env,
    stdin: 'pipe',
  });
  await cgroups.join(`${path}/below`, child.process.pid);
  child.stdin?.end('go\n');
  assert.equal((await child.exited).signal, 9);
  assert.equal(cgroups.oomKills(path), 1);
});
