/**
 * Annotations of pods on which a peer acts. An entry decides what `crisp config import` does with a peer's permission of it, and is
 * a row of docs/peer-options.md.
 */

export interface PeerAnnotation {
  /** Its names, the one of today first; what follows one (`/NAME` of a container) belongs to it. */
  readonly keys: readonly string[];
  /** What the peer does with it. */
  readonly what: string;
  /**
   * acts: crisp does the same, where it is allowed. passed: to the OCI runtime and its hooks, where it is allowed. option: an option
   * of crisp is in its place. moot: crisp needs none. lacks: it is not there; why, and what to do.
   */
  readonly kind: 'acts' | 'passed' | 'option' | 'moot' | 'lacks';
  /** The option of crisp, in dotted form; a `*` is the handler. */
  readonly to?: string;
  readonly note: string;
}

type Keys = string | readonly string[];
const entry = (kind: PeerAnnotation['kind'], keys: Keys, what: string, note = ''): PeerAnnotation => ({
  keys: [keys].flat(),
  what,
  kind,
  note,
});

export const acts = (keys: Keys, what: string): PeerAnnotation => entry('acts', keys, what);
export const passed = (keys: Keys, what: string, note = ''): PeerAnnotation =>
  entry('passed', keys, what, note);
export const moot = (keys: Keys, what: string, note: string): PeerAnnotation =>
  entry('moot', keys, what, note);
export const lacks = (keys: Keys, what: string, note: string): PeerAnnotation =>
  entry('lacks', keys, what, note);
export const option = (keys: Keys, what: string, to: string, note: string): PeerAnnotation => ({
  ...entry('option', keys, what, note),
  to,
});

/** Those that a permission covers, which is a prefix of their names, or a longer key of one. */
export const covered = (annotations: readonly PeerAnnotation[], permission: string): PeerAnnotation[] =>
  annotations.filter(({ keys }) =>
    keys.some((key) => permission.startsWith(key) || (permission !== '' && key.startsWith(permission))),
  );

/** What is in its place, for one that is not allowed in crisp by the same permission. */
export function instead({ kind, to, note }: PeerAnnotation): string | undefined {
  if (kind === 'acts' || kind === 'passed') return undefined;
  return to === undefined ? note : `${to}: ${note}`;
}
