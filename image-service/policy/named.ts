import { isDigest } from '#core/ids.ts';
import { parseReference } from '../image/reference.ts';

/** A name with what it was written with: unlike a `Reference` it may have neither tag nor digest, or both. */
export interface Named {
  /** `docker.io/library/busybox`. */
  readonly name: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** Reads a name as the grammar of distribution/reference has it; undefined where it is none. */
export function parseNamed(text: string): Named | undefined {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) return undefined;
  const tagged = at < 0 ? text : text.slice(0, at);
  const colon = tagged.indexOf(':', tagged.lastIndexOf('/') + 1);
  try {
    const { repository } = parseReference(tagged);
    return { name: repository, tag: colon < 0 ? undefined : tagged.slice(colon + 1), digest };
  } catch {
    return undefined;
  }
}

export const sameName = (one: Named, other: Named): boolean =>
  one.name === other.name && one.tag === other.tag && one.digest === other.digest;

/** Whether it is a host, or a name that begins with one: what `remapIdentity` takes as a prefix. */
export function isPrefix(text: string): boolean {
  if (text.length > 255) return false;
  const [host = '', ...path] = text.split('/');
  const [, labels = ''] = /^(\[[0-9a-fA-F:]+\]|[^:]*)(?::\d+)?$/.exec(host) ?? [];
  const hostIsValid =
    /^\[[0-9a-fA-F:]+\]$/.test(labels) ||
    labels.split('.').every((label) => /^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/.test(label));
  const pathIsValid = path.every((part) => /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/.test(part));
  return hostIsValid && pathIsValid;
}
