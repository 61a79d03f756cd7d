/** Checks of what is on the disk, and repairs from a real registry. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  globSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { CheckEvent, CheckObserver, ImageService } from '#image-service/index.ts';
import { buildArtifact } from '../harness/artifacts.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { turnIntoImages } from './erofs-store.ts';
import { type Ground, ground } from './ground.ts';
import { operation, startService } from './service.ts';

const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, n) => (n * 2654435761) >>> 24));
const shared = { entries: [{ name: './' }, { name: 'shared', content }], compression: 'none' as const };
const imageOf = (name: string) =>
  buildImage({ layers: [shared, { entries: [{ name: './' }, { name, content: name }] }] });

type Finding = CheckEvent & { readonly kind: 'finding' };
type Repair = CheckEvent & { readonly kind: 'repair' };

async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function check(service: ImageService, repair = false, signal?: AbortSignal) {
  const events = await gathered(service.check({ repair }, operation('check', signal)));
  const findings = events.filter((event): event is Finding => event.kind === 'finding');
  const repairs = events.filter((event): event is Repair => event.kind === 'repair');
  const end = events.at(-1);
  assert.ok(end?.kind === 'end');
  return {
    findings,
    repairs,
    end,
    faults: findings.map(({ object, fault }) => `${object.kind} ${fault}`).sort(),
  };
}

/** Two images that share a layer, pulled. */
async function pulled(
  at: Ground,
  options: Parameters<typeof startService>[1] = { layers: 'directory', keepBlobs: true },
  checks?: CheckObserver,
) {
  const opened = await startService(at.root, options, undefined, undefined, undefined, checks);
  const built = [];
  for (const name of ['one', 'two']) {
    const image = imageOf(name);
    await pushImage(at.registry.url, name, 'v1', image);
    await opened.service.pull({ reference: `${at.registry.host}/${name}:v1` }, operation('pull'));
    built.push(image);
  }
  return { opened, service: opened.service, built };
}

const blobPath = (root: string, digest: string): string =>
  join(root, 'content/blobs/sha256', digest.slice(7));

/** In place, as a disk would: who has the file open sees it. */
function flip(path: string, at = Math.floor(statSync(path).size / 2)): void {
  const file = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, at);
  writeSync(file, Buffer.of(255 - (byte[0] ?? 0)), 0, 1, at);
  closeSync(file);
}

test('a whole store has no findings, and every object is looked at', async () => {
  await using at = await ground();
  const { opened, service } = await pulled(at);
  await using _opened = opened;
  const { faults, end } = await check(service);
  assert.deepEqual(faults, []);
  assert.partialDeepStrictEqual(end, { layers: 3, blobs: 7, images: 2, findings: 0, repaired: 0 });
  assert.ok(end.bytes >= content.length);
  assert.deepEqual(service.troubles(), []);
});

test('blobs: a flipped byte, a truncated one, a missing one; each is fetched again', async () => {
  await using at = await ground();
  const { opened, service, built } = await pulled(at);
  await using _opened = opened;
  const [one, two] = built;
  assert.ok(one && two);
  flip(blobPath(at.root, one.manifest.digest), 5);
  truncateSync(blobPath(at.root, two.config.digest), 10);
  rmSync(blobPath(at.root, two.manifest.digest));
  const found = await check(service);
  assert.deepEqual(found.faults, ['blob digest', 'blob missing', 'blob size']);
  assert.deepEqual((await check(service)).faults, found.faults, 'a check changes nothing');
  const [trouble] = service.troubles();
  assert.equal(trouble?.reason, 'ImageDamaged');
  assert.match(trouble.hint, /crisp check --images --repair/);
  const { repairs, end } = await check(service, true);
  assert.deepEqual(
    repairs.map(({ outcome }) => outcome.repaired),
    [true, true, true],
  );
  assert.equal(end.repaired, 3);
  assert.deepEqual(service.troubles(), []);
  assert.deepEqual((await check(service)).faults, []);
  assert.deepEqual(
    service
      .list()
      .map(({ repoTags }) => repoTags[0])
      .sort(),
    ['one', 'two'].map((name) => `${at.registry.host}/${name}:v1`),
    'names are as they were',
  );
});

