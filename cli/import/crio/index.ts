/** CRI-O: crio.conf(5) with its drop-ins, and the files of the containers tools. */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseTomlFile } from '#config/index.ts';
import { errnoOf } from '#core/errors.ts';
import { invalid, type Leaf, leavesOf, readConfigurationFile } from '../leaf.ts';
import type { PeerOption } from '../option.ts';
import type { Peer, Reading } from '../peer.ts';
import { crioAnnotations } from './annotations.ts';
import { containerOptions } from './containers.ts';
import {
  isRegistriesFile,
  namedFiles,
  policyLeaves,
  policyOptions,
  REGISTRIES,
  registriesOptions,
} from './containers-files.ts';
import { apiOptions, rootOptions } from './daemon.ts';
import { existingHandlers, handlers } from './handlers.ts';
import { imageOptions, networkOptions } from './image.ts';
import { metricsOptions, nriOptions, statsOptions, tracingOptions } from './monitoring.ts';
import { runtimeOptions } from './runtime.ts';

const options: readonly PeerOption[] = [
  ...rootOptions,
  ...apiOptions,
  ...runtimeOptions,
  ...containerOptions,
  ...handlers,
  ...imageOptions,
  ...networkOptions,
  ...metricsOptions,
  ...tracingOptions,
  ...statsOptions,
  ...nriOptions,
  ...registriesOptions,
  ...policyOptions,
];

/** The files of a directory and of those in it, by name, whatever they are called; undefined where there is none. */
async function filesIn(directory: string): Promise<string[] | undefined> {
  try {
    const entries = (await readdir(directory, { withFileTypes: true })).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    );
    const found = await Promise.all(
      entries.map(async (entry) => {
        const path = join(directory, entry.name);
        return entry.isDirectory() ? ((await filesIn(path)) ?? []) : [path];
      }),
    );
    return found.flat();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw invalid(
      [`${directory}: cannot be listed (${errnoOf(error)})`],
      'name a directory that you may read',
    );
  }
}

/** A directory is its files; after a file come its drop-ins, unless they are given as well. */
async function expand(given: readonly string[]): Promise<string[]> {
  const paths = given.map((path) => resolve(path));
  const lists = await Promise.all(
    paths.map(async (path) => {
      const files = await filesIn(path);
      if (files) return files;
      const dropIns = `${path}.d`;
      return [path, ...(paths.includes(dropIns) ? [] : ((await filesIn(dropIns)) ?? []))];
    }),
  );
  return [...new Set(lists.flat())];
}

async function leavesIn(path: string, file: number): Promise<Leaf[]> {
  const text = await readConfigurationFile(path);
  if (path.endsWith('.json')) return policyLeaves(text, path, file);
  const { raw, originOf } = parseTomlFile(text, path);
  const leaves = leavesOf(raw, file, originOf);
  if (!('crio' in raw) && isRegistriesFile(raw))
    return leaves.map((leaf) => ({ ...leaf, keys: [REGISTRIES, ...leaf.keys] }));
  if (leaves.length > 0 && !('crio' in raw))
    throw invalid(
      [`${leaves[0]?.origin}: not a configuration of CRI-O: the file has no table [crio...]`],
      'name files of CRI-O: crio.conf, its drop-ins, registries.conf, policy.json',
    );
  return leaves;
}

async function read(given: readonly string[]): Promise<Reading> {
  const files = await expand(given);
  const leaves: Leaf[] = [];
  for (const [index, path] of files.entries()) leaves.push(...(await leavesIn(path, index)));
  return { leaves, files, warnings: [] };
}

export const crio: Peer = {
  name: 'CRI-O',
  version: '1.37',
  options,
  annotations: crioAnnotations,
  // A later file replaces a handler or a workload as a whole: a TOML table in a Go map begins from nothing.
  unit: (keys) => {
    const table = keys[2] === 'runtimes' || keys[2] === 'workloads';
    if (keys[0] === 'crio' && keys[1] === 'runtime' && table) return keys.slice(0, 4);
    // Elements of [[registry]] are of their own file.
    return keys;
  },
  merge: ({ keys }) => (keys[0] !== 'crio' || keys.join('.') === 'crio.storage_option' ? 'adds' : 'replaces'),
  defaultFiles: ['/etc/crio/crio.conf'],
  read,
  finish: (translation) => [...existingHandlers(translation), ...namedFiles(translation)],
  reminders: [
    'crisp reads registries.conf, certs.d, policy.json and registries.d in /etc/containers itself, as CRI-O does.',
    'storage.conf is not read; images are pulled again. Flags of the crio command are not in these files.',
  ],
};
