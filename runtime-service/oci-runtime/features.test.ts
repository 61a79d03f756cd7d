import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { FeatureProbe, featuresOf, requireIdMaps, requireRecursiveReadOnly } from './features.ts';

const debianCrun = 'crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +YAJL\n';
const debianRunc = 'runc version 1.1.5+ds1\nspec: 1.0.2-dev\n';

test('crun before `features` maps single mounts', () => {
  assert.deepEqual(featuresOf(undefined, debianCrun), {
    version: 'crun version 1.8.1',
    idMappedMounts: true,
    idMapsTrees: false,
    recursiveReadOnly: true,
    checkpoint: false,
    netDevices: false,
    intelRdt: 'none',
    scheduler: false,
    ioPriority: false,
    memoryPolicy: false,
  });
  assert.equal(featuresOf(undefined, 'crun version 1.4.4\n').idMappedMounts, false);
  assert.equal(featuresOf(undefined, debianCrun.replace('+EBPF', '+EBPF +CRIU')).checkpoint, true);
});

test('old runc reports rro and no id maps, newer ones both', () => {
  const old = {
    mountOptions: ['ro', 'rro'],
    annotations: { 'org.opencontainers.runc.checkpoint.enabled': 'true' },
  };
  const { idMappedMounts, recursiveReadOnly, checkpoint } = featuresOf(JSON.stringify(old), debianRunc);
  assert.deepEqual([idMappedMounts, recursiveReadOnly, checkpoint], [false, true, true]);
  const linux = { mountExtensions: { idmap: { enabled: true } } };
  const newer = featuresOf(JSON.stringify({ mountOptions: ['rro'], linux }), 'runc version 1.3.6+ds1');
  assert.deepEqual([newer.idMappedMounts, newer.idMapsTrees], [true, true]);
});

test('a document with wrong types offers nothing', () => {
  for (const text of [
    'null',
    '7',
    '[]',
    '{"mountOptions":"rro","linux":{"mountExtensions":{"idmap":{"enabled":1}}}}',
  ]) {
    const { idMappedMounts, recursiveReadOnly } = featuresOf(text, debianRunc);
    assert.deepEqual([idMappedMounts, recursiveReadOnly], [false, false]);
  }
  assert.equal(featuresOf('not JSON', 'kata-runtime 3').recursiveReadOnly, false);
});

test('what a handler lacks is refused with its version and a remedy', () => {
  const old = featuresOf(undefined, debianRunc);
  assert.throws(
    () => requireIdMaps('old', old),
    (error) =>
      hasCode(error, 'FailedPrecondition') && /handler old \(runc version 1\.1\.5/.test(error.message),
  );
  assert.throws(
    () => requireRecursiveReadOnly('old', '/data', old),
    (error) => hasCode(error, 'RroUnsupported') && /\/data/.test(error.message),
  );
});

test('a program is executed once for its features, and again when another one is at its path', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-features-'));
  const path = join(directory, 'runtime');
  writeFileSync(path, 'one');
  chmodSync(path, 0o755);
  let runs = 0;
  let failing = false;
  const run: Processes['run'] = async ({ argv }) => {
    runs++;
    const stdout = Buffer.from(argv[1] === 'features' ? '' : debianCrun);
    const code = failing || argv[1] === 'features' ? 1 : 0;
    return { status: { code, signal: undefined }, stdout, stderr: Buffer.from('broken') };
  };
  const memory = join(directory, 'state/features.json');
  const open = () => new FeatureProbe(() => path, memory, { run } as Processes, 1000);
  const probe = open();
  await Promise.all([probe.features(), probe.features()]);
  await probe.features();
  assert.deepEqual([runs, probe.known?.idMappedMounts], [2, true]);
  writeFileSync(path, 'another');
  failing = true;
  await assert.rejects(
    probe.features(),
    (error) => hasCode(error, 'RuntimeFailed') && /broken/.test(error.message),
  );
  failing = false;
  await probe.features();
  assert.equal(runs, 6);
  assert.deepEqual(await open().features(), probe.known);
  assert.equal(runs, 6, 'a new daemon has the features that the last one read');
  writeFileSync(memory, '{"identity":');
  await open().features();
  assert.equal(runs, 8, 'what is damaged is asked anew');
  writeFileSync(path, 'a third');
  await open().features();
  assert.equal(runs, 10, 'and so is another program');
  rmSync(directory, { recursive: true });
});
