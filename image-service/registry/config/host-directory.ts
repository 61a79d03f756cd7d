/** Which hosts.toml counts for a registry host. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { Endpoint } from '../endpoint.ts';
import type { HostTrust } from '../http/trust.ts';
import { isHost } from './address.ts';
import { fault } from './fault.ts';
import { FileCache } from './file-cache.ts';
import { endpointsOfHosts, type HostEntry, parseHostsToml } from './hosts-toml.ts';
import { FILE_LIMIT } from './toml-file.ts';

/**
 * Directories such as /etc/containerd/certs.d. In each, in order, the first of `host_port_`, `host:port` and `_default` that exists
 * is the host's; if that has no hosts.toml, only certificates, there is no configuration of endpoints.
 */
export class HostDirectories {
  readonly #roots: readonly string[];
  readonly #files = new FileCache<readonly HostEntry[]>((text, path) =>
    text.trim() === '' ? [] : parseHostsToml(text, dirname(path)),
  );

  constructor(roots: readonly string[]) {
    this.#roots = roots;
  }

  /** Undefined where no file counts for the host. Throws FailedPrecondition with file and line. */
  async endpoints(host: string, path: string): Promise<readonly Endpoint[] | undefined> {
    const directory = await this.#directory(host);
    if (directory === undefined) return undefined;
    const entries = await this.#files.read(join(directory, 'hosts.toml'));
    return entries && entries.length > 0 ? endpointsOfHosts(entries, host, path) : undefined;
  }

  /** The trust of a host that its own file names; undefined where that does not. Throws FailedPrecondition. */
  trustOf(host: string): HostTrust | undefined {
    const names = namesOf(host);
    const directory = this.#roots.flatMap((root) => names.map((name) => join(root, name))).find(existsSync);
    const path = join(directory ?? '', 'hosts.toml');
    const text = directory === undefined ? undefined : readNow(path);
    if (directory === undefined || text === undefined) return undefined;
    const entries = parseHostsToml(text, directory);
    return entries.find(({ address }) => address === undefined || address.host === host)?.trust;
  }

  async #directory(host: string): Promise<string | undefined> {
    const names = [...namesOf(host), '_default'];
    for (const path of this.#roots.flatMap((root) => names.map((name) => join(root, name)))) {
      if (await exists(path)) return path;
    }
    return undefined;
  }
}

/** The names of a host's directory: `host_port_` before `host:port`. A host comes from a redirect, too: it must not be a path. */
function namesOf(host: string): readonly string[] {
  if (!isHost(host)) return [];
  const colon = host.lastIndexOf(':');
  const hasPort = colon > 0 && !host.endsWith(']');
  return hasPort ? [`${host.slice(0, colon)}_${host.slice(colon + 1)}_`, host] : [host];
}

/** The text of a file; undefined where there is none. Throws FailedPrecondition. */
function readNow(path: string): string | undefined {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw fault(path, 'it is not a regular file');
    if (stat.size > FILE_LIMIT) throw fault(path, `it is larger than ${FILE_LIMIT} bytes`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof CrispError) throw error;
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw fault(path, `it cannot be read (${errnoOf(error)})`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw fault(path, `it cannot be read (${errnoOf(error)})`);
  }
}
