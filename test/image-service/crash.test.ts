/** kill -9 at random stages of pulls and removals: the store opens, and what it lists is whole. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { encode } from '#core/json-record.ts';
import type { Image } from '#image-service/index.ts';
import { rounds } from '../crash/seed.ts';
import { buildArtifact } from '../harness/artifacts.ts';
import { buildImage, digestOf, type EntrySpec, pushImage } from '../harness/images.ts';
import { describeImage, recordIn } from './erofs-store.ts';
import { startRegistry } from './registry.ts';
import { operation, startService, testDirectory } from './service.ts';

const ROUNDS = rounds(26);
/** Has no divisor in common with them. */
const STRIDE = ROUNDS % 7 === 0 ? 5 : 7;
/** Number of ended stages before the kill: the first three pulls, a removal, and pulls of present images have fewer. */
const STAGES = 60;
const seed = Number(process.env['CRISP_TEST_SEED'] ?? Date.now() % 1_000_000);

/** A small generator of numbers in [0, 1), repeatable. */
function randomOf(start: number): () => number {
  let state = start >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** One in each of as many equal parts as there are rounds, so that some come late; the parts in a mixed order. */
const stageOf = (round: number, random: number): number =>
  1 + Math.floor((((round * STRIDE) % ROUNDS) + random) * (STAGES / ROUNDS));

/** Resolves when that many stages of the victim have ended, and a few turns of this process's loop later. */
async function reached(victim: ChildProcess, stages: number, turns: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let ended = 0;
  victim.stdout?.on('data', (piece: Buffer) => {
    ended += piece.length;
    if (ended >= stages) resolve();
  });
  victim.once('exit', () => reject(new Error(`the victim ended by itself after ${ended} stages`)));
  await promise;
  for (let n = 0; n < turns; n++) await turn();
}

const files = (name: string): EntrySpec[] =>
  Array.from({ length: 60 }, (_, n) => ({ name: `${name}-${n}`, content: `${name}${n}`.repeat(2000) }));

/** The files of the artifact: each is a blob, and each blob's transfer a stage. */
const parts = files('part').slice(0, 3);

function blobsAreWhole(root: string, { id, record }: Image, round: number): void {
  for (const digest of record.blobs) {
    const file = join(root, 'content/blobs/sha256', digest.slice(7));
    assert.ok(existsSync(file), `round ${round}: blob ${digest} of ${id}: ${encode(record)}`);
    assert.equal(digestOf(readFileSync(file)), digest);
  }
}

/** What the records of layers promise of their EROFS images. */
function imagesAreWhole(root: string, { id, record }: Image, round: number): void {
  for (const key of record.layers) {
    const { image } = recordIn(join(root, 'layers', key));
    if (!image) continue;
    assert.deepEqual(describeImage(join(root, 'layers', key, 'layer.erofs')), image, `round ${round}: ${id}`);
  }
}

for (const layers of ['auto', 'directory'] as const)
  test(`killed at ${ROUNDS} instants, layers in the form "${layers}", seed ${seed}`, () => killed(layers));

async function killed(form: 'auto' | 'directory'): Promise<void> {
  using directory = testDirectory();
  await using registry = await startRegistry(join(directory.path, 'registry'));
  const root = join(directory.path, 'images');
  for (const n of [0, 1, 2]) {
    // The second layer writes into a directory of the first, which all three share: it is completed against that.
    const base = [{ name: './' }, { name: 'files/', mode: 0o711 }, ...files('base')];
    const layers = [{ entries: base }, { entries: files(`files/app${n}`) }];
    await pushImage(registry.url, `app${n}`, 'v1', buildImage({ layers, config: { User: `${n}` } }));
  }
  const artifact = buildArtifact({
    files: parts.map(({ name, content = '' }) => ({ title: `parts/${name}`, content })),
  });
  await pushImage(registry.url, 'artifact', 'v1', artifact);
  const random = randomOf(seed);
  let listed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const victim = spawn(
      process.execPath,
      [join(import.meta.dirname, 'crash-victim.ts'), root, registry.host, form],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = once(victim, 'exit');
    await reached(victim, stageOf(round, random()), Math.floor(random() * 2000));
    victim.kill('SIGKILL');
    await ended;
    await using opened = await startService(root, { layers: form });
    for (const image of opened.service.list()) {
      listed++;
      blobsAreWhole(root, image, round);
      imagesAreWhole(root, image, round);
      const isArtifact = image.record.artifactType !== undefined;
      const wanted = isArtifact
        ? parts.map((part) => ({ ...part, name: `parts/${part.name}` }))
        : [...files('base'), ...files(`files/app${image.record.config.user}`)];
      const target = join(directory.path, 'volume');
      await opened.service.rootfs.mountVolume({ image: image.id, target }, operation('mount'));
      try {
        const names = readdirSync(target, { recursive: true }).length - 1; // the directory
        assert.equal(names, wanted.length, `round ${round}: ${image.id} is not whole`);
        for (const { name, content } of wanted)
          assert.equal(readFileSync(join(target, name), 'utf8'), content);
      } finally {
        await opened.service.rootfs.unmount(target);
      }
    }
    await opened.service.collect();
    assert.deepEqual(readdirSync(join(root, 'staging')), [], `round ${round}`);
    const known = new Set(opened.service.list().flatMap(({ record }) => record.layers));
    assert.deepEqual(new Set(readdirSync(join(root, 'layers'))), known, `round ${round}`);
    if (round === ROUNDS - 1) {
      for (const n of [0, 1, 2])
        await opened.service.pull({ reference: `${registry.host}/app${n}:v1` }, operation('pull'));
      await opened.service.pull({ reference: `${registry.host}/artifact:v1` }, operation('pull'));
      assert.equal(opened.service.list().length, 4);
    }
  }
  assert.ok(listed > 0, 'no kill came late enough to leave an image');
}