test('directories: a file fewer is found by the number, and the layer is made anew; the old one is kept for its users', async () => {
  await using at = await ground();
  const { opened, service, built } = await pulled(at);
  await using _opened = opened;
  const key = `diff-${(JSON.parse(built[0]?.config.bytes.toString() ?? '').rootfs.diff_ids[0] as string).slice(7)}`;
  const file = join(at.root, 'layers', key, 'fs/shared');
  const before = service.fsInfo();
  rmSync(file);
  const { faults, findings } = await check(service);
  assert.deepEqual(faults, ['layer tree']);
  assert.deepEqual(findings[0]?.object.images.length, 2);
  assert.match(findings[0]?.message ?? '', /has 1 files and directories, by its record 2/);
  const { repairs } = await check(service, true);
  assert.partialDeepStrictEqual(repairs[0]?.outcome, { repaired: true });
  assert.ok(readFileSync(file).equals(content));
  assert.deepEqual(service.fsInfo().usedBytes, before.usedBytes);
  assert.deepEqual((await check(service)).faults, []);
  const kept = readdirSync(join(at.root, 'layers')).filter((name) => name.startsWith('damaged-'));
  assert.equal(kept.length, 1);
  await using again = await startService(at.root);
  assert.equal(again.service.list().length, 2);
  await again.service.collect();
  assert.deepEqual(globSync(join(at.root, 'layers/damaged-*')), [], 'a start without containers deletes it');
});

test('what cannot be repaired says why: an image without origin, a registry that is gone', async () => {
  await using at = await ground();
  const { opened, service, built } = await pulled(at);
  await using _opened = opened;
  const archive = await gathered(service.export([`${at.registry.host}/one:v1`], operation('export')));
  await service.remove(`${at.registry.host}/one:v1`, operation('remove'));
  await service.collect();
  await service.import({ source: toAsync(Buffer.concat(archive)) }, operation('import'));
  const isImported = service.status(`${at.registry.host}/one:v1`);
  assert.ok(isImported);
  rmSync(join(at.directory, 'registry/data'), { recursive: true });
  flip(blobPath(at.root, built[0]?.layers[1]?.digest ?? ''));
  flip(blobPath(at.root, built[1]?.layers[1]?.digest ?? ''));
  const { repairs, end } = await check(service, true);
  const failed = repairs.map(({ outcome }) => outcome).filter((outcome) => !outcome.repaired);
  assert.equal(failed.length, 2 - end.repaired);
  assert.ok(
    failed.some(({ message }) => /NotFound|404|not found/i.test(message)),
    JSON.stringify(failed),
  );
  for (const { hint } of failed) assert.notEqual(hint, '');
  assert.equal(service.list().length, 2, 'nothing is taken away');
});

