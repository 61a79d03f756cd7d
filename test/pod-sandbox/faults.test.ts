import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { PodSandboxes, SandboxConfig } from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

const request = (config: SandboxConfig) => ({ config, runtimeHandler: '' });

/** A plugin that passes the result on, and writes each call down. */
const LOGGING = (fixture: PodsFixture): string =>
  `echo "$CNI_COMMAND netns=$CNI_NETNS" >> ${fixture.directory}/calls; cat > ${fixture.directory}/last-$CNI_COMMAND`;
const PASS = `[ "$CNI_COMMAND" = DEL ] || sed 's/.*"prevResult"://; s/}$//' ${'$'}{0%/*}/../last-ADD`;

const calls = async (fixture: PodsFixture): Promise<string[]> =>
  (await readFile(join(fixture.directory, 'calls'), 'utf8').catch(() => '')).split('\n').filter(Boolean);

async function fails(
  service: PodSandboxes,
  fixture: PodsFixture,
  code: string,
  ...words: string[]
): Promise<void> {
  await assert.rejects(service.run(request(fixture.config()), fixture.operation()), (error: unknown) => {
    assert.ok(error instanceof CrispError, String(error));
    assert.equal(error.code, code, error.message);
    for (const word of words) assert.ok(error.message.includes(word), `${error.message} lacks ${word}`);
    return true;
  });
}

test('a plugin that fails, prints invalid output, too much or nothing, or is missing: named, and nothing remains', async (t) => {
  const cases: [string, string, string[]][] = [
    ['fails', `echo '{"code":7,"msg":"no such vlan"}'; exit 1`, ['no such vlan', 'code 7', 'exit 1']],
    ['complains', 'echo "what a day" >&2; exit 3', ['what a day', 'exit 3']],
    ['nonsense', 'echo hello', ['no JSON', 'hello']],
    ['silence', 'true', ['printed nothing']],
    ['megabytes', 'head -c 3000000 /dev/zero', ['more than']],
    ['invalid', `echo '{"cniVersion":"1.0.0","ips":[{"address":"not one"}]}'`, ['address']],
    ['dies', 'kill -9 $$', ['signal 9']],
  ];
  for (const [name, script, words] of cases) {
    await t.test(name, async () => {
      await using fixture = await PodsFixture.make();
      await fixture.plugin('bad', `${LOGGING(fixture)}; [ $CNI_COMMAND = DEL ] && exit 0; ${script}`);
      await fixture.useNetwork([{ type: 'bad' }]);
      const service = await fixture.open();
      await fails(service, fixture, 'NetworkFailed', 'bad', '10-test.conflist', ...words);
      assert.deepEqual(
        (await calls(fixture)).map((line) => line.split(' ')[0]),
        ['ADD', 'DEL'],
      );
      assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
    });
  }
  await t.test('missing', async () => {
    await using fixture = await PodsFixture.make();
    await fixture.useNetwork([{ type: 'nowhere' }]);
    const service = await fixture.open();
    await fails(service, fixture, 'NetworkFailed', 'nowhere', 'plugins');
    assert.deepEqual([service.list(), service.leaks(), await fixture.leftovers()], [[], [], []]);
  });
});

test('a plugin that hangs is ended with all its children at the deadline', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin(
    'hang',
    `${LOGGING(fixture)}; [ $CNI_COMMAND = DEL ] && exit 0; sleep 1000 & echo $! > ${fixture.directory}/pid; wait`,
  );
  await fixture.useNetwork([{ type: 'hang' }]);
  const service = await fixture.open({ deadlines: { networkAdd: 700 } });
  await fails(service, fixture, 'DeadlineExceeded', 'CNI ADD hang');
  const child = Number(await readFile(join(fixture.directory, 'pid'), 'utf8'));
  assert.equal(fixture.kernel.processes.reference(child), undefined);
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
});

