import assert from 'node:assert/strict';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { type Log, Operation, silentLog } from '#core/operation.ts';
import { FakeSelinux } from '#linux/fake/selinux.ts';
import type { RelabelOutcome, RelabelProgress, RelabelTree } from '#linux/ports/selinux.ts';
import { mountOf } from '#test/fixtures/container-config.ts';
import { type VolumeLabel, VolumeLabels } from './volume-labels.ts';

const ONE = 'system_u:object_r:container_file_t:s0:c1,c2';
const TWO = 'system_u:object_r:container_file_t:s0:c3,c4';
const INTERIM = 'system_u:object_r:container_ro_file_t:s0';
const LONG = 60_000;
const [A, B] = ['a'.repeat(64) as SandboxId, 'b'.repeat(64) as SandboxId];
const of = (label: string, sandbox = A): VolumeLabel => ({ sandbox, label, interim: INTERIM });
const directory = realpathSync(mkdtempSync(join(tmpdir(), 'crisp-volumes-')));
after(() => rmSync(directory, { recursive: true }));
const volume = join(directory, 'volume');
mkdirSync(volume);
writeFileSync(join(volume, 'file'), '');
symlinkSync(volume, join(directory, 'link'));

const at = (hostPath: string) => [mountOf({ hostPath, selinuxRelabel: true })];
const op = (signal = new AbortController().signal) => new Operation('CreateContainer', { signal });
const labelsWith = (selinux: FakeSelinux, own: readonly string[] = [], isReady = (_pod: SandboxId) => true) =>
  new VolumeLabels(selinux, silentLog, own, isReady);

const DONE = { kind: 'labelled', entries: 1, changed: 1 } as const;

/** Walks begin, and end when the test decides. */
class SlowSelinux extends FakeSelinux {
  readonly walks: {
    path: string;
    label: string;
    signal: AbortSignal;
    progress: (progress: RelabelProgress) => void;
    end: PromiseWithResolvers<RelabelOutcome>;
  }[] = [];
  /** The abort does not end a walk: the file system is slow. */
  isStuck = false;
  #begun = Promise.withResolvers<void>();

  override async relabel(
    { path, label }: RelabelTree,
    signal: AbortSignal,
    progress: (progress: RelabelProgress) => void = () => {},
  ): Promise<RelabelOutcome> {
    const end = Promise.withResolvers<RelabelOutcome>();
    signal.addEventListener('abort', () => this.isStuck || end.reject(signal.reason));
    this.walks.push({ path, label, signal, progress, end });
    this.#begun.resolve();
    const outcome = await end.promise;
    this.labels.set(path, label);
    return outcome;
  }

  async begun(): Promise<void> {
    await this.#begun.promise;
    this.#begun = Promise.withResolvers<void>();
  }
}

test('volumes that ask for it are labelled, by their real path, and not again', async () => {
  const selinux = new FakeSelinux();
  const labels = labelsWith(selinux);
  const plain = mountOf({ hostPath: directory });
  const image = mountOf({ hostPath: '', image: 'registry.example/x', selinuxRelabel: true });
  await labels.apply([plain, image, ...at(join(directory, 'link'))], of(ONE), LONG, op());
  const labelled = new Map([
    [join(volume, 'file'), ONE],
    [volume, ONE],
  ]);
  assert.deepEqual(selinux.labels, labelled);
  // The root has the label: nothing is walked, what came later keeps its own.
  selinux.labels.set(join(volume, 'file'), TWO);
  await labels.apply(at(volume), of(ONE), LONG, op());
  assert.equal(selinux.labels.get(join(volume, 'file')), TWO);
  await labels.apply(at(volume), of(TWO), LONG, op());
  assert.deepEqual([...new Set(selinux.labels.values())], [TWO]);
});

test('a file system without labels is no error; a failure is one', async () => {
  const selinux = new FakeSelinux();
  const labels = labelsWith(selinux);
  selinux.unsupported.add(volume);
  await labels.apply(at(volume), of(ONE), LONG, op());
  assert.equal(selinux.labels.size, 0);
  await assert.rejects(labels.apply(at(join(directory, 'none')), of(ONE), LONG, op()), /ENOENT/);
});

test('directories of the node and of crisp are refused by name, also through a link', async () => {
  const selinux = new FakeSelinux();
  const labels = labelsWith(selinux, [volume]);
  symlinkSync('/etc', join(directory, 'etc'));
  for (const path of ['/', '/etc', '/usr/', '/var/lib', join(directory, 'etc'), join(directory, 'link')]) {
    await assert.rejects(
      labels.apply(at(path), of(ONE), LONG, op()),
      (error) => hasCode(error, 'InvalidArgument') && error.message.includes(`mount source ${path} `),
      path,
    );
  }
  assert.equal(selinux.labels.size, 0);
});