async function* toAsync(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

test('a read error of the disk is a finding, and the check goes on', async () => {
  await using at = await ground();
  const disk = join(at.directory, 'disk');
  const file = join(at.directory, 'disk.ext4');
  mkdirSync(disk);
  writeFileSync(file, '');
  truncateSync(file, 64 << 20);
  execFileSync('mkfs.ext4', ['-q', '-O', '^has_journal', file]);
  execFileSync('mount', ['-o', 'loop', file, disk]);
  try {
    const on = { ...at, root: join(disk, 'images') };
    {
      const { opened } = await pulled(on as Ground);
      await opened[Symbol.asyncDispose]();
    }
    execFileSync('sync', ['-f', disk]);
    await using opened = await startService(on.root, { layers: 'directory', keepBlobs: true });
    const whole = await check(opened.service);
    assert.deepEqual(whole.faults, []);
    // The end of the disk is gone: what lies there cannot be read, this blob and perhaps others.
    const blobs = globSync(join(on.root, 'content/blobs/sha256/*'));
    const last = Math.max(...blobs.map(lastBlock));
    truncateSync(file, last * 4096);
    const { faults, findings, end } = await check(opened.service);
    assert.ok(faults.includes('blob unreadable'), faults.join());
    for (const { message } of findings) assert.match(message, /EIO/);
    assert.equal(end.blobs, whole.end.blobs);
    assert.equal(end.layers, whole.end.layers);
  } finally {
    execFileSync('umount', ['-l', disk]);
  }
});

/** Of a file's blocks on its disk, in units of 4096 bytes. */
function lastBlock(path: string): number {
  const lines = execFileSync('filefrag', ['-b4096', '-v', path], { encoding: 'utf8' }).split('\n');
  const ends = lines.flatMap((line) => {
    const found = /^\s*\d+:\s+\d+\.\.\s*\d+:\s+(\d+)\.\.\s*(\d+):/.exec(line);
    return found ? [Number(found[2])] : [];
  });
  return Math.max(...ends);
}

test('EROFS images: a flipped byte in the data, in the first block, another size, none', async () => {
  await using at = await ground();
  const { opened } = await pulled(at);
  await opened[Symbol.asyncDispose]();
  const keys = readdirSync(join(at.root, 'layers'));
  const key = keys.find((name) => existsSync(join(at.root, 'layers', name, 'fs/shared'))) ?? '';
  const image = join(at.root, 'layers', key, 'layer.erofs');
  execFileSync('mkfs.erofs', [image, join(at.root, 'layers', key, 'fs')], { stdio: 'ignore' });
  const bytes = readFileSync(image);
  const hash = createHash('sha256')
    .update(bytes.subarray(4096))
    .update(bytes.subarray(0, 4096))
    .digest('hex');
  const recordFile = join(at.root, 'layers', key, 'record.json');
  const record = JSON.parse(readFileSync(recordFile, 'utf8'));
  writeFileSync(
    recordFile,
    JSON.stringify({ ...record, version: 2, image: { digest: `sha256:${hash}`, bytes: bytes.length } }),
  );
  await using again = await startService(at.root, { layers: 'directory' });
  assert.deepEqual((await check(again.service)).faults, []);
  for (const [fault, act] of [
    ['digest', () => flip(image)],
    ['digest', () => flip(image, 100)],
    ['digest', () => flip(image, bytes.length - 1)],
    ['size', () => truncateSync(image, bytes.length - 1)],
    ['size', () => truncateSync(image, 0)],
    ['missing', () => rmSync(image)],
    ['unreadable', () => execFileSync('ln', ['-sf', '/nowhere', image])],
  ] as const) {
    act();
    assert.deepEqual((await check(again.service)).faults, [`layer ${fault}`]);
    rmSync(image, { force: true });
    writeFileSync(image, bytes);
  }
  flip(image);
  const { repairs } = await check(again.service, true);
  assert.partialDeepStrictEqual(repairs, [{ outcome: { repaired: true } }]);
  assert.deepEqual((await check(again.service)).faults, []);
});

test('a container runs on a damaged EROFS layer while it is repaired: it goes on, and the next one has the new layer', async () => {
  await using at = await ground();
  const { opened } = await pulled(at);
  const keys = opened.service.list().flatMap(({ record }) => record.layers);
  await opened[Symbol.asyncDispose]();
  turnIntoImages(join(at.root, 'layers'), [...new Set(keys)]);
  await using again = await startService(at.root, { layers: 'auto', keepBlobs: true });
  const { service } = again;
  assert.deepEqual((await check(service)).faults, []);
  const image = service.status(`${at.registry.host}/one:v1`)?.id as ImageId;
  const mount = async (name: string) => {
    const directory = join(at.directory, name);
    mkdirSync(directory);
    await service.rootfs.mount({ image, directory, target: join(directory, 'rootfs') }, operation('mount'));
    return join(directory, 'rootfs');
  };
  const first = await mount('first');
  const [largest = ''] = globSync(join(at.root, 'layers/*/layer.erofs')).sort(
    (a, b) => statSync(b).size - statSync(a).size,
  );
  flip(largest);
  const { faults, repairs } = await check(service, true);
  assert.deepEqual(faults, ['layer digest']);
  assert.partialDeepStrictEqual(repairs, [{ outcome: { repaired: true } }]);
  const second = await mount('second');
  assert.ok(readFileSync(join(second, 'shared')).equals(content));
  assert.equal(readFileSync(join(first, 'one'), 'utf8'), 'one');
  assert.equal(readFileSync(join(first, 'shared')).length, content.length);
  assert.deepEqual((await check(service)).faults, []);
  for (const target of [first, second]) await service.rootfs.unmount(target);
});

test('what is removed during a check is no finding; an aborted check ends', async () => {
  await using at = await ground();
  const { opened, service } = await pulled(at);
  await using _opened = opened;
  const events: CheckEvent[] = [];
  for await (const event of service.check({ repair: true }, operation('check'))) {
    events.push(event);
    if (event.kind !== 'plan') continue;
    for (const name of ['one', 'two'])
      await service.remove(`${at.registry.host}/${name}:v1`, operation('remove'));
    await service.collect();
  }
  assert.deepEqual(
    events.map(({ kind }) => kind).filter((kind) => kind !== 'progress'),
    ['plan', 'end'],
  );
  assert.deepEqual(service.list(), []);
  const aborting = new AbortController();
  aborting.abort();
  await pulledAgain(service, at);
  await assert.rejects(check(service, false, aborting.signal), (error) => !hasCode(error, 'Internal'));
});

const pulledAgain = (service: ImageService, at: Ground) =>
  service.pull({ reference: `${at.registry.host}/one:v1` }, operation('pull'));

test('an artifact: a damaged blob is a damaged file, and both are made anew', async () => {
  await using at = await ground();
  const built = buildArtifact({ files: [{ title: 'model', content: 'the weights' }] });
  await pushImage(at.registry.url, 'artifact', 'v1', built);
  await using opened = await startService(at.root);
  const { service } = opened;
  await service.pull({ reference: `${at.registry.host}/artifact:v1` }, operation('pull'));
  assert.deepEqual((await check(service)).faults, []);
  flip(blobPath(at.root, built.layers[0]?.digest ?? ''));
  const { faults, repairs } = await check(service, true);
  assert.deepEqual(faults, ['blob digest']);
  assert.partialDeepStrictEqual(repairs, [{ outcome: { repaired: true } }]);
  assert.deepEqual((await check(service)).faults, []);
  const [file] = globSync(join(at.root, 'layers/artifact-*/fs/model'));
  assert.equal(readFileSync(file ?? '', 'utf8'), 'the weights');
});

test('in the background: a finding becomes a trouble, and ends with the repair', async () => {
  await using at = await ground();
  const seen: string[] = [];
  const observer = { damaged: (kind: string) => void seen.push(kind), verified() {} };
  const { opened, service, built } = await pulled(
    at,
    { layers: 'directory', keepBlobs: true, verifyIntervalMs: 2000 },
    observer,
  );
  await using _opened = opened;
  flip(blobPath(at.root, built[0]?.config.digest ?? ''));
  for (let n = 0; n < 3000 && service.troubles().length === 0; n++) await sleep(20);
  const [trouble] = service.troubles();
  assert.equal(trouble?.reason, 'ImageDamaged');
  assert.ok(trouble.message.includes(built[0]?.config.digest ?? '-'), trouble.message);
  assert.equal(seen[0], 'blob');
  assert.partialDeepStrictEqual((await check(service, true)).end, { findings: 1, repaired: 1 });
  assert.deepEqual(service.troubles(), []);
});
