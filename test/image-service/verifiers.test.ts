/** Verifier programs of the node, as containerd calls them. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { buildIndex, pushManifest } from '../harness/images.ts';
import { within } from '../linux/observe.ts';
import { fails } from './scene.ts';
import { testDirectory } from './service.ts';
import { ACCEPT, blobs, image, type Place, place, push, REJECT } from './trust-scene.ts';

interface Verifiers extends AsyncDisposable {
  readonly at: Place;
  readonly dir: string;
  readonly log: string;
  add(name: string, script: string): void;
  remove(name: string): void;
  /** The names of the verifiers that were called since the last time. */
  called(): string[];
}

async function verifiers(options: { max?: number; timeoutMs?: number } = {}): Promise<Verifiers> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(testDirectory());
  const [dir, log] = [join(path, 'bin'), join(path, 'log')];
  const at = stack.use(await place({ verifiers: { dir, max: 10, timeoutMs: 20_000, ...options } }));
  at.policy({ default: [ACCEPT] });
  await push(at, 'app:v1');
  const owned = stack.move();
  return {
    at,
    dir,
    log,
    add(name, script) {
      mkdirSync(dir, { recursive: true });
      writeFileSync(join(dir, name), `#!/bin/sh\necho ${name} >> ${log}\n${script}\n`);
      chmodSync(join(dir, name), 0o755);
    },
    remove: (name) => rmSync(join(dir, name)),
    called() {
      const names = readFileSync(log, 'utf8').trim().split('\n');
      rmSync(log);
      return names;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a verifier gets name, digest and descriptor; nothing is fetched of an image that it refuses', async () => {
  await using scene = await verifiers();
  const { at, dir } = scene;
  await at.pull('app:v1'); // a directory that is missing has no verifiers
  const index = buildIndex([image]);
  await pushManifest(at.registry, at.own('app'), 'many', index);
  at.front.seen.length = 0;
  scene.add(
    'check',
    `printf '%s\\n' "$@" > ${scene.log}.args; cat > ${scene.log}.input; echo "  not by
us "; exit 3`,
  );
  const error = await fails(
    at.pull('app:many'),
    'SignatureValidationFailed',
    `image ${at.host}/app:many is refused by verifier ${join(dir, 'check')} (exit status 3): not by us`,
  );
  assert.match(error.hint, /reason/);
  assert.equal(blobs(at), 0);
  assert.deepEqual(readFileSync(`${scene.log}.args`, 'utf8').trim().split('\n'), [
    '-name',
    `${at.host}/app:many`,
    '-digest',
    index.digest,
    '-stdin-media-type',
    'application/vnd.oci.descriptor.v1+json',
  ]);
  const { mediaType, digest, bytes } = index;
  assert.deepEqual(JSON.parse(readFileSync(`${scene.log}.input`, 'utf8')), {
    mediaType,
    digest,
    size: bytes.length,
  });
  await fails(at.pull(`app@${index.digest}`), 'SignatureValidationFailed');
  assert.ok(readFileSync(`${scene.log}.args`, 'utf8').includes(`/app@${index.digest}\n`));
});

test('all must accept, in the order of their names, after the policy; also for an image that is present', async () => {
  await using scene = await verifiers();
  const { at } = scene;
  scene.add('20-b', 'echo fine');
  scene.add('10-a', 'head -c 100000 /dev/zero; exec >&-; exit 0');
  await at.pull('app:v1');
  assert.deepEqual(scene.called(), ['10-a', '20-b']);
  scene.add('15-no', 'exit 1');
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', '15-no (exit status 1): no reason given');
  assert.deepEqual(scene.called(), ['10-a', '15-no']);
  at.policy({ default: [REJECT] });
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', 'policy.json');
  assert.throws(() => scene.called(), /ENOENT/);
});

test('no more than the configured number is called', async () => {
  for (const [max, expected] of [
    [1, ['a']],
    [-1, ['a', 'b', 'c']],
  ] as const) {
    await using scene = await verifiers({ max });
    for (const name of ['c', 'a', 'b']) scene.add(name, 'exit 0');
    await scene.at.pull('app:v1');
    assert.deepEqual(scene.called(), expected);
  }
  await using none = await verifiers({ max: 0 });
  none.add('a', 'exit 1');
  await none.at.pull('app:v1');
});

test('a verifier that cannot be run, dies or does not end stops the pull', async () => {
  await using scene = await verifiers({ timeoutMs: 500 });
  const { at, dir } = scene;
  scene.add('killed', 'kill -9 $$');
  await fails(at.pull('app:v1'), 'FailedPrecondition', join(dir, 'killed'), 'cannot be run');
  scene.remove('killed');
  scene.add('stuck', 'sleep 1000 & wait');
  await fails(at.pull('app:v1'), 'DeadlineExceeded', join(dir, 'stuck'), '0.5 s');
  scene.remove('stuck');
  mkdirSync(join(dir, 'folder'));
  await fails(at.pull('app:v1'), 'FailedPrecondition', join(dir, 'folder'), 'cannot be run');
  rmSync(join(dir, 'folder'), { recursive: true });
  writeFileSync(join(dir, 'README'), 'no program');
  await fails(at.pull('app:v1'), 'FailedPrecondition', join(dir, 'README'), 'cannot be run');
  scene.remove('README');
  assert.deepEqual(at.pulled.service.list(), []);
  await at.pull('app:v1');
  rmSync(dir, { recursive: true });
  symlinkSync('nowhere', dir);
  await fails(at.pull('app:v1'), 'FailedPrecondition', dir, 'cannot be read');
  rmSync(dir);
  writeFileSync(dir, '');
  await fails(at.pull('app:v1'), 'FailedPrecondition', dir, 'cannot be read');
});

test('a verifier may write much, and leaves no process', async () => {
  await using scene = await verifiers();
  const { at, dir, log } = scene;
  scene.add('much', 'head -c 3000000 /dev/zero | tr "\\0" x');
  await at.pull('app:v1');
  scene.add('much', 'head -c 3000000 /dev/zero | tr "\\0" x; exit 1');
  await fails(at.pull('app:v1'), 'SignatureValidationFailed', join(dir, 'much'), 'xxxx');
  scene.remove('much');
  scene.add('leaves', `sleep 1000 & echo $! > ${log}.pid`);
  await at.pull('app:v1');
  const pid = Number(readFileSync(`${log}.pid`, 'utf8'));
  await within(() => isGone(pid));
});

/** Whether the process has ended, reaped or not. */
function isGone(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.startsWith('Z') ?? true;
  } catch {
    return true;
  }
}