test('a plugin that hangs in DEL too does not keep the others from releasing', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin('hang', 'sleep 1000');
  await fixture.useNetwork([{ type: 'hang' }]);
  const service = await fixture.open({ deadlines: { networkAdd: 600, networkDel: 1000 } });
  await fails(service, fixture, 'DeadlineExceeded', 'CNI ADD hang');
  assert.match(service.list()[0]?.detail ?? '', /CNI DEL hang/);
  assert.deepEqual([await fixture.addresses(), await fixture.veths()], [[], []]);
  await fixture.plugin('hang', 'exit 0');
  await service.remove(service.list()[0]?.id ?? assert.fail(), fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('what DEL cannot undo stays listed as not ready; the next run or removal undoes it', async () => {
  await using fixture = await PodsFixture.make();
  const script = (del: string) =>
    `${LOGGING(fixture)}; if [ $CNI_COMMAND = DEL ]; then ${del}; fi; echo broken >&2; kill -9 $$`;
  await fixture.plugin('bad', script('exit 5'));
  await fixture.useNetwork([{ type: 'bad' }]);
  const service = await fixture.open();
  const config = fixture.config();
  const run = () => service.run(request(config), fixture.operation());
  await assert.rejects(run(), /broken/);
  const [left] = service.list();
  assert.deepEqual([left?.state, left?.reason], ['notReady', 'failed']);
  assert.match(left?.detail ?? '', /broken.*network.*bad/);
  assert.deepEqual(
    [await fixture.addresses(), await fixture.veths()],
    [[], []],
    'the bridge released its part',
  );
  await assert.rejects(run(), (error) => hasCode(error, 'NetworkFailed'), 'still not undone');
  await fixture.plugin('bad', script('exit 0'));
  await assert.rejects(run(), /broken/);
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
});

test('DEL uses what was recorded at ADD: without the configuration, without the namespace, after a reboot', async (t) => {
  const started = async (fixture: PodsFixture): Promise<[PodSandboxes, SandboxId]> => {
    await fixture.plugin('note', `${LOGGING(fixture)}; ${PASS}`);
    await fixture.useNetwork([{ type: 'note', marker: 'recorded' }]);
    const service = await fixture.open();
    const id = await service.run(request(fixture.config()), fixture.operation());
    await rm(join(fixture.options.network.confDir, '10-test.conflist'));
    return [service, id];
  };
  await t.test('without the configuration', async () => {
    await using fixture = await PodsFixture.make();
    const [service, id] = await started(fixture);
    const net = service.get(id)?.network.namespace;
    await service.remove(id, fixture.operation());
    assert.deepEqual(await calls(fixture), [`ADD netns=${net}`, `DEL netns=${net}`]);
    const { marker, prevResult } = JSON.parse(await readFile(join(fixture.directory, 'last-DEL'), 'utf8'));
    assert.equal(marker, 'recorded');
    assert.equal(prevResult.ips.length, 2);
    assert.deepEqual(await fixture.leftovers(), []);
  });
  await t.test('without the namespace', async () => {
    await using fixture = await PodsFixture.make();
    const [service, id] = await started(fixture);
    const net = service.get(id)?.network.namespace ?? '';
    await fixture.kernel.mounts.unmount(net);
    await service.remove(id, fixture.operation());
    assert.equal((await calls(fixture)).at(-1), 'DEL netns=');
    assert.deepEqual(await fixture.addresses(), []);
  });
  await t.test('rebooted', async () => {
    await using fixture = await PodsFixture.make();
    const [service, id] = await started(fixture);
    const { process, createdAt } = service.get(id) ?? {};
    await service.close();
    // The record of another boot, whose pid now belongs to an unrelated process.
    const path = join(fixture.options.root, 'sandboxes', id, 'record.json');
    const unrelated = await fixture.kernel.processes.spawn({ argv: ['sleep', '1000'], env: {} });
    const { pid, startTime } = unrelated.process;
    const recorded = (await readFile(path, 'utf8'))
      .replaceAll(fixture.kernel.processes.bootId, 'another-boot')
      .replaceAll(
        `"pid":${process?.pid},"startTime":"${process?.startTime}"`,
        JSON.stringify({ pid, startTime }).slice(1, -1),
      );
    assert.ok(recorded.includes(`"pid":${pid}`));
    await writeFile(path, recorded);
    const after = await fixture.open();
    assert.deepEqual(
      [after.get(id)?.state, after.get(id)?.reason, after.get(id)?.createdAt],
      ['notReady', 'dead', createdAt],
    );
    await after.recover(fixture.operation());
    assert.equal((await calls(fixture)).at(-1), 'DEL netns=');
    assert.deepEqual(await fixture.addresses(), []);
    await after.remove(id, fixture.operation());
    assert.ok(
      fixture.kernel.processes.signal(unrelated.process, 9),
      'a pid of another boot is not signalled',
    );
    await unrelated.exited;
    assert.deepEqual(await fixture.leftovers(), []);
  });
});

test('cancelled at each stage, a run leaves nothing', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const service = await fixture.open();
  const seen: string[] = [];
  const probe = fixture.operation({ onStage: (_op, { name }) => seen.push(name) });
  await service.remove(await service.run(request(fixture.config()), probe), fixture.operation());
  const stages = seen.filter((name) => name !== 'ready');
  assert.ok(stages.length > 8, stages.join());
  for (const stage of stages) {
    const client = new AbortController();
    const onStage = (_op: unknown, { name }: { name: string }) => name === stage && client.abort();
    const op = fixture.operation({ signal: client.signal, onStage });
    await assert.rejects(
      service.run(request(fixture.config()), op),
      (error) => hasCode(error, 'Cancelled'),
      stage,
    );
    assert.deepEqual([service.list(), await fixture.leftovers()], [[], []], `cancelled after ${stage}`);
  }
});

test('cancelled at any moment, a run leaves nothing', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  for (let delay = 0; delay <= 60; delay += 4) {
    const op = fixture.operation({ signal: AbortSignal.timeout(delay) });
    const id = await service.run(request(fixture.config()), op).catch((error: unknown) => {
      assert.ok(hasCode(error, 'Cancelled'), String(error));
    });
    if (id) await service.remove(id, fixture.operation());
    assert.deepEqual([service.list(), await fixture.leftovers()], [[], []], `cancelled after ${delay} ms`);
  }
});