test('a large volume: the call fails with the progress, the walk goes on, the retry waits for it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const selinux = new SlowSelinux();
  const labels = labelsWith(selinux);
  const first = labels.apply(at(volume), of(ONE), LONG, op());
  await selinux.begun();
  selinux.walks[0]?.progress({ entries: 7000, changed: 6999 });
  t.mock.timers.tick(LONG);
  await assert.rejects(first, (error) => {
    assert.ok(hasCode(error, 'DeadlineExceeded'));
    assert.match(error.message, /relabel volumes.*volume is being relabelled to .*c1,c2, 7000 files/);
    assert.match(error.hint, /a retry waits for it/);
    return true;
  });
  const retries = [
    labels.apply(at(volume), of(ONE), LONG, op()),
    labels.apply(at(volume), of(ONE), LONG, op()),
  ];
  assert.equal(selinux.walks[0]?.signal.aborted, false);
  selinux.walks[0]?.end.resolve({ kind: 'labelled', entries: 9000, changed: 9000 });
  await Promise.all(retries);
  assert.equal(selinux.walks.length, 1);
  await labels.apply(at(volume), of(ONE), LONG, op());
  assert.equal(selinux.walks.length, 1);
});

test('a walk that no call waits for is ended after a while; one that is over is not', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const selinux = new SlowSelinux();
  const labels = labelsWith(selinux);
  const first = labels.apply(at(volume), of(ONE), LONG, op());
  await selinux.begun();
  selinux.walks[0]?.end.resolve(DONE);
  await first;
  const client = new AbortController();
  const second = labels.apply(at(volume), of(TWO), LONG, op(client.signal));
  await selinux.begun();
  client.abort();
  await assert.rejects(second, (error) => hasCode(error, 'Cancelled'));
  t.mock.timers.tick(15 * 60_000);
  assert.deepEqual(
    selinux.walks.map(({ signal }) => signal.aborted),
    [false, true],
  );
});

test('a client that cancels ends its wait, and not the walk; the end of the daemon ends it', async () => {
  const selinux = new SlowSelinux();
  const labels = labelsWith(selinux);
  const client = new AbortController();
  const cancelled = labels.apply(at(volume), of(ONE), LONG, op(client.signal));
  await selinux.begun();
  client.abort();
  await assert.rejects(cancelled, (error) => hasCode(error, 'Cancelled'));
  assert.equal(selinux.walks[0]?.signal.aborted, false);
  const waiting = labels.apply(at(volume), of(ONE), LONG, op());
  labels.close();
  await assert.rejects(waiting, (error) => hasCode(error, 'Aborted'));
});

test('two pods with one volume: one walk after the other', async () => {
  const selinux = new SlowSelinux();
  const labels = labelsWith(selinux);
  const first = labels.apply(at(volume), of(ONE), LONG, op());
  await selinux.begun();
  const second = labels.apply(at(volume), of(TWO), LONG, op());
  selinux.walks[0]?.end.resolve(DONE);
  await first;
  await selinux.begun();
  assert.deepEqual(
    selinux.walks.map(({ label }) => label),
    [ONE, TWO],
  );
  selinux.walks[1]?.end.resolve(DONE);
  await second;
  assert.equal(selinux.labels.get(volume), TWO);
});

test('one volume at two paths: no second walk beside the first, and none after it', async () => {
  const [one, two] = [join(directory, 'one'), join(directory, 'two')];
  writeFileSync(one, '');
  linkSync(one, two);
  const selinux = new SlowSelinux();
  const labels = labelsWith(selinux);
  const first = labels.apply(at(one), of(ONE), LONG, op());
  await selinux.begun();
  await assert.rejects(labels.apply(at(two), of(ONE, B), 500, op()), /one is being relabelled/);
  selinux.labels.set(two, ONE);
  selinux.walks[0]?.end.resolve(DONE);
  await first;
  await labels.apply(at(two), of(ONE, B), LONG, op());
  assert.equal(selinux.walks.length, 1);
});

test('a walk that was cut short is known by its volume: the former label is not taken for whole', async () => {
  let cut: (() => void) | undefined;
  class Cut extends FakeSelinux {
    override relabel(tree: RelabelTree, signal: AbortSignal): Promise<RelabelOutcome> {
      return super.relabel(tree, signal, ({ changed }) => changed === 1 && cut?.());
    }
  }
  const selinux = new Cut();
  await labelsWith(selinux).apply(at(volume), of(ONE), LONG, op());
  const daemon = labelsWith(selinux);
  cut = () => daemon.close();
  await assert.rejects(daemon.apply(at(volume), of(TWO), LONG, op()), (error) => hasCode(error, 'Aborted'));
  assert.equal(selinux.labels.get(join(volume, 'file')), TWO);
  cut = undefined;
  await labelsWith(selinux).apply(at(volume), of(ONE), LONG, op());
  assert.deepEqual(
    selinux.labels,
    new Map([
      [join(volume, 'file'), ONE],
      [volume, ONE],
    ]),
  );
});

