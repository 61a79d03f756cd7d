import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { hasCode } from '#core/errors.ts';
import { openKernel } from '#linux/index.ts';
import type { HeldPause, PauseRequest, ProcessRef } from '#linux/ports/kernel.ts';
import { statusOf, strayDescriptor, within } from './observe.ts';
import { scratch } from './scratch.ts';

const kernel = await openKernel();
after(() => kernel.close());
const { namespaces, processes, mounts } = kernel;
const soon = () => AbortSignal.timeout(20_000);
const all = ['net', 'ipc', 'uts', 'pid'] as const;
const mapped = (length: number) => [{ containerId: 0, hostId: 200_000, length }];

const request = (pins: string, more: Partial<PauseRequest> = {}): PauseRequest => ({
  kinds: all,
  pins,
  hostname: 'pod-1',
  sysctls: {},
  oomScoreAdj: 0,
  ...more,
});

/** Holds; the pause process ends at the latest with the test. */
async function hold(t: TestContext, wanted: PauseRequest): Promise<HeldPause> {
  const held = await namespaces.hold(wanted, soon());
  t.after(() => processes.signal(held.process, 9));
  return held;
}

/** Ends a pause process and waits until it is gone. */
async function end(held: HeldPause, signal = 9): Promise<void> {
  processes.signal(held.process, signal);
  await namespaces.watch(held.process, soon());
}

const inside = (held: HeldPause, kinds: readonly string[], script: string): string =>
  execFileSync(
    'nsenter',
    [...kinds.map((kind) => `--${kind}=${held.pins[kind as 'net']}`), 'sh', '-c', script],
    {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 10_000,
    },
  );

function assertSealed(process: ProcessRef, id: number): void {
  const { pid } = process;
  const status = statusOf(pid);
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.equal(status[set], '0000000000000000', set);
  assert.deepEqual([status['Seccomp'], status['NoNewPrivs'], status['Threads']], ['2', '1', '1']);
  assert.equal(status['Uid'], Array(4).fill(id).join('\t'));
  assert.equal(status['Gid'], Array(4).fill(id).join('\t'));
  assert.equal(status['Groups'], '');
  assert.deepEqual(readdirSync(`/proc/${pid}/fd`), []);
  assert.deepEqual(readdirSync(`/proc/${pid}/root/`), []);
  assert.throws(() => mkdirSync(`/proc/${pid}/root/x`), { code: 'EROFS' });
  const mountinfo = readFileSync(`/proc/${pid}/mountinfo`).toString().trim().split('\n');
  assert.equal(mountinfo.length, 1);
  assert.match(mountinfo[0] ?? '', / \/ ro,nosuid,nodev,noexec,\S* - tmpfs /);
  assert.equal(readlinkSync(`/proc/${pid}/exe`), '/memfd:crisp-pause (deleted)');
  assert.equal(readFileSync(`/proc/${pid}/environ`, 'utf8'), '');
  assert.equal(statSync(`/proc/${pid}/fd`).uid, 0, 'not dumpable: its files belong to root');
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  assert.deepEqual([stat[2], stat[3]].includes('0'), false, 'a session of its own');
}