test('stop and remove of a pod that is being created cancel the creation', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin('hang', `${LOGGING(fixture)}; [ $CNI_COMMAND = DEL ] && exit 0; exec sleep 1000`);
  await fixture.useNetwork([{ type: 'hang' }]);
  const service = await fixture.open();
  const running = service.run(request(fixture.config()), fixture.operation());
  running.catch(() => {});
  while (!(await calls(fixture)).includes(`ADD netns=${service.list()[0]?.network.namespace}`)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const [{ id } = { id: undefined }] = service.list();
  assert.ok(id);
  await service.stop(id, fixture.operation());
  await assert.rejects(running, (error) => hasCode(error, 'Aborted'));
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
});

test('a stop continues when its client cancels, and a second one joins it', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const id = await service.run(request(fixture.config()), fixture.operation());
  const client = new AbortController();
  const onStage = (_op: unknown, { name }: { name: string }) => name === 'containers' && client.abort();
  const first = service.stop(id, fixture.operation({ signal: client.signal, onStage }));
  const second = service.stop(id, fixture.operation());
  await assert.rejects(first, (error) => hasCode(error, 'Cancelled'));
  await second;
  assert.deepEqual(await fixture.leftovers(), [`record ${id}`]);
});

test('a retry whose first caller has cancelled starts again', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const config = fixture.config();
  const client = new AbortController();
  const onStage = (_op: unknown, { name }: { name: string }) => name === 'release' && client.abort();
  const first = service.run(request(config), fixture.operation({ signal: client.signal, onStage }));
  const second = service.run(request(config), fixture.operation());
  await assert.rejects(first, (error) => hasCode(error, 'Cancelled'));
  assert.equal(service.get(await second)?.state, 'ready');
});

test('on a full disk a run is refused, and stop and remove succeed', async () => {
  await using fixture = await PodsFixture.make();
  const root = fixture.options.root;
  await fixture.kernel.mounts.tmpfs({ target: root, bytes: 1 << 20 });
  const service = await fixture.open();
  const id = await service.run(request(fixture.config()), fixture.operation());
  await writeFile(join(root, 'fill'), Buffer.alloc(2 << 20)).catch(() => {});
  await assert.rejects(service.run(request(fixture.config()), fixture.operation()), (error) =>
    hasCode(error, 'ResourceExhausted'),
  );
  assert.equal(service.list().length, 1);
  await service.stop(id, fixture.operation());
  assert.equal(service.get(id)?.state, 'notReady');
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), await readdir(join(root, 'sandboxes'))], [[], []]);
  assert.deepEqual(await fixture.leftovers(), []);
});
