/** A service on a directory of its own, and a place for each test. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Operation, silentLog } from '#core/operation.ts';
import type { CheckObserver, LayerUsers, PullObserver } from '#image-service/index.ts';
import {
  defaultImageOptions,
  type ImageService,
  type ImageServiceOptions,
  noCheckObserver,
  noLayerUsers,
  noPullObserver,
  openImageService,
} from '#image-service/index.ts';
import { files } from '#linux/fs/files.ts';
import { mounts } from '#linux/mount/mounts.ts';
import type { Kernel } from '#linux/ports/kernel.ts';

export const kernel = { files, mounts };

/** A new directory below the run's, deleted at the end of the scope. */
export function testDirectory(): Disposable & { readonly path: string } {
  const base = process.env['CRISP_TEST_DIR'] ?? '/tmp';
  mkdirSync(base, { recursive: true });
  const path = mkdtempSync(join(base, 'image-'));
  return { path, [Symbol.dispose]: () => removeWithMounts(path) };
}

/** Removes a directory in which layers may be mounted. */
export function removeWithMounts(path: string): void {
  for (const mount of mountsBelow(path)) execFileSync('umount', ['--lazy', mount]);
  rmSync(path, { recursive: true, force: true });
}

/** Mounts below a directory, the last one first. */
const mountsBelow = (path: string): string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => mount.startsWith(`${path}/`))
    .reverse();

export interface TestService extends AsyncDisposable {
  readonly service: ImageService;
  readonly root: string;
}

/** Opens and recovers a service at `root`. */
export async function startService(
  root: string,
  options: Partial<ImageServiceOptions> = {},
  users: LayerUsers = noLayerUsers,
  parts: Pick<Kernel, 'files' | 'mounts'> = kernel,
  pulls: PullObserver = noPullObserver,
  checks: CheckObserver = noCheckObserver,
): Promise<TestService> {
  const service = openImageService(
    {
      ...defaultImageOptions,
      attempts: 3,
      retryWaitMs: 50,
      // What is starved is not broken: a test of silence has limits of its own.
      noByteMs: 60_000,
      connectMs: 30_000,
      nextEndpointMs: 3_600_000,
      slowEndpointMs: 3_600_000,
      ...options,
      root,
      state: join(root, 'state'),
    },
    { kernel: parts, users, log: silentLog, pulls, checks },
  );
  await service.recover(operation('recover'));
  return { service, root, [Symbol.asyncDispose]: () => service.close() };
}

export const operation = (name: string, signal?: AbortSignal): Operation =>
  new Operation(name, signal ? { signal } : {});