test('a pause process seals itself, holds its namespaces and ends at SIGTERM', async (t) => {
  const pins = scratch(t, mounts);
  const stray = strayDescriptor();
  const sysctls = {
    'net.ipv4.ip_unprivileged_port_start': '80',
    'kernel.shm_rmid_forced': '1',
    'fs.mqueue.msg_max': '20',
  };
  const held = await hold(t, request(pins, { sysctls, oomScoreAdj: 300 }));
  await held.release();
  execFileSync('true');
  assertSealed(held.process, 65535);
  assert.equal(readFileSync(`/proc/${held.process.pid}/oom_score_adj`, 'utf8').trim(), '300');
  assert.notEqual(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8').trim(), '80');
  const seen = inside(
    held,
    ['net', 'ipc', 'uts'],
    `hostname; cd /proc/sys
    cat net/ipv4/ip_unprivileged_port_start kernel/shm_rmid_forced fs/mqueue/msg_max; ip -br addr`,
  );
  const [hostname, port, shm, mqueue, ...links] = seen.trim().split('\n');
  assert.deepEqual([hostname, port, shm, mqueue], ['pod-1', '80', '1', '20']);
  assert.equal(links.length, 1);
  assert.match(links[0] ?? '', /^lo .*127\.0\.0\.1\/8/);
  for (const kind of all) {
    assert.equal(
      statSync(held.pins[kind] ?? '').ino,
      statSync(`/proc/${held.process.pid}/ns/${kind}`).ino,
      kind,
    );
    assert.notEqual(statSync(held.pins[kind] ?? '').ino, statSync(`/proc/self/ns/${kind}`).ino, kind);
  }
  await end(held, 15);
  await namespaces.unpin(pins);
  await namespaces.unpin(pins);
  await namespaces.unpin(join(pins, 'missing'));
  assert.deepEqual([readdirSync(pins), mounts.below(pins)], [[], []]);
  closeSync(stray);
});

test('a pause process enters its cgroups at its release and not before', async (t) => {
  const { cgroups } = kernel;
  const path = `${process.env['CRISP_TEST_CGROUP'] ?? '/crisp-test'}-pause`;
  t.after(() => cgroups.remove(path, soon()));
  await cgroups.create(path);
  const held = await hold(t, request(scratch(t, mounts), { joinFiles: cgroups.joinFiles(path) }));
  assert.equal(held.joinsCgroups, true);
  assert.deepEqual(cgroups.processes(path), []);
  await held.release();
  const { pid } = held.process;
  assert.deepEqual(cgroups.processes(path), [pid]);
  assert.equal(readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('cgroup'), false);
  await end(held);
  const missing = { joinFiles: cgroups.joinFiles(`${path}/none`) };
  const lost = await hold(t, request(scratch(t, mounts), missing));
  await assert.rejects(lost.release(), (error) => hasCode(error, 'NotFound'));
  await lost.abandon();
});

test('a container that shares the pid namespace sees nothing of the host through /proc/1', async (t) => {
  const pins = scratch(t, mounts);
  const held = await hold(t, request(pins));
  await held.release();
  const script = `mount -t proc proc /proc; for way in root cwd; do echo "$way: $(ls -A /proc/1/$way/) $(ls -A /proc/1/$way/../..)"; done
    echo "fd: $(ls -A /proc/1/fd)"; readlink /proc/1/exe; wc -l < /proc/1/mountinfo; nsenter -t 1 -m ls / 2>&1; tr '\\0' ' ' < /proc/1/cmdline`;
  const privileged = inside(held, ['pid'], `unshare -m sh -c '${script.replaceAll("'", "'\\''")}'`)
    .trim()
    .split('\n');
  assert.deepEqual(privileged.slice(0, 5), [
    'root:  ',
    'cwd:  ',
    'fd: ',
    '/memfd:crisp-pause (deleted)',
    '1',
  ]);
  assert.match(privileged[5] ?? '', /No such file/, 'not even a program to run in its mount namespace');
  assert.equal(privileged[6], 'crisp-pause 65535 65535 0');
  const drop = 'setpriv --bounding-set -all --inh-caps -all';
  const listing = 'for way in root/ cwd/ exe fd/; do ls /proc/1/$way 2>&1; done; true';
  const plain = inside(
    held,
    ['pid'],
    `unshare -m sh -c 'mount -t proc proc /proc; exec ${drop} sh -c "$0"' '${listing}'`,
  );
  const lines = plain.trim().split('\n');
  assert.ok(lines.length === 3 && lines.every((line) => line.endsWith('Permission denied')), plain);
  await end(held);
  await namespaces.unpin(pins);
});

test('as PID 1 it reaps what is left to it', async (t) => {
  const pins = scratch(t, mounts);
  const held = await hold(t, request(pins));
  await held.release();
  const children = `/proc/${held.process.pid}/task/${held.process.pid}/children`;
  inside(held, ['pid'], 'exec >/dev/null 2>&1; sleep 0.3 & sleep 0.4 & sleep 1000 & true');
  await within(() => readFileSync(children, 'utf8').trim().split(' ').length === 3);
  await within(() => readFileSync(children, 'utf8').trim().split(' ').length === 1);
  await end(held);
  await namespaces.unpin(pins);
});

test('held, it ends with its start pipe; retries and failures leave nothing', async (t) => {
  const pins = scratch(t, mounts);
  const before = readdirSync('/proc/self/fd').length;
  const held = await hold(t, request(pins));
  await held.abandon();
  await held.abandon();
  assert.equal(processes.alive(held.process), false);
  const again = await hold(t, request(pins));
  assert.equal(mounts.below(pins).length, 4, 'the pins of the first try are replaced');
  await again.abandon();
  await namespaces.unpin(pins);
  const missing = namespaces.hold(request(join(pins, 'missing')), soon());
  await assert.rejects(missing, (error) => hasCode(error, 'NotFound') && error.message.includes('missing'));
  const wrong = namespaces.hold(request(pins, { sysctls: { 'net.ipv4.ip_forward': 'x' } }), soon());
  await assert.rejects(
    wrong,
    (error) => hasCode(error, 'InvalidArgument') && /net\.ipv4\.ip_forward to "x"/.test(error.message),
  );
  const none = namespaces.hold(request(pins, { sysctls: { 'net.ipv4.ip_forwad': '1' } }), soon());
  await assert.rejects(
    none,
    (error) => hasCode(error, 'InvalidArgument') && /no such key/.test(error.message),
  );
  await assert.rejects(namespaces.hold(request(pins), AbortSignal.abort()), (error) =>
    hasCode(error, 'Cancelled'),
  );
  assert.deepEqual([readdirSync(pins), mounts.below(pins)], [[], []]);
  await within(() => readdirSync('/proc/self/fd').length <= before + 1);
});

test('what is not a pod namespace or would change the node is refused', async (t) => {
  const pins = scratch(t, mounts);
  const refusals: [Partial<PauseRequest>, RegExp][] = [
    [{ sysctls: { 'kernel.panic': '1' } }, /kernel\.panic belongs to no namespace/],
    [{ sysctls: { 'net.ipv4.ip_forward': '1' }, kinds: ['ipc'] }, /belongs to the net namespace/],
    [{ sysctls: { 'net..x': '1' } }, /not a key/],
    [{ sysctls: { 'net/../kernel/panic': '1' } }, /not a key/],
    [{ sysctls: { '../net.x': '1' } }, /not a key/],
    [{ kinds: ['mnt'] }, /cannot hold a mnt namespace/],
    [{ kinds: ['user'] }, /go together/],
    [{ hostname: 'x'.repeat(65) }, /longer than 64/],
    [{ kinds: ['user', 'net'], userNamespace: { uids: [], gids: mapped(10) } }, /uid map .* no id 0/],
  ];
  for (const [more, pattern] of refusals) {
    const attempt = namespaces.hold(request(pins, more), soon());
    await assert.rejects(
      attempt,
      (error) => hasCode(error, 'InvalidArgument') && pattern.test(error.message),
      `${pattern}`,
    );
  }
  assert.deepEqual(readdirSync(pins), []);
});

for (const [length, id] of [
  [65_536, 65_535],
  [1000, 999],
] as const) {
  test(`with a user namespace of ${length} ids it makes the others itself`, async (t) => {
    const pins = scratch(t, mounts);
    const sysctls = { 'net.ipv4.ip_forward': '1', 'kernel.shm_rmid_forced': '1', 'fs.mqueue.msg_max': '21' };
    const userNamespace = { uids: mapped(length), gids: mapped(length) };
    const wanted = request(pins, { kinds: ['user', ...all], sysctls, userNamespace });
    const held = await hold(t, wanted);
    await held.release();
    assertSealed(held.process, 200_000 + id);
    for (const file of ['uid_map', 'gid_map']) {
      const map = readFileSync(`/proc/${held.process.pid}/${file}`, 'utf8').trim().split(/\s+/);
      assert.deepEqual(map, ['0', '200000', `${length}`]);
    }
    const seen = inside(
      held,
      ['user', 'net', 'ipc', 'uts', 'pid'],
      `id -u; hostname; cd /proc/sys
      cat net/ipv4/ip_forward kernel/shm_rmid_forced fs/mqueue/msg_max; ip -br addr; ip link add type bridge && echo owned`,
    );
    assert.match(seen, /^0\npod-1\n1\n1\n21\nlo .*127\.0\.0\.1\/8 .*\nowned\n$/);
    await end(held);
    await namespaces.unpin(pins);
    assert.deepEqual([readdirSync(pins), mounts.below(pins)], [[], []]);
  });
}

test('a user namespace without a pid namespace, and id maps that the kernel refuses', async (t) => {
  const pins = scratch(t, mounts);
  const userNamespace = { uids: mapped(65_536), gids: mapped(65_536) };
  const held = await hold(t, request(pins, { kinds: ['user', 'net'], userNamespace }));
  await held.release();
  assertSealed(held.process, 265_535);
  assert.equal(processes.alive(held.process), true);
  await end(held);
  const overlap = { uids: [...mapped(10), ...mapped(10)], gids: mapped(10) };
  const refused = namespaces.hold(request(pins, { kinds: ['user', 'net'], userNamespace: overlap }), soon());
  await assert.rejects(refused, (error) => hasCode(error, 'KernelRefused') && /uid_map/.test(error.message));
  assert.deepEqual([readdirSync(pins), mounts.below(pins)], [[], []]);
});

async function daemon(pins: string, verb: string) {
  const script = fileURLToPath(new URL('./hold-child.ts', import.meta.url));
  const child = spawn(process.execPath, [script, pins, verb], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(createInterface(child.stdout), 'line');
  return { child, pause: JSON.parse(line) as ProcessRef };
}

test('a daemon killed in the middle of a hold leaves no pause, and its pins can be removed', async (t) => {
  const pins = scratch(t, mounts);
  const { child, pause } = await daemon(pins, 'hold');
  assert.equal(processes.alive(pause), true);
  const watched = namespaces.watch(pause, soon());
  child.kill('SIGKILL');
  await watched;
  assert.equal(processes.alive(pause), false);
  assert.equal(mounts.below(pins).length, 4);
  await namespaces.unpin(pins);
  assert.deepEqual([readdirSync(pins), mounts.below(pins)], [[], []]);
});

test('a released pause outlives its daemon and is watched by the next', async (t) => {
  const pins = scratch(t, mounts);
  const { child, pause } = await daemon(pins, 'release');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assertSealed(pause, 65535);
  const abort = new AbortController();
  const given = namespaces.watch(pause, abort.signal);
  abort.abort();
  await assert.rejects(given, (error) => hasCode(error, 'Cancelled'));
  let gone = false;
  const watched = namespaces.watch(pause, soon()).then(() => (gone = true));
  await readFile('/proc/self/stat');
  assert.equal(gone, false);
  processes.signal(pause, 15);
  await watched;
  await namespaces.watch(pause, soon());
  await namespaces.watch({ ...pause, bootId: 'an earlier boot' }, soon());
  await namespaces.unpin(pins);
});

test('all threads of the daemon stay in the namespaces of the host', async (t) => {
  const pins = scratch(t, mounts);
  const userNamespace = { uids: mapped(65_536), gids: mapped(65_536) };
  const attempts: Partial<PauseRequest>[] = [
    {},
    { sysctls: { 'net.ipv4.ip_forward': 'x' } },
    { pins: join(pins, 'missing') },
    { hostname: 'a\0b' },
    { kinds: ['user', ...all], userNamespace, sysctls: { 'fs.mqueue.msg_max': '21' } },
    { kinds: ['user', ...all], userNamespace, sysctls: { 'fs.mqueue.msg_max': 'x' } },
  ];
  let failed = 0;
  for (let round = 0; round < 3; round++) {
    for (const more of attempts) {
      const work = Array.from({ length: 8 }, (_, n) =>
        readFile(`/proc/self/task/${process.pid}/stat${n % 2 ? '' : 'm'}`),
      );
      const held = await namespaces.hold(request(pins, more), soon()).catch(() => failed++);
      if (typeof held === 'object') await held.abandon();
      await Promise.all(work);
    }
  }
  assert.equal(failed, 12);
  await namespaces.pinEmptyNetwork(join(pins, 'empty'));
  const tasks = readdirSync('/proc/self/task');
  assert.ok(tasks.length > 6, 'pool, V8 and worker threads');
  for (const kind of ['net', 'ipc', 'uts', 'pid', 'pid_for_children', 'mnt', 'user', 'cgroup']) {
    const own = readlinkSync(`/proc/self/ns/${kind}`);
    for (const task of tasks)
      assert.equal(readlinkSync(`/proc/self/task/${task}/ns/${kind}`), own, `${kind} of ${task}`);
  }
  for (const task of tasks) {
    const uid = /^Uid:\s+(.*)$/m.exec(readFileSync(`/proc/self/task/${task}/status`, 'utf8'))?.[1];
    assert.equal(uid, '0\t0\t0\t0');
  }
  const links = execFileSync('nsenter', [`--net=${join(pins, 'empty')}`, 'ip', '-br', 'link'], {
    encoding: 'utf8',
  });
  assert.match(links, /^lo .*\n$/);
});

test('a label that the policy refuses is logged once, and the pause process is sealed without it', async (t) => {
  const lines: object[] = [];
  const log = { warn: (fields: object) => void lines.push(fields) };
  const other = await openKernel({ log });
  t.after(() => other.close());
  const label = 'system_u:system_r:no_such_type_t:s0';
  for (const more of [
    {},
    { kinds: ['user', ...all], userNamespace: { uids: mapped(65_536), gids: mapped(65_536) } },
  ] as const) {
    const pins = scratch(t, mounts);
    const held = await other.namespaces.hold(request(pins, { ...more, label }), soon());
    await held.release();
    assertSealed(held.process, more.kinds ? 265_535 : 65_535);
    await end(held);
    await namespaces.unpin(pins);
  }
  assert.partialDeepStrictEqual(lines, [{ label, errno: 'EINVAL' }]);
  assert.equal(lines.length, 1);
});
