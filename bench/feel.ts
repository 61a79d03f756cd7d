/**
 * What containers feel of the form of their image's layers: the same accesses in a container on EROFS images and in one on
 * directories, of two daemons of crisp in turns, each with a file system of its own. Cold is after that was mounted anew.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { pushImage } from '../test/harness/images.ts';
import { FeelContainers } from './feel-containers.ts';
import { FEEL, feelImage, LARGE_FILE, MODULES, NODE, PROGRAM } from './feel-image.ts';
import { type Access, FeelSamples, type Form, forms } from './feel-results.ts';
import { type FreshDisk, freshDisk } from './fresh-disk.ts';
import { manyFilesRoots } from './many-files.ts';
import type { BenchOptions } from './options.ts';
import { paceOf, roundsOf } from './pace.ts';
import { type BenchEnvironment, type Side, startCrisp } from './sides.ts';
import { inOrder } from './statistics.ts';

const REPOSITORY = 'bench/many-files';
const PULL_MS = 600_000;
/** Accesses after the cold one; the fastest counts, because the others were disturbed. */
const WARM = 3;
const SHARED_BY = 50;

type TimedAccess = Exclude<Access, `page cache${string}` | `PSS${string}`>;

const accesses: Readonly<Record<TimedAccess, readonly string[]>> = {
  'start of 500 modules': ['run', NODE, PROGRAM],
  'read 500 files': ['files', MODULES],
  find: ['find', ...manyFilesRoots],
  'find -ls': ['find-ls', ...manyFilesRoots],
  'read 200 MiB': ['read', LARGE_FILE],
  'read 4 KiB at random': ['read-random', LARGE_FILE],
  'map 200 MiB': ['map', LARGE_FILE],
  'map 4 KiB at random': ['map-random', LARGE_FILE],
  'exec of 100 MB': ['run', NODE, '--version'],
};

/** Unmounts what a daemon left mounted below the directory, the newest first. */
function unmountBelow(directory: string): void {
  const targets = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${directory}/`));
  for (const target of targets.toReversed()) {
    const { status, stderr } = spawnSync('umount', [target], { encoding: 'utf8' });
    if (status !== 0) throw new CrispError('Internal', `umount ${target}: ${stderr.trim()}`);
  }
}

/** One form: its daemon, with the image, on its file system. */
class FormUnderTest implements AsyncDisposable {
  readonly form: Form;
  readonly containers: FeelContainers;
  readonly #side: Side;
  readonly #disk: FreshDisk;
  readonly #state: string;

  private constructor(form: Form, side: Side, disk: FreshDisk, containers: FeelContainers, state: string) {
    this.form = form;
    this.#side = side;
    this.#disk = disk;
    this.containers = containers;
    this.#state = state;
  }

  static async create(environment: BenchEnvironment, form: Form): Promise<FormUnderTest> {
    const name = `feel-${form}`;
    const disk = freshDisk(join(environment.directory, name));
    try {
      const side = await startCrisp({ ...environment, layers: form }, name);
      const image = `${environment.registry}/${REPOSITORY}:feel`;
      const containers = new FeelContainers(side, environment, image);
      const made = new FormUnderTest(form, side, disk, containers, join('/run', name));
      await side.server.client.PullImage({ image: { image } }, { timeoutMs: PULL_MS });
      return made;
    } catch (error) {
      disk[Symbol.dispose]();
      throw error;
    }
  }

  /** Requests to read that the disk has had; unlike a time they do not depend on what else the machine does. */
  reads(): number {
    return this.#disk.reads();
  }

  /** As after a reboot: nothing of the file system is cached, and the daemon has a new state directory. */
  async cool(): Promise<void> {
    await this.#end();
    this.#disk.remount();
    await this.#side.restart(async (client) => (await client.ListImages({})).images.length > 0);
  }

  async #end(): Promise<void> {
    await this.#side.server.stop();
    unmountBelow(this.#state);
    rmSync(this.#state, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    this.#disk[Symbol.dispose]();
  }
}

async function measure(access: TimedAccess, test: FormUnderTest, samples: FeelSamples): Promise<void> {
  await test.cool();
  await test.containers.in(async (run) => {
    const reads = test.reads();
    samples.add(access, 'cold', test.form, await run(accesses[access]));
    samples.add(access, 'reads', test.form, test.reads() - reads);
    const warm: number[] = [];
    for (let n = 0; n < WARM; n++) warm.push(await run(accesses[access]));
    samples.add(access, 'warm', test.form, Math.min(...warm));
  });
}

async function measureMemory(test: FormUnderTest, samples: FeelSamples): Promise<void> {
  await test.cool();
  await test.containers.in(async (run) => {
    samples.add('page cache of 200 MiB read', 'cold', test.form, await run(['cached', LARGE_FILE]));
  });
  const shared = await test.containers.mappedByAll(SHARED_BY, [FEEL, 'hold', LARGE_FILE], LARGE_FILE);
  samples.add('PSS of 200 MiB mapped in 50 containers', 'warm', test.form, shared);
}

/** Measures both forms. Throws FailedPrecondition where this node cannot mount EROFS. */
export async function feel(
  environment: BenchEnvironment,
  options: BenchOptions,
  log: (text: string) => void,
): Promise<FeelSamples> {
  const image = await feelImage(join(environment.directory, 'feel-image'));
  await pushImage(`http://${environment.registry}`, REPOSITORY, 'feel', image);
  const samples = new FeelSamples();
  await using erofs = await FormUnderTest.create(environment, 'erofs');
  await using directory = await FormUnderTest.create(environment, 'directory');
  log(`${paceOf('feel', options)} of accesses in containers on EROFS images and on directories`);
  const both = { erofs, directory };
  for (const round of roundsOf('feel', options)) {
    const inTurns = inOrder(forms, round);
    for (const access of Object.keys(accesses) as TimedAccess[])
      for (const form of inTurns) await measure(access, both[form], samples);
    for (const form of inTurns) await measureMemory(both[form], samples);
  }
  return samples;
}
