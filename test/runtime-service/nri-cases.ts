/** What plugins change of real containers, and what they cannot hold up; the same with each OCI runtime. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test, { after } from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { ContainerAdjustment } from '#core/model/adjustment.ts';
import { noResources } from '#core/model/resources.ts';
import { NriBench } from './nri-bench.ts';

const change = <T>(set: Record<string, T>, removed: string[] = []) => ({ set, removed });
const podLimits = (limits: object) => ({ overhead: undefined, resources: { ...noResources, ...limits } });
const never = () => new Promise<never>(() => {});

/** Of a container's process: it is the OCI runtime's for a moment after StartContainer, until that executes the program. */
async function environmentOf(pid: number | undefined): Promise<string[]> {
  for (;;) {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    if (environment.includes('KEPT=1')) return environment;
    await new Promise(setImmediate);
  }
}

/** Defines the tests. Containers are made in a pod that all share. */
export async function nriCases(handler: string): Promise<void> {
  const bench = await NriBench.open(handler);
  after(() => bench[Symbol.asyncDispose]());
  const { plugins, fixture } = bench;
  const pod = await bench.runPod();

  const refused = async (adjustment: ContainerAdjustment, text: RegExp) => {
    plugins.onCreate = async () => adjustment;
    await assert.rejects(bench.create(pod), (error) => {
      assert.ok(hasCode(error, 'FailedPrecondition'), String(error));
      assert.match(error.message, text);
      return true;
    });
    plugins.onCreate = async () => undefined;
    assert.deepEqual(bench.containers.list(), []);
  };
  const gone = async (id: ContainerId) => {
    await bench.containers.remove(id, bench.op());
    await bench.containers.removeAll(pod, bench.op());
    assert.deepEqual(bench.traces(pod), []);
  };

  test('what plugins adjust is what the container has', async () => {
    const source = join(fixture.directory, 'source');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'from the node');
    const marker = join(fixture.directory, 'hook-ran');
    const id = await bench.run(
      pod,
      {
        annotations: change({ 'nri.test/added': '1' }),
        env: change({ A: 'a=b', B: '2' }, ['GONE']),
        args: ['sh', '-c', 'cat /mnt/file > /out; sleep 1000'],
        mounts: {
          set: [{ destination: '/mnt', type: 'bind', source, options: ['ro'] }],
          removed: ['/dev/mqueue'],
        },
        hooks: { createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', `echo ran > ${marker}`], env: [] }] },
        rlimits: [{ type: 'RLIMIT_CORE', soft: 3n, hard: 7n }],
        oomScoreAdj: 321,
        devices: { set: [{ path: '/dev/nri', type: 'c', major: 1, minor: 5, fileMode: 0o640 }], removed: [] },
        sysctl: change({ 'net.core.somaxconn': '777' }),
      },
      {
        envs: [
          { key: 'GONE', value: '1' },
          { key: 'KEPT', value: '1' },
        ],
      },
    );
    const environment = await environmentOf(bench.record(id).process?.pid);
    assert.ok(environment.includes('A=a=b') && environment.includes('B=2') && environment.includes('KEPT=1'));
    assert.ok(!environment.includes('GONE=1'));
    assert.match(await bench.exec(id, 'env'), /^A=a=b$/m, 'commands have it as well');
    assert.equal(await bench.exec(id, 'cat', '/mnt/file'), 'from the node');
    assert.match(await bench.exec(id, 'touch', '/mnt/x'), /Read-only/);
    assert.doesNotMatch(await bench.exec(id, 'cat', '/proc/mounts'), /mqueue/);
    assert.equal(readFileSync(marker, 'utf8'), 'ran\n');
    const { pid } = bench.record(id).process ?? {};
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +3 +7 /m);
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'), '321\n');
    assert.equal(await bench.exec(id, 'stat', '-c', '%t:%T %a', '/dev/nri'), '1:5 640');
    assert.equal(
      await bench.exec(id, 'sh', '-c', 'head -c 1 /dev/nri >/dev/null 2>&1; : < /dev/nri && echo open'),
      'open',
    );
    assert.equal(await bench.exec(id, 'cat', '/proc/sys/net/core/somaxconn'), '777');
    const record = bench.record(id);
    assert.equal(record.resources.oomScoreAdj, 321n);
    assert.deepEqual(record.nri?.owners, plugins.owners);
    assert.deepEqual(
      record.mounts.map(({ containerPath, hostPath }) => [containerPath, hostPath]),
      [['/mnt', source]],
    );
    const spec = (await bench.containers.spec(id)) as { annotations: Record<string, string> };
    assert.equal(spec.annotations['nri.test/added'], '1');
    await gone(id);
  });

  test('a CDI device, a namespace of its own, and a seccomp policy', async () => {
    const document = {
      cdiVersion: '0.6.0',
      kind: 'nri.test/x',
      devices: [{ name: 'one', containerEdits: { env: ['CDI=1'] } }],
    };
    writeFileSync(join(fixture.directory, 'cdi/x.json'), JSON.stringify(document));
    const id = await bench.run(pod, {
      cdiDevices: ['nri.test/x=one'],
      namespaces: change({ network: { path: '' } }),
      seccompPolicy: {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: [],
        flags: [],
        syscalls: [{ names: ['chmod', 'fchmodat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, args: [] }],
      },
    });
    assert.match(await bench.exec(id, 'env'), /^CDI=1$/m);
    assert.equal(await bench.exec(id, 'ls', '/sys/class/net'), 'lo');
    assert.match(await bench.exec(id, 'chmod', '700', '/tmp'), /not permitted/);
    await gone(id);
  });

  test('the cgroup that a plugin has named is the one that is limited, killed and removed', async () => {
    const { cgroup } = bench.record(await bench.create(pod));
    const path = `${dirname(cgroup.path)}/nri-own`;
    const id = await bench.run(pod, { cgroupsPath: path, resources: { pids: 55n } });
    assert.equal(bench.record(id).cgroup.path, path);
    const pid = bench.record(id).process?.pid ?? 0;
    assert.match(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), new RegExp(`:pids:${path}$|^0::${path}$`, 'm'));
    assert.equal(bench.file(id, 'pids.max'), '55');
    await bench.closeServices();
    await bench.openServices();
    assert.equal(bench.record(id).cgroup.path, path, 'a restart shows it');
    assert.equal(await bench.exec(id, 'sh', '-c', 'echo well'), 'well');
    await bench.containers.stop(id, 0, bench.op());
    await gone(id);
    assert.ok(!fixture.kernel.cgroups.exists(path));
  });

  test('priorities are applied, or refused where the OCI runtime would ignore them', async () => {
    const ioPriority = { class: 'IOPRIO_CLASS_IDLE', priority: 7 };
    const none = { nice: 0, priority: 0, flags: [], runtime: 0n, deadline: 0n, period: 0n };
    const scheduler = { ...none, policy: 'SCHED_BATCH', nice: 3 };
    const features = await bench.handlers.get(handler).features();
    if (!features.ioPriority || !features.scheduler) {
      await refused({ ioPriority }, /ioPriority is not applied by runtime handler .*version 1\./);
      await refused({ scheduler }, /scheduler is not applied by runtime handler/);
    } else {
      const id = await bench.run(pod, { ioPriority, scheduler });
      const pid = `${bench.record(id).process?.pid}`;
      assert.match(await fixture.run('ionice', '-p', pid), /^idle/);
      assert.match(await fixture.run('chrt', '-p', pid), /SCHED_BATCH/);
      await gone(id);
    }
  });

  test('what cannot be is refused with field and plugin, and nothing is left', async () => {
    await refused({ args: [] }, /NRI plugin 10-test: args name no program/);
    await refused({ env: change({ A: 'a\0' }) }, /NRI plugin 10-test: env "A"/);
    await refused({ cgroupsPath: '/elsewhere' }, /cgroupsPath "\/elsewhere"/);
    await refused({ sysctl: change({ 'vm.swappiness': '1' }) }, /sysctl "vm\.swappiness"/);
    await refused({ cdiDevices: ['nri.test/x=none'] }, /cdiDevices cannot be applied/);
    await refused({ namespaces: change({ ipc: { path: '/etc/passwd' } }) }, /is no namespace/);
    await bench.containers.removeAll(pod, bench.op());
    assert.deepEqual(bench.traces(pod), []);
    assert.deepEqual(plugins.events.slice(-3), ['create', 'stopped', 'removed']);
  });

  test('limits for which CRI has no field, at the creation and later', async () => {
    const reservation = fixture.kernel.cgroups.version === 1 ? 'memory.soft_limit_in_bytes' : 'memory.low';
    const id = await bench.run(pod, { resources: { memory: { reservation: 8n << 20n }, pids: 44n } });
    assert.deepEqual([bench.file(id, reservation), bench.file(id, 'pids.max')], [`${8 << 20}`, '44']);
    await bench.containers.adjustResources(id, { pids: 33n, cpu: { shares: 300n } }, bench.op());
    assert.equal(bench.file(id, 'pids.max'), '33');
    assert.equal(bench.record(id).resources.cpuShares, 300n);
    plugins.onUpdate = async () => ({ memory: { limit: 96n << 20n }, pids: 22n });
    await bench.containers.updateResources(id, { ...noResources, memoryLimitBytes: 64n << 20n }, bench.op());
    plugins.onUpdate = async () => undefined;
    assert.equal(
      bench.record(id).resources.memoryLimitBytes,
      96n << 20n,
      "the plugin's goes before the request's",
    );
    assert.deepEqual(bench.record(id).otherLimits, { reservation: 8n << 20n, pids: 22n });
    assert.equal(bench.record(id).otherUpdate, undefined);
    assert.equal(bench.file(id, 'pids.max'), '22');
    assert.deepEqual(plugins.events.slice(-2), ['update', 'updated']);
    const wrong = bench.containers.adjustResources(id, { memory: { useHierarchy: false } }, bench.op());
    await assert.rejects(wrong, /NRI: memory\.useHierarchy/);
    const named = bench.containers.adjustResources(id, { pids: 11n, rdtClass: 'gold' }, bench.op());
    await assert.rejects(named, /rdtClass/);
    assert.equal(bench.file(id, 'pids.max'), '22', 'nothing of a refused change');
    const created = await bench.create(pod);
    await bench.containers.adjustResources(created, { pids: 66n }, bench.op());
    await bench.containers.start(created, bench.op());
    assert.equal(bench.file(created, 'pids.max'), '66');
    await bench.containers.remove(id, bench.op());
    await gone(created);
  });

  test('limits that no container can have are refused before plugins are asked', async () => {
    const id = await bench.run(pod, {});
    plugins.events.length = 0;
    const update = (limits: object) =>
      bench.containers.updateResources(id, { ...noResources, ...limits }, bench.op());
    await assert.rejects(update({ cpuShares: -1n }), /cpu_shares -1 is negative/);
    await assert.rejects(update({ cpusetCpus: 'all' }), /cpuset_cpus "all"/);
    await assert.rejects(bench.pods.updateResources(pod, podLimits({ cpuShares: -1n }), bench.op()), {
      code: 'InvalidArgument',
    });
    assert.deepEqual(plugins.events, []);
    await gone(id);
  });

  test('plugins are told in order; one that has never run stops before it is removed', async () => {
    plugins.events.length = 0;
    plugins.seen.length = 0;
    const id = await bench.run(pod, {});
    await bench.containers.stop(id, 0, bench.op());
    await bench.containers.remove(id, bench.op());
    const life = ['create', 'created', 'start', 'started', 'stopped', 'removed'];
    assert.deepEqual(plugins.events, life);
    for (const { spec } of plugins.seen) assert.equal(spec?.process.args[0], 'sleep');
    assert.deepEqual(
      plugins.seen.map(({ record }) => record.state),
      ['creating', 'created', 'created', 'running', 'exited', 'exited'],
    );
    plugins.events.length = 0;
    await gone(await bench.create(pod));
    assert.deepEqual(plugins.events, ['create', 'created', 'stopped', 'removed']);
    plugins.events.length = 0;
    plugins.listening = false;
    await gone(await bench.run(pod, {}));
    plugins.listening = true;
    assert.deepEqual(plugins.events, []);
  });

  test('a plugin that refuses a start ends it; one that refuses a creation leaves nothing', async () => {
    const no = async (): Promise<never> => {
      throw new CrispError('FailedPrecondition', 'NRI plugin 10-test: no');
    };
    const id = await bench.create(pod);
    plugins.onStart = no;
    await assert.rejects(bench.containers.start(id, bench.op()), /10-test: no/);
    plugins.onStart = async () => {};
    const { state, exit } = bench.record(id);
    assert.deepEqual([state, exit?.code, exit?.reason], ['exited', 128, 'StartError']);
    assert.match(exit?.message ?? '', /10-test: no/);
    assert.equal(plugins.events.at(-1), 'stopped');
    plugins.onCreate = no;
    await assert.rejects(bench.create(pod), /10-test: no/);
    plugins.onCreate = async () => undefined;
    await gone(id);
  });

  test('a plugin that hangs holds up neither stop nor removal', async () => {
    const running = await bench.run(pod, {});
    plugins.onUpdate = never;
    const leaving = new AbortController();
    const limits = { ...noResources, cpuShares: 100n };
    const update = bench.containers.updateResources(running, limits, bench.op(leaving.signal));
    await bench.containers.stop(running, 0, bench.op());
    const created = await bench.create(pod);
    plugins.onStart = never;
    const start = bench.containers.start(created, bench.op(leaving.signal));
    const ended = assert.rejects(start, { code: 'Aborted' });
    await bench.containers.remove(created, bench.op());
    await ended;
    leaving.abort();
    await assert.rejects(update, { code: 'Cancelled' });
    plugins.onCreate = never;
    const client = new AbortController();
    const creation = bench.create(pod, {}, client.signal);
    while (plugins.events.at(-1) !== 'create') await new Promise(setImmediate);
    client.abort();
    await assert.rejects(creation, { code: 'Cancelled' });
    plugins.onCreate = async () => undefined;
    plugins.onStart = async () => {};
    plugins.onUpdate = async () => undefined;
    await gone(running);
  });

  test('a container that is stopped while plugins are asked of its start does not start', async () => {
    const answer = Promise.withResolvers<void>();
    plugins.onStart = () => answer.promise;
    const id = await bench.create(pod);
    const start = bench.containers.start(id, bench.op()).catch((error: unknown) => error);
    while (plugins.events.at(-1) !== 'start') await new Promise(setImmediate);
    await bench.containers.stop(id, 0, bench.op());
    const { state, exit } = bench.record(id);
    answer.resolve();
    plugins.onStart = async () => {};
    const error = await start;
    assert.ok(hasCode(error, 'Aborted'), String(error));
    assert.deepEqual([state, exit?.reason, plugins.events.at(-1)], ['exited', 'StartError', 'stopped']);
    assert.match(exit?.message ?? '', /was stopped before it ran/);
    await gone(id);
  });

  test('a container that a plugin evicts says so in its exit', async () => {
    const id = await bench.run(pod, {
      args: ['sh', '-c', 'trap "exit 5" TERM; while :; do sleep 0.05; done'],
    });
    await bench.exec(id, 'sh', '-c', 'echo runs');
    await bench.containers.evict(id, 'too\nbusy', bench.op());
    const { exit } = bench.record(id);
    assert.equal(exit?.message, 'evicted by an NRI plugin: too busy');
    await gone(id);
  });

  test('an eviction that a daemon has not finished is finished by the next one', async () => {
    const trap = 'n=0; trap "n=\\$((n+1)); touch /asked; [ \\$n -gt 1 ] && exit 9" TERM';
    const id = await bench.run(pod, {
      args: ['sh', '-c', `${trap}; touch /ready; while :; do sleep 0.05; done`],
    });
    const made = (path: string) => bench.exec(id, 'sh', '-c', `until [ -e ${path} ]; do sleep 0.01; done`);
    await made('/ready');
    const eviction = bench.containers.evict(id, 'busy', bench.op()).catch((error: unknown) => error);
    await made('/asked');
    await bench.closeServices();
    assert.ok(hasCode(await eviction, 'Unavailable'));
    await bench.openServices();
    const ended = Promise.withResolvers<void>();
    const look = () => bench.record(id).state === 'exited' && ended.resolve();
    const end = bench.containers.onChange(look);
    look();
    await ended.promise;
    end();
    assert.equal(bench.record(id).exit?.message, 'evicted by an NRI plugin: busy');
    assert.equal(bench.record(id).exit?.code, 9, 'it is asked again before it is killed');
    await gone(id);
  });

  test('a pod is run, updated, stopped and removed with its plugins; a refusal undoes it', async () => {
    const events: string[] = [];
    const tell = (event: string) => (of: { id: SandboxId; pid: number }) =>
      void events.push(`${event} ${of.pid > 0}`);
    bench.podPlugins = {
      listening: true,
      run: async (of) =>
        tell(`run ${of.ips.length > 0} ${of.namespaces.some(({ type }) => type === 'network')}`)(of),
      update: async (of, { resources }) => tell(`update ${resources.cpuShares}`)(of),
      updated: tell('updated'),
      stopped: tell('stopped'),
      removed: tell('removed'),
    };
    const own = await bench.runPod();
    assert.ok(bench.pods.pluginPods().some(({ id }) => id === own));
    await bench.pods.updateResources(own, podLimits({ cpuShares: 512n }), bench.op());
    await bench.pods.stop(own, bench.op());
    await bench.pods.stop(own, bench.op());
    await bench.pods.remove(own, bench.op());
    assert.deepEqual(events, [
      'run true true true',
      'update 512 true',
      'updated true',
      'stopped true',
      'removed false',
    ]);
    const dying = await bench.runPod();
    const pause = bench.pods.get(dying)?.process;
    assert.ok(pause);
    await bench.closeServices();
    events.length = 0;
    process.kill(pause.pid, 'SIGKILL');
    while (fixture.kernel.processes.alive(pause)) await new Promise(setImmediate);
    await bench.openServices();
    assert.deepEqual(events, ['stopped false'], 'one that has ended while no daemon ran');
    await bench.pods.remove(dying, bench.op());
    events.length = 0;
    bench.podPlugins = {
      ...bench.podPlugins,
      run: () => Promise.reject(new CrispError('FailedPrecondition', 'no')),
    };
    await assert.rejects(bench.runPod(), /no/);
    assert.deepEqual(
      events.map((event) => event.split(' ')[0]),
      ['stopped', 'removed'],
    );
    assert.deepEqual(bench.traces(pod), []);
    assert.deepEqual(
      bench.pods.list().map(({ id }) => id),
      [pod],
    );
  });

  test('no plugin that listens: nothing is spent on the calls of a pod', async () => {
    const told: string[] = [];
    const tell = (event: string) => () => void told.push(event);
    bench.podPlugins = {
      listening: false,
      run: async () => tell('run')(),
      update: async () => tell('update')(),
      updated: tell('updated'),
      stopped: tell('stopped'),
      removed: tell('removed'),
    };
    const op = bench.op();
    const own = await bench.pods.run({ config: fixture.config(), runtimeHandler: '' }, op);
    await bench.pods.updateResources(own, podLimits({ cpuShares: 512n }), op);
    await bench.pods.stop(own, op);
    await bench.pods.remove(own, op);
    assert.deepEqual(told, []);
    assert.ok(op.stages.length > 0 && !op.stages.some(({ name }) => name === 'NRI'));
  });
}
