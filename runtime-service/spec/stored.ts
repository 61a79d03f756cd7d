import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { errnoOf } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { type Context, pathsOf } from '../context.ts';
import { type OciSpec, parseSpec } from './oci.ts';

/** The OCI spec that a container has been given, as it is in its bundle; undefined after a reboot. */
export async function storedSpec({ options }: Context, id: ContainerId): Promise<object | undefined> {
  try {
    return JSON.parse(await readFile(pathsOf(options, id).config, 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fromNode(error, `read the OCI spec of container ${id}`);
  }
}

/**
 * The same at once: some 30 KiB of a tmpfs, for events whose order must be that of the changes. Undefined also where it cannot
 * be read.
 */
export function storedSpecNow({ options }: Pick<Context, 'options'>, id: ContainerId): OciSpec | undefined {
  try {
    return parseSpec(readFileSync(pathsOf(options, id).config, 'utf8')) as OciSpec;
  } catch {
    return undefined;
  }
}
