/** An image of three layers, as EROFS images, and what must hold of the store that has it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageService } from '#image-service/index.ts';
import { buildImage, type EntrySpec, pushImage } from '../harness/images.ts';
import { type SeenTree, seeTree } from '../image-service/erofs/tree-view.ts';
import { describeImage, recordIn } from '../image-service/erofs-store.ts';
import { startRegistry } from '../image-service/registry.ts';
import { operation, testDirectory } from '../image-service/service.ts';

const files = (directory: string, count: number): EntrySpec[] =>
  Array.from({ length: count }, (_, n) => ({
    name: `${directory}/file-${n}`,
    content: `${directory} ${n} `.repeat(n * 30),
  }));

/** The second and the third are completed against those below. */
const LAYERS: readonly EntrySpec[][] = [
  [{ name: './', mode: 0o751 }, { name: 'a/', uid: 7 }, ...files('a', 30), { name: 'gone', content: 'x' }],
  [...files('a/b', 20), { name: 'linked', type: 'hardlink', link: 'a/file-9' }, { name: '.wh.gone' }],
  [{ name: 'a/c/.wh..wh..opq' }, ...files('a/c', 10), { name: 'link', type: 'symlink', link: 'linked' }],
];

export class ImageGround implements AsyncDisposable {
  readonly #outer = testDirectory();
  readonly #registry: Awaited<ReturnType<typeof startRegistry>>;
  #roots = 0;

  private constructor(
    registry: Awaited<ReturnType<typeof startRegistry>>,
    outer: ReturnType<typeof testDirectory>,
  ) {
    this.#registry = registry;
    this.#outer = outer;
  }

  static async make(): Promise<ImageGround> {
    const outer = testDirectory();
    const registry = await startRegistry(join(outer.path, 'registry'));
    await pushImage(
      registry.url,
      'app',
      'v1',
      buildImage({ layers: LAYERS.map((entries) => ({ entries })) }),
    );
    return new ImageGround(registry, outer);
  }

  get reference(): string {
    return `${this.#registry.host}/app:v1`;
  }

  get directory(): string {
    return this.#outer.path;
  }

  /** A directory for a store, empty. */
  root(): string {
    const path = join(this.#outer.path, `root-${this.#roots++}`);
    mkdirSync(path);
    return path;
  }

  /** Pulls the image and returns what a container sees of it. */
  async pull(service: ImageService): Promise<SeenTree> {
    const image = await service.pull({ reference: this.reference }, operation('pull'));
    return this.look(service, image.id);
  }

  async look(
    service: ImageService,
    image: ReturnType<ImageService['list']>[number]['id'],
  ): Promise<SeenTree> {
    const target = join(this.#outer.path, 'target');
    mkdirSync(target, { recursive: true });
    await service.rootfs.mountVolume({ image, target }, operation('mount'));
    try {
      return seeTree(target);
    } finally {
      await service.rootfs.unmount(target);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry[Symbol.asyncDispose]();
    this.#outer[Symbol.dispose]();
  }
}

/** Every layer of a listed image is the file that its record promises. */
export function assertWhole(root: string, service: ImageService): void {
  for (const { id, record } of service.list()) {
    for (const key of record.layers) {
      const layer = join(root, 'layers', key);
      const { image } = recordIn(layer);
      assert.ok(image, `layer ${key} of ${id} is no image`);
      assert.deepEqual(describeImage(join(layer, 'layer.erofs')), image, `layer ${key} of ${id}`);
    }
  }
}

export const mountsBelow = (path: string): string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${path}/`));

export function assertMountedOnce(root: string): void {
  const targets = mountsBelow(root);
  assert.deepEqual(targets.toSorted(), [...new Set(targets)].sort(), 'mounted twice');
}

/** All that images could leave: files, places in the store, mount points. */
export function residue(root: string): string[] {
  const places = ['layers', 'images', 'retired', 'staging', 'content/blobs/sha256'];
  const found = places.flatMap((place) => {
    const path = join(root, place);
    return existsSync(path) ? readdirSync(path).map((name) => `${place}/${name}`) : [];
  });
  return [...found, ...mountPoints(join(root, 'state'))];
}

/** Directories that are left of mounts, and mounts that are no parents of them. */
function mountPoints(state: string): string[] {
  if (!existsSync(state)) return [];
  const names = execFileSync('find', [state, '-mindepth', '2'], { encoding: 'utf8' });
  return names.split('\n').filter(Boolean);
}
