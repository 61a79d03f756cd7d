import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { FakeSelinux } from '#linux/fake/selinux.ts';
import type { RelabelOutcome, RelabelProgress } from '#linux/ports/selinux.ts';
import { mountOf } from '#test/fixtures/container-config.ts';
import { VolumeLabels } from './volume-labels.ts';

const ONE = 'system_u:object_r:container_file_t:s0:c1,c2';
const TWO = 'system_u:object_r:container_file_t:s0:c3,c4';
const LONG = 60_000;
const directory = realpathSync(mkdtempSync(join(tmpdir(), 'crisp-volumes-')));
after(() => rmSync(directory, { recursive: true }));
const volume = join(directory, 'volume');
mkdirSync(volume);
writeFileSync(join(volume, 'file'), '');
symlinkSync(volume, join(directory, 'link'));

const at = (hostPath: string) => [mountOf({ hostPath, selinuxRelabel: true })];
const op = (signal = new AbortController().signal) => new Operation('CreateContainer', { signal });

/** Walks begin, and end when the test decides. */
class SlowSelinux extends FakeSelinux {
  readonly walks: {
    path: string;
    label: string;
    signal: AbortSignal;
    progress: (progress: RelabelProgress) => void;
    end: PromiseWithResolvers<RelabelOutcome>;
  }[] = [];
  #begun = Promise.withResolvers<void>();

  override relabel: FakeSelinux['relabel'] = async (path, label, signal, progress = () => {}) => {
    const end = Promise.withResolvers<RelabelOutcome>();
    signal.addEventListener('abort', () => end.reject(signal.reason));
    this.walks.push({ path, label, signal, progress, end });
    this.#begun.resolve();
    const outcome = await end.promise;
    this.labels.set(path, label);
    return outcome;
  };

  async begun(): Promise<void> {
    await this.#begun.promise;
    this.#begun = Promise.withResolvers<void>();
  }
}

test('volumes that ask for it are labelled, by their real path, and not again', async () => {
  const selinux = new FakeSelinux();
  const labels = new VolumeLabels(selinux, silentLog, []);
  const plain = mountOf({ hostPath: directory });
  const image = mountOf({ hostPath: '', image: 'registry.example/x', selinuxRelabel: true });
  await labels.apply([plain, image, ...at(join(directory, 'link'))], ONE, LONG, op());
  const labelled = new Map([
    [join(volume, 'file'), ONE],
    [volume, ONE],
  ]);
  assert.deepEqual(selinux.labels, labelled);
  // The root has the label: nothing is walked, what came later keeps its own.
  selinux.labels.set(join(volume, 'file'), TWO);
  await labels.apply(at(volume), ONE, LONG, op());
  assert.equal(selinux.labels.get(join(volume, 'file')), TWO);
  await labels.apply(at(volume), TWO, LONG, op());
  assert.deepEqual([...new Set(selinux.labels.values())], [TWO]);
});

test('a file system without labels is no error; a failure is one', async () => {
  const selinux = new FakeSelinux();
  const labels = new VolumeLabels(selinux, silentLog, []);
  selinux.unsupported.add(volume);
  await labels.apply(at(volume), ONE, LONG, op());
  assert.equal(selinux.labels.size, 0);
  await assert.rejects(labels.apply(at(join(directory, 'none')), ONE, LONG, op()), /ENOENT/);
});

test('directories of the node and of crisp are refused by name, also through a link', async () => {
  const selinux = new FakeSelinux();
  const labels = new VolumeLabels(selinux, silentLog, [volume]);
  symlinkSync('/etc', join(directory, 'etc'));
  for (const path of ['/', '/etc', '/usr/', '/var/lib', join(directory, 'etc'), join(directory, 'link')]) {
    await assert.rejects(
      labels.apply(at(path), ONE, LONG, op()),
      (error) => hasCode(error, 'InvalidArgument') && error.message.includes(`mount source ${path} `),
      path,
    );
  }
  assert.equal(selinux.labels.size, 0);
});

test('a large volume: the call fails with the progress, the walk goes on, the retry waits for it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const selinux = new SlowSelinux();
  const labels = new VolumeLabels(selinux, silentLog, []);
  const first = labels.apply(at(volume), ONE, LONG, op());
  await selinux.begun();
  selinux.walks[0]?.progress({ entries: 7000, changed: 6999 });
  t.mock.timers.tick(LONG);
  await assert.rejects(first, (error) => {
    assert.ok(hasCode(error, 'DeadlineExceeded'));
    assert.match(error.message, /relabel volumes.*volume is being relabelled to .*c1,c2, 7000 files/);
    assert.match(error.hint, /a retry waits for it/);
    return true;
  });
  const retries = [labels.apply(at(volume), ONE, LONG, op()), labels.apply(at(volume), ONE, LONG, op())];
  assert.equal(selinux.walks[0]?.signal.aborted, false);
  selinux.walks[0]?.end.resolve({ kind: 'labelled', entries: 9000, changed: 9000 });
  await Promise.all(retries);
  assert.equal(selinux.walks.length, 1);
  await labels.apply(at(volume), ONE, LONG, op());
  assert.equal(selinux.walks.length, 1);
});

test('a client that cancels ends its wait, and not the walk; the end of the daemon ends it', async () => {
  const selinux = new SlowSelinux();
  const labels = new VolumeLabels(selinux, silentLog, []);
  const client = new AbortController();
  const cancelled = labels.apply(at(volume), ONE, LONG, op(client.signal));
  await selinux.begun();
  client.abort();
  await assert.rejects(cancelled, (error) => hasCode(error, 'Cancelled'));
  assert.equal(selinux.walks[0]?.signal.aborted, false);
  const waiting = labels.apply(at(volume), ONE, LONG, op());
  labels.close();
  await assert.rejects(waiting, (error) => hasCode(error, 'Aborted'));
});

test('two pods with one volume: one walk after the other', async () => {
  const selinux = new SlowSelinux();
  const labels = new VolumeLabels(selinux, silentLog, []);
  const first = labels.apply(at(volume), ONE, LONG, op());
  await selinux.begun();
  const second = labels.apply(at(volume), TWO, LONG, op());
  selinux.walks[0]?.end.resolve({ kind: 'labelled', entries: 1, changed: 1 });
  await first;
  await selinux.begun();
  assert.deepEqual(
    selinux.walks.map(({ label }) => label),
    [ONE, TWO],
  );
  selinux.walks[1]?.end.resolve({ kind: 'labelled', entries: 1, changed: 1 });
  await second;
  assert.equal(selinux.labels.get(volume), TWO);
});
