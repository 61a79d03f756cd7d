import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf, hasCode } from '#core/errors.ts';
import { type Operation, withDeadline } from '#core/operation.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files, Mounts } from '#linux/ports/kernel.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { LayerForm } from './layer-record.ts';
import { probeImage } from './probe-image.ts';

/** How long one way of mounting may take to be tried, in ms: the kernel may have to load modules for it. */
const PROBE_MS = 20_000;
/**
 * How images may be mounted, the best first. A kernel that mounts from files and knows no direct IO of them keeps all that is read
 * twice in the page cache, which a loop device does not.
 */
const WAYS = [
  { name: 'file', by: 'file', direct: true },
  { name: 'loop', by: 'loop', direct: false },
  { name: 'file, through the page cache', by: 'file', direct: false },
] as const;
type Way = (typeof WAYS)[number];

const NAME = 'probe';
const CONTENT = 'the layers of this node can be EROFS images\n';

export interface ProbeParts {
  readonly mounts: Mounts;
  readonly files: Files;
}

/** Where the probe does its work: always the same places, so that the next start finds what a crash has left. */
class Place {
  readonly #disk: string;
  readonly #state: string;
  readonly #parts: ProbeParts;

  constructor(disk: string, state: string, parts: ProbeParts) {
    this.#disk = disk;
    this.#state = state;
    this.#parts = parts;
  }

  /**
   * Mounts a tiny image, and an overlay of it whose writable layer is where those of containers are: on a disk that is itself an
   * overlay the kernel may refuse either. Reads through both and writes, so that the file is copied up.
   */
  async attempt({ by, direct }: Way): Promise<void> {
    const { mounts } = this.#parts;
    const image = join(this.#disk, 'image');
    const [upper, work] = [join(this.#disk, 'upper'), join(this.#disk, 'work')];
    const [layer, merged] = [join(this.#state, 'layer'), join(this.#state, 'merged')];
    await naming('prepare the probe of EROFS', async () => {
      for (const path of [upper, work, layer, merged]) await mkdir(path, { recursive: true, mode: 0o700 });
      await writeFile(image, probeImage(NAME, CONTENT), { mode: 0o600 });
    });
    await mounts.erofs({ image, target: layer, by, direct });
    await mounts.overlay({ target: merged, lower: [layer], upper, work });
    await naming(`read an EROFS image by ${by}`, async () => {
      for (const path of [layer, merged]) {
        const content = await readFile(join(path, NAME), 'utf8');
        if (content !== CONTENT) throw new CrispError('KernelRefused', `${path}/${NAME} has other content`);
      }
      await writeFile(join(merged, NAME), CONTENT);
    });
  }

  async clear(): Promise<void> {
    const { mounts, files } = this.#parts;
    for (const name of ['merged', 'layer']) await mounts.unmount(join(this.#state, name));
    for (const path of [this.#state, this.#disk]) await files.removeTree(path);
  }
}

/**
 * The form that new layers get on this node. `auto` tries and never throws; `erofs` throws FailedPrecondition where this node
 * cannot mount such images, with what the kernel replies.
 */
export async function probeLayerForm(
  options: Pick<ImageServiceOptions, 'layers' | 'root' | 'state'>,
  parts: ProbeParts,
  op: Operation,
): Promise<LayerForm> {
  const state = join(options.state, 'probe');
  // The second is for a disk that is full: that must not decide the form of the layers to come.
  const places = [join(options.root, 'probe'), join(state, 'disk')].map((at) => new Place(at, state, parts));
  const form = await op.stage('probe the form of layers', async (): Promise<LayerForm> => {
    if (options.layers === 'directory') {
      const failed = (error: unknown) => op.log.warn({ error: describeError(error) }, 'the probe of EROFS');
      for (const place of places) await place.clear().catch(failed);
      return { form: 'directory', reason: 'image.layers = "directory"' };
    }
    const reasons: string[] = [];
    let isDirect = true;
    for (const way of WAYS) {
      if (way.by === 'file' && !way.direct && isDirect) continue; // tried already
      const refusal = await tryInOne(places, way, op);
      if (refusal === undefined) return { form: 'erofs', by: way.by };
      if (way.direct && hasCode(refusal, 'FailedPrecondition') && errnoOf(refusal) === 'EINVAL')
        isDirect = false;
      reasons.push(`by ${way.name}: ${describeError(refusal)}`);
    }
    return { form: 'directory', reason: reasons.join('; ') };
  });
  if (form.form === 'directory' && options.layers === 'erofs') {
    throw new CrispError(
      'FailedPrecondition',
      `image.layers = "erofs", which this node cannot: ${form.reason}`,
      {
        hint: 'set image.layers = "auto", or load the kernel modules erofs and loop, and free loop devices (losetup --list)',
        lasting: true,
      },
    );
  }
  op.log.info(form, 'the form of new layers');
  return form;
}

async function tryInOne(places: readonly Place[], way: Way, op: Operation): Promise<unknown> {
  let refusal: unknown;
  for (const place of places) {
    refusal = await tryIt(place, way, op);
    if (!hasCode(refusal, 'ResourceExhausted')) break;
  }
  return refusal;
}

/** What it has failed with. What cannot be undone makes the attempt fail as well: layers would not be unmounted either. */
async function tryIt(place: Place, way: Way, op: Operation): Promise<unknown> {
  const never = new AbortController().signal;
  const clear = () => withDeadline('clear the probe of EROFS', PROBE_MS, never, () => place.clear());
  try {
    await clear();
    try {
      await op.deadline('mount an EROFS image', PROBE_MS, () => place.attempt(way), way.name);
    } finally {
      await clear();
    }
    return undefined;
  } catch (error) {
    op.checkpoint();
    return error;
  }
}
