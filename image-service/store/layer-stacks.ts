import { CrispError, describeError, hasCode } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import type { LayerDirectories } from './layer-directories.ts';
import type { LayerIndex } from './layer-index.ts';
import type { ImageFile, LayerMounts } from './layer-mounts.ts';
import { damaged, type LayerForm, type LayerRecord } from './layer-record.ts';
import { FILES_NAME, IMAGE_NAME } from './staged-layer.ts';

/** How long the layers of a container may take to be mounted, in ms: a disk that has died never replies. */
const MOUNT_MS = 120_000;

/** What is needed for layers that are EROFS images; without it such layers cannot be used. */
export interface LayerImages {
  readonly mounts: Pick<LayerMounts, 'ensure' | 'hold' | 'release' | 'mounted' | 'recover'>;
  /** What is wrong with the bytes of this layer's image, which the kernel has refused; undefined: nothing. */
  readonly examine: (key: string, signal: AbortSignal) => Promise<string | undefined>;
  /** The image of this layer is missing or is not the one that was written: its images are to be pulled again. */
  readonly lost: (key: string, error: unknown) => void;
}

/** With these the kernel refuses a file system for what it holds, or for what the disk replies, and not for what it is. */
const OF_THE_CONTENT: ReadonlySet<string> = new Set([
  ...['EUCLEAN', 'EINVAL', 'EBADMSG', 'EOPNOTSUPP', 'ENOTSUP'],
  ...['EIO', 'ENODATA', 'EREMOTEIO', 'EILSEQ'],
]);
const isOfContent = (error: unknown): error is CrispError & { readonly errno: string } =>
  hasCode(error, 'KernelRefused') && OF_THE_CONTENT.has(error.errno ?? '');

/** Layers as directories for overlays, whatever their form. */
export class LayerStacks {
  readonly #index: LayerIndex;
  readonly #directories: LayerDirectories;
  readonly #images: LayerImages | undefined;

  constructor(index: LayerIndex, directories: LayerDirectories, images: LayerImages | undefined) {
    this.#index = index;
    this.#directories = directories;
    this.#images = images;
  }

  /**
   * Takes over the mounts of an earlier daemon. Returns why layers that are images cannot be mounted where new ones are
   * directories; undefined where they can, or there are none.
   */
  async recover({ form }: LayerForm): Promise<string | undefined> {
    const files = this.#index.all().flatMap((record): [string, ImageFile][] => {
      const file = this.imageOf(record);
      return file ? [[record.key, file]] : [];
    });
    await this.#images?.mounts.recover(new Map(files));
    return form === 'directory' ? this.#refusal(files) : undefined;
  }

  /** See `LayerStore.mounted`. */
  async directories(keys: readonly string[], signal: AbortSignal): Promise<string[]> {
    const shown: LayerRecord[] = [];
    // overlayfs refuses the same directory twice; a repeated layer is hidden by its upper occurrence.
    for (const key of new Set(keys.toReversed())) {
      const record = this.#index.get(key);
      if (!record) throw damaged(`layer ${key} is missing`);
      shown.push(record);
      if (record.rootOpaque) break;
    }
    const all = (limited: AbortSignal) =>
      Promise.all(shown.map((record) => this.#directoryOf(record, limited)));
    return withDeadline('mount the layers', MOUNT_MS, signal, all);
  }

  imageOf({ key, image }: LayerRecord): ImageFile | undefined {
    return image && { path: this.#directories.path(key, IMAGE_NAME), bytes: image.bytes };
  }

  async #directoryOf(record: LayerRecord, signal: AbortSignal): Promise<string> {
    const { key } = record;
    const image = this.imageOf(record);
    if (!image) return this.#directories.path(key, FILES_NAME);
    if (!this.#images) throw new CrispError('Internal', `layer ${key} cannot be mounted`);
    try {
      return await this.#images.mounts.ensure(key, image);
    } catch (refusal) {
      const error = await this.#explained(refusal, key, signal);
      if (!hasCode(error, 'DataLoss')) throw error;
      // It may just have been replaced: what was found is then of the former one, or of none.
      const now = await this.#directories.inTurn(key, async () => this.#index.get(key));
      if (now && now !== record) return await this.#directoryOf(now, signal);
      if (now) {
        this.#index.suspect(key);
        this.#images.lost(key, error);
      }
      throw error;
    }
  }

  /** DataLoss where it is the image that is at fault: the kernel may refuse one that is as it was written, then each pull would be in vain. */
  async #explained(error: unknown, key: string, signal: AbortSignal): Promise<unknown> {
    if (hasCode(error, 'DataLoss')) return lost(describeError(error));
    if (!isOfContent(error)) return error;
    if (!this.#index.sound(key)) return lost(describeError(error));
    const wrong = await this.#images?.examine(key, signal);
    if (wrong !== undefined) return lost(`layer ${key} is damaged: ${wrong}; ${describeError(error)}`);
    return new CrispError(
      'KernelRefused',
      `layer ${key} is as it was written, and the kernel does not mount it: ${describeError(error)}`,
      {
        errno: error.errno,
        hint: 'use another kernel, or set image.layers = "directory", remove the image and pull it again',
      },
    );
  }

  /** What the kernel replies to the mount of the first image that is whole. */
  async #refusal(files: readonly [string, ImageFile][]): Promise<string | undefined> {
    for (const [key, image] of files) {
      try {
        await this.#images?.mounts.ensure(key, image);
        return undefined;
      } catch (error) {
        if (hasCode(error, 'FailedPrecondition')) return describeError(error);
        if (!hasCode(error, 'DataLoss') && !isOfContent(error)) return undefined;
      }
    }
    return undefined;
  }
}

const lost = (message: string): CrispError =>
  new CrispError('DataLoss', message, {
    hint: 'pull the image again, it is not listed until then; `crisp check --images --repair` pulls all that is damaged',
  });
