/** A registry of registries.conf and its parts. */
import { CrispError } from '#core/errors.ts';
import { isHost } from './address.ts';
import { fault, shown } from './fault.ts';

export interface MirrorEntry {
  /** `host[:port][/path]`, which replaces the prefix. */
  readonly location: string;
  readonly insecure: boolean;
  readonly pull: 'all' | 'digest-only' | 'tag-only';
  readonly source: string;
}

export interface RegistryEntry {
  /** Empty in an entry with a wildcard: names are not rewritten. */
  readonly location: string;
  readonly insecure: boolean;
  readonly blocked: boolean;
  readonly mirrors: readonly MirrorEntry[];
  readonly source: string;
}

/** A part of a file, or why it cannot be used: only what depends on it fails. */
export type Checked<T> = { readonly value: T } | { readonly fault: CrispError };

export function unwrap<T>(checked: Checked<T>): T {
  if ('fault' in checked) throw checked.fault;
  return checked.value;
}

export function check<T>(read: () => T): Checked<T> {
  try {
    return { value: read() };
  } catch (error) {
    if (error instanceof CrispError) return { fault: error };
    throw error;
  }
}

export const trimmed = (location: string): string => {
  let end = location.length;
  while (location.charAt(end - 1) === '/') end--;
  return location.slice(0, end);
};

export function lowerHost(name: string): string {
  const slash = name.indexOf('/');
  return slash < 0 ? name.toLowerCase() : name.slice(0, slash).toLowerCase() + name.slice(slash);
}

/** Throws FailedPrecondition unless it is `host[:port][/path]`. */
export function checkLocation(location: string, source: string): void {
  if (/^https?:\/\//i.test(location)) {
    throw fault(source, `${shown(location)}: a location has no scheme`, 'write host[:port][/path]');
  }
  const host = location.split('/')[0] ?? '';
  if (!isHost(host)) throw fault(source, `${shown(location)} does not begin with a host`);
}
