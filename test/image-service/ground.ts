import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type BuiltImage, buildImage } from '../harness/images.ts';
import { type Registry, startRegistry } from './registry.ts';
import { testDirectory } from './service.ts';

export interface Ground extends AsyncDisposable {
  readonly registry: Registry;
  readonly directory: string;
  readonly root: string;
}

export async function ground(): Promise<Ground> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(testDirectory());
  const registry = stack.use(await startRegistry(join(directory.path, 'registry')));
  const owned = stack.move();
  const dispose = () => owned.disposeAsync();
  return {
    registry,
    directory: directory.path,
    root: join(directory.path, 'images'),
    [Symbol.asyncDispose]: dispose,
  };
}

export const small = (content: string, more: Parameters<typeof buildImage>[0]['config'] = {}): BuiltImage =>
  buildImage({ layers: [{ entries: [{ name: './' }, { name: 'file', content }] }], config: more });

/** The content of the stores: layers and blobs. */
export const stored = (root: string) => ({
  layers: readdirSync(join(root, 'layers')).filter((name) => !name.endsWith('.removing')),
  blobs: readdirSync(join(root, 'content/blobs/sha256')),
  staging: readdirSync(join(root, 'staging')),
});
