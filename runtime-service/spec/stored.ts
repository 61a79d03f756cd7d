import { readFile } from 'node:fs/promises';
import { errnoOf } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { type Context, pathsOf } from '../context.ts';

/** The OCI spec that a container has been given, as it is in its bundle; undefined after a reboot. */
export async function storedSpec({ options }: Context, id: ContainerId): Promise<object | undefined> {
  try {
    return JSON.parse(await readFile(pathsOf(options, id).config, 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fromNode(error, `read the OCI spec of container ${id}`);
  }
}
