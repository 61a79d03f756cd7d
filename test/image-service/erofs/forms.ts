/** One archive as a layer in each of its two forms: a directory, which is the reference, and an EROFS image that is mounted. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { TarHandler } from '#core/tar/entry.ts';
import { TarReader } from '#core/tar/reader.ts';
import { ErofsLayer } from '#image-service/erofs/index.ts';
import { defaultImageOptions } from '#image-service/index.ts';
import type { UnpackLimits } from '#image-service/options.ts';
import type { LayerImage } from '#image-service/store/layer-record.ts';
import { completeLayer, isComplete } from '#image-service/unpack/complete.ts';
import { type LayerReport, LayerWriter } from '#image-service/unpack/layer-writer.ts';
import { kernel, testDirectory } from '../service.ts';

const never = new AbortController().signal;
const BLOCK = 4096;
/** Each turn finds at least one link of the lower layers that the archive leads through. */
const TURNS = 20;

export type Written = LayerImage & { readonly inodes: number };

export interface Image {
  readonly path: string;
  readonly report: LayerReport;
  readonly written: Written;
}

/** What refused an archive, and at which of its members. */
export class Refusal extends Error {
  readonly reason: CrispError;
  /** Counted from 0; undefined where the whole was refused. */
  readonly member: number | undefined;

  constructor(reason: CrispError, member: number | undefined) {
    super(`${member === undefined ? 'as a whole' : `member ${member}`}: ${reason.message}`, {
      cause: reason,
    });
    this.reason = reason;
    this.member = member;
  }
}

/** Reads the archive in pieces of this size. A refusal by the handler is a Refusal, any other error itself. */
export function feed(tar: Buffer, handler: TarHandler, piece = 65_536): void {
  let member = -1;
  const counting: TarHandler = {
    entry(entry) {
      member++;
      handler.entry(entry);
    },
    data: (bytes) => handler.data(bytes),
    hole: (length) => handler.hole?.(length),
    entryEnd: () => handler.entryEnd(),
  };
  try {
    const reader = new TarReader(counting);
    for (let at = 0; at < tar.length; at += piece) reader.write(tar.subarray(at, at + piece));
    reader.end();
  } catch (error) {
    throw error instanceof CrispError ? new Refusal(error, Math.max(0, member)) : error;
  }
}

async function wholly<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw error instanceof CrispError ? new Refusal(error, undefined) : error;
  }
}

/** The layer as a directory, completed against the lower ones as a pull does it. */
export async function unpackTo(
  fresh: () => string,
  tar: Buffer,
  lower: readonly string[],
  limits: UnpackLimits = defaultImageOptions.limits,
): Promise<{ directory: string; report: LayerReport }> {
  const redirects = new Map<string, string>();
  for (let turn = 0; turn < TURNS; turn++) {
    const directory = fresh();
    mkdirSync(directory, { mode: 0o755 });
    using writer = new LayerWriter(directory, limits, redirects);
    feed(tar, writer);
    const report = await wholly(async () => writer.finish());
    if (isComplete(report) && redirects.size === 0) return { directory, report };
    const completion = await wholly(() => completeLayer(directory, lower, report, never));
    if (completion.redirects.length === 0) return { directory, report };
    for (const [path, target] of completion.redirects) redirects.set(path, target);
  }
  throw new Error('the completion finds links without end');
}

/** The same as an EROFS image. What is refused leaves no file. */
export async function writeImage(
  fresh: () => string,
  tar: Buffer,
  lower: readonly string[],
  more: { readonly limits?: UnpackLimits; readonly piece?: number } = {},
): Promise<Image> {
  const redirects = new Map<string, string>();
  for (let turn = 0; turn < TURNS; turn++) {
    const path = fresh();
    try {
      using layer = new ErofsLayer(path, more.limits ?? defaultImageOptions.limits, redirects);
      feed(tar, layer, more.piece);
      const report = await wholly(async () => layer.report());
      if (!isComplete(report) || redirects.size > 0) {
        const completion = await wholly(() => layer.complete(lower, never));
        if (completion.redirects.length > 0) {
          for (const [from, to] of completion.redirects) redirects.set(from, to);
          continue;
        }
      }
      const written = await wholly(async () => layer.finish(never));
      return { path, report, written };
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
  }
  throw new Error('the completion finds links without end');
}

/** The file is what its record promises, and the format's own programs agree with it. */
export function assertSound({ path, written }: Pick<Image, 'path' | 'written'>): void {
  const bytes = readFileSync(path);
  assert.equal(bytes.length, written.bytes);
  const hash = createHash('sha256').update(bytes.subarray(BLOCK)).update(bytes.subarray(0, BLOCK));
  assert.equal(`sha256:${hash.digest('hex')}`, written.digest);
  assertFsck(path);
}

export function assertFsck(path: string): void {
  const { status, stdout, stderr, error } = spawnSync('fsck.erofs', ['-d1', path], { encoding: 'utf8' });
  assert.equal(status, 0, `fsck.erofs ${path}: ${error?.message ?? ''}${stdout}${stderr}`);
}

/**
 * A place for layers in both forms and their mounts. Directories are on a tmpfs, which keeps every time and attributes of
 * 64 KiB; images are on the disk: the kernel mounts no EROFS image from a file on a tmpfs.
 */
export class Ground implements AsyncDisposable {
  readonly path: string;
  readonly #outer = testDirectory();
  #names = 0;

  private constructor() {
    this.path = mkdtempSync(join(this.#outer.path, 'forms-'));
  }

  static async make(bytes = 4 * 1024 ** 3): Promise<Ground> {
    const ground = new Ground();
    await kernel.mounts.tmpfs({ target: ground.path, bytes, mode: 0o755, options: ['nr_inodes=0'] });
    return ground;
  }

  /** A new name for a directory. */
  readonly fresh = (): string => join(this.path, `${this.#names++}`);

  /** A new name for an image. */
  readonly freshImage = (): string => join(this.#outer.path, `${this.#names++}.erofs`);

  unpack(tar: Buffer, lower: readonly string[] = [], limits?: UnpackLimits): ReturnType<typeof unpackTo> {
    return unpackTo(this.fresh, tar, lower, limits);
  }

  write(
    tar: Buffer,
    lower: readonly string[] = [],
    more: { readonly limits?: UnpackLimits; readonly piece?: number } = {},
  ): Promise<Image> {
    return writeImage(this.freshImage, tar, lower, more);
  }

  async mount(image: string): Promise<string> {
    const target = this.#directory();
    await kernel.mounts.erofs({ image, target, by: 'file' });
    return target;
  }

  /** The merged view of the directories, the top first. */
  async overlay(lower: readonly string[]): Promise<string> {
    const [target, upper, work] = [this.#directory(), this.#directory(), this.#directory()];
    await kernel.mounts.overlay({ target, lower, upper, work });
    return target;
  }

  #directory(): string {
    const path = this.fresh();
    mkdirSync(path, { mode: 0o755 });
    return path;
  }

  /** Unmounts all and empties the place. */
  async clear(): Promise<void> {
    for (const { target } of kernel.mounts.below(this.path).toReversed())
      if (target !== this.path) await kernel.mounts.unmount(target);
    for (const place of [this.path, this.#outer.path])
      for (const name of readdirSync(place))
        if (join(place, name) !== this.path) rmSync(join(place, name), { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear();
    await kernel.mounts.unmount(this.path);
    this.#outer[Symbol.dispose]();
  }
}
