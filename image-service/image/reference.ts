import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { isDigest } from '#core/ids.ts';

/** An image's name in full. */
export interface Reference {
  /** `docker.io`, `localhost:5000`, `[::1]:5000`: as written, lower case where it has a dot or a port. */
  readonly host: string;
  /** `library/busybox`. */
  readonly path: string;
  /** `host/path`. */
  readonly repository: string;
  /** Absent where a digest was given: the digest alone identifies the image. */
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
  /** `host/path:tag` or `host/path@digest`. */
  readonly text: string;
}

const DEFAULT_HOST = 'docker.io';
const NAME_LIMIT = 255;
// The grammar of distribution/reference: a host begins a name only where it has a dot, a port or upper case, or is
// `localhost`; all else is a path on Docker Hub.
const HOST =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const ID = /^[0-9a-f]{64}$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

function malformed(text: string, why: string): CrispError {
  const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return new CrispError('InvalidArgument', `image reference ${JSON.stringify(shown)}: ${why}`, {
    hint: 'write [host[:port]/]path[:tag][@sha256:<64 hex digits>], the path in lower case',
  });
}

/**
 * Reads a reference as users write it and completes it: `docker.io`, `library/`, `:latest`. With both tag and digest
 * the digest counts and the tag is dropped. Throws InvalidArgument.
 */
export function parseReference(text: string): Reference {
  if (text === '') throw malformed(text, 'it is empty');
  if (ID.test(text)) throw malformed(text, 'it is an id, not a name');
  const { name, tag, digest } = split(text);
  const { host, path } = splitHost(name, text);
  for (const component of path.split('/')) {
    if (component === '') throw malformed(text, 'a part of the path is empty');
    if (/[A-Z]/.test(component)) throw malformed(text, `the path must be in lower case: ${component}`);
    if (!COMPONENT.test(component)) throw malformed(text, `not a valid part of a path: ${component}`);
  }
  const repository = `${host}/${path}`;
  if (repository.length > NAME_LIMIT)
    throw malformed(text, `the name is longer than ${NAME_LIMIT} characters`);
  if (tag !== undefined && !TAG.test(tag)) throw malformed(text, `not a valid tag: ${tag}`);
  if (digest !== undefined && !isDigest(digest)) {
    throw malformed(text, `not a digest that can be verified (sha256 and 64 hex digits): ${digest}`);
  }
  if (digest !== undefined) {
    return { host, path, repository, tag: undefined, digest, text: `${repository}@${digest}` };
  }
  const chosen = tag ?? 'latest';
  return { host, path, repository, tag: chosen, digest: undefined, text: `${repository}:${chosen}` };
}

/**
 * The parts of a name without a host: `busybox` and `:1`. Undefined for what has a host, and for an id.
 */
export function shortNameOf(text: string): { readonly name: string; readonly suffix: string } | undefined {
  const { name } = split(text);
  const first = name.split('/')[0] ?? '';
  if (name === '' || ID.test(text) || (name.includes('/') && isHostPart(first))) return undefined;
  return { name, suffix: text.slice(name.length) };
}

/** Whether a name's first part, before a slash, is a host and not a path of Docker Hub. */
const isHostPart = (first: string): boolean =>
  first === 'localhost' || /[.:[\]]/.test(first) || /[A-Z]/.test(first);

function split(text: string): { name: string; tag: string | undefined; digest: string | undefined } {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const rest = at < 0 ? text : text.slice(0, at);
  const colon = rest.indexOf(':', rest.lastIndexOf('/') + 1);
  // A host with a port and no path (`localhost:5000`) reads as a name with a tag, as everywhere.
  if (colon < 0) return { name: rest, tag: undefined, digest };
  return { name: rest.slice(0, colon), tag: rest.slice(colon + 1), digest };
}

function splitHost(name: string, text: string): { host: string; path: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  if (slash < 0 || !isHostPart(first))
    return { host: DEFAULT_HOST, path: slash < 0 ? `library/${name}` : name };
  // URL has the rules of addresses: `a.1` and `[1]` are none.
  if (!HOST.test(first) || !URL.canParse(`https://${first.replace(/:\d+$/, '')}`))
    throw malformed(text, `not a valid host: ${first}`);
  const port = /:(\d+)$/.exec(first)?.[1];
  if (port !== undefined && Number(port) > 65535) throw malformed(text, `not a valid port: ${port}`);
  // A host that only its upper case makes one would be a path in lower case.
  const host = /^[^.:[]+$/.test(first) && first !== 'localhost' ? first : first.toLowerCase();
  const path = name.slice(slash + 1);
  if (host !== DEFAULT_HOST && host !== 'index.docker.io') return { host, path };
  return { host: DEFAULT_HOST, path: path.includes('/') ? path : `library/${path}` };
}
