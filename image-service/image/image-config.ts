import { createHash } from 'node:crypto';
import { isDigest } from '#core/ids.ts';
import type { ImageConfig } from './image.ts';
import { isObject, malformedImage, readJson } from './manifest.ts';

/** Bytes of a user and a group: names have 32 in most systems. */
const USER_LIMIT = 1024;

/** The config blob of an image, as far as crisp reads it. */
export interface ParsedConfig {
  readonly platform: { readonly os: string; readonly architecture: string };
  /** sha256 of each layer's unpacked archive, from the bottom to the top. */
  readonly diffIds: readonly string[];
  readonly config: ImageConfig;
}

/** Reads a config. Throws DataLoss where a field that is used has the wrong type. */
export function parseConfig(bytes: Uint8Array, what: string): ParsedConfig {
  const json = readJson(bytes, what);
  const rootfs = isObject(json['rootfs']) ? json['rootfs'] : {};
  const diffIds = texts(rootfs['diff_ids'], 'rootfs.diff_ids', what);
  const wrong = diffIds.find((id) => !isDigest(id));
  if (wrong !== undefined)
    throw malformedImage(what, `a diff id is not a sha256 digest: ${wrong.slice(0, 100)}`);
  const inner = isObject(json['config']) ? json['config'] : {};
  return {
    platform: {
      os: text(json['os'], 'os', what),
      architecture: text(json['architecture'], 'architecture', what),
    },
    diffIds,
    config: {
      env: texts(inner['Env'], 'Env', what),
      entrypoint: texts(inner['Entrypoint'], 'Entrypoint', what),
      cmd: texts(inner['Cmd'], 'Cmd', what),
      workingDir: text(inner['WorkingDir'], 'WorkingDir', what),
      user: userOf(inner['User'], what),
      stopSignal: text(inner['StopSignal'], 'StopSignal', what) || undefined,
      volumes: isObject(inner['Volumes'])
        ? Object.keys(inner['Volumes']).map((path) => text(path, 'Volumes', what))
        : [],
      labels: labels(inner['Labels']),
    },
  };
}

/** Of what has no config: an artifact. */
export const emptyConfig: ParsedConfig = parseConfig(Buffer.from('{}'), 'no config');

/** The chain id of each layer: the identity of the layer together with all below it (OCI image-spec, config.md). */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    const hash = () => createHash('sha256').update(`${below} ${diffId}`).digest('hex');
    chain.push(below === undefined ? diffId : `sha256:${hash()}`);
  }
  return chain;
}

/**
 * JSON may hold half of a surrogate pair by an escape, a reply in protobuf not: clients in Go then refuse the whole list of
 * images. They read U+FFFD in the config, and so does crisp.
 */
function text(value: unknown, field: string, what: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string' || value.includes('\0'))
    throw malformedImage(what, `${field} is not a string`);
  return value.toWellFormed();
}

/** It is in lists of images, of which clients take 16 MiB: a few configs could make them longer. */
function userOf(value: unknown, what: string): string {
  const user = text(value, 'User', what);
  const bytes = Buffer.byteLength(user);
  if (bytes > USER_LIMIT) throw malformedImage(what, `User has ${bytes} bytes; ${USER_LIMIT} are the most`);
  return user;
}

function texts(value: unknown, field: string, what: string): readonly string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw malformedImage(what, `${field} is not a list`);
  return value.map((item) => text(item, field, what));
}

function labels(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) return {};
  return Object.fromEntries(
    Object.entries(value)
      .filter((pair): pair is [string, string] => typeof pair[1] === 'string')
      .map(([name, text]) => [name.toWellFormed(), text.toWellFormed()]),
  );
}