test('another file in the place of the volume that was checked is not labelled', async () => {
  const path = join(directory, 'replaced');
  mkdirSync(path);
  class Swapped extends FakeSelinux {
    override relabel(tree: RelabelTree, signal: AbortSignal): Promise<RelabelOutcome> {
      renameSync(path, `${path}-away`);
      mkdirSync(path);
      return super.relabel(tree, signal);
    }
  }
  const selinux = new Swapped();
  await assert.rejects(labelsWith(selinux).apply(at(path), of(ONE), LONG, op()), (error) =>
    hasCode(error, 'Aborted'),
  );
  assert.equal(selinux.labels.size, 0);
});

test('what takes no label below the root of a volume is passed over', async () => {
  const selinux = new FakeSelinux();
  selinux.unsupported.add(join(volume, 'file'));
  const logged: object[] = [];
  const log: Log = { ...silentLog, info: (fields) => void logged.push(fields), child: () => log };
  await new VolumeLabels(selinux, log, [], () => true).apply(at(volume), of(ONE), LONG, op());
  assert.deepEqual(selinux.labels, new Map([[volume, ONE]]));
  assert.match(JSON.stringify(logged), /"kind":"labelled","entries":2,"changed":1,"unsupported":1/);
});

test('where the policy has no other label for the interim, a volume that has it is walked all the same', async () => {
  const selinux = new FakeSelinux();
  const wanted = { ...of(ONE), interim: ONE };
  selinux.labels.set(volume, ONE).set(join(volume, 'file'), TWO);
  await labelsWith(selinux).apply(at(volume), wanted, LONG, op());
  assert.equal(selinux.labels.get(join(volume, 'file')), ONE);
});

test('a walk ends with the last of its pods, and the stop of that one waits for its end', async () => {
  const selinux = new SlowSelinux();
  selinux.isStuck = true;
  const notReady = new Set<SandboxId>();
  const joined = Promise.withResolvers<void>();
  const labels = labelsWith(selinux, [], (pod) => {
    if (pod === B) joined.resolve();
    return !notReady.has(pod);
  });
  const first = labels.apply(at(volume), of(ONE), LONG, op());
  await selinux.begun();
  const calls = [first, labels.apply(at(volume), of(ONE, B), LONG, op())];
  await joined.promise;
  const [walk] = selinux.walks;
  await labels.release(A, op());
  notReady.add(A);
  await labels.release(A, op());
  assert.equal(walk?.signal.aborted, false);
  notReady.add(B);
  const events: string[] = [];
  const stops = [A, B].map((pod) => labels.release(pod, op()).then(() => events.push('stopped')));
  assert.equal(walk?.signal.aborted, true);
  await setImmediate();
  events.push('ended');
  walk.end.reject(walk.signal.reason);
  await Promise.all(stops);
  assert.deepEqual(events, ['ended', 'stopped', 'stopped']);
  for (const call of calls) await assert.rejects(call, (error) => hasCode(error, 'Aborted'));
  // Nothing of a stopped pod begins a walk.
  await assert.rejects(labels.apply(at(volume), of(ONE), LONG, op()), /the pod is stopped/);
  assert.equal(selinux.walks.length, 1);
});

test('a pod that comes while a walk is ended waits for its end, and continues it', async () => {
  const selinux = new SlowSelinux();
  selinux.isStuck = true;
  const notReady = new Set<SandboxId>();
  const labels = labelsWith(selinux, [], (pod) => !notReady.has(pod));
  const first = labels.apply(at(volume), of(ONE), LONG, op());
  await selinux.begun();
  notReady.add(A);
  const stop = labels.release(A, op());
  const [walk] = selinux.walks;
  assert.equal(walk?.signal.aborted, true);
  const seen = Promise.withResolvers<void>();
  Object.defineProperty(walk.signal, 'aborted', {
    get() {
      seen.resolve();
      return true;
    },
  });
  const second = labels.apply(at(volume), of(ONE, B), LONG, op());
  await seen.promise;
  walk.end.reject(walk.signal.reason);
  await assert.rejects(first);
  await stop;
  await selinux.begun();
  assert.equal(selinux.walks[1]?.signal.aborted, false);
  selinux.walks[1]?.end.resolve(DONE);
  await second;
});

test('a walk that a file system holds keeps no pod from being stopped: it is logged', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const selinux = new SlowSelinux();
  selinux.isStuck = true;
  const notReady = new Set<SandboxId>();
  const labels = labelsWith(selinux, [], (pod) => !notReady.has(pod));
  const creation = labels.apply(at(volume), of(ONE), LONG, op());
  await selinux.begun();
  notReady.add(A);
  const logged: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => void logged.push(fields), child: () => log };
  const stop = labels.release(A, new Operation('StopPodSandbox', { log }));
  t.mock.timers.tick(10_000);
  await stop;
  assert.match(JSON.stringify(logged), new RegExp(`"volumes":\\["${volume}"\\].*end relabelling`));
  selinux.walks[0]?.end.reject(new Error('ended'));
  await assert.rejects(creation, /ended/);
});
