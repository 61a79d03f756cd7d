/**
 * Annotations that crisp itself acts upon. Any user may write them, so they count only where the configuration allows them:
 * `allowed_annotations` of the pod's handler, or of all handlers. Others are ignored, as CRI-O does.
 */

export type Annotations = Readonly<Record<string, string>>;

/** One setting, which may have several names: those of an earlier CRI-O. */
export interface Annotated {
  readonly key: string;
  readonly value: string;
  readonly allowed: boolean;
}

/**
 * The first of the keys that is there. It is allowed where a prefix covers it, or another of its names: one who has allowed
 * `shm-size.crio.io` has allowed its older name.
 */
export function findAnnotation(
  annotations: Annotations,
  keys: readonly string[],
  prefixes: readonly string[],
): Annotated | undefined {
  const key = keys.find((one) => Object.hasOwn(annotations, one));
  if (key === undefined) return undefined;
  const allowed = keys.some((name) => isAllowed(name, prefixes));
  return { key, value: annotations[key] ?? '', allowed };
}

/** Whether one of the prefixes covers the key; the empty prefix covers none. */
export const isAllowed = (key: string, prefixes: readonly string[]): boolean =>
  prefixes.some((prefix) => prefix !== '' && key.startsWith(prefix));
