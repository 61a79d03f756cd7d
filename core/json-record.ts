/**
 * JSON with bigint: `5n` is `{"$bigint": "5"}`. A client's own key of that form gets one more `$`, so that a label
 * named `$bigint` comes back as it was.
 */
export const encode = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint') return { [BIGINT]: item.toString() };
    return isObject(item) && Object.keys(item).some(isEscapable)
      ? renameKeys(item, (key) => `$${key}`)
      : item;
  });

/** The inverse of `encode`. Keys such as `__proto__` stay ordinary keys. */
export const decode = (text: string): unknown =>
  JSON.parse(text, (_key, item: unknown) => {
    if (!isObject(item)) return item;
    const big = Object.hasOwn(item, BIGINT) ? item[BIGINT] : undefined;
    if (typeof big === 'string') return BigInt(big);
    return Object.keys(item).some(isEscapable) ? renameKeys(item, (key) => key.slice(1)) : item;
  });

const BIGINT = '$bigint';
const isEscapable = (key: string): boolean => /^\$+bigint$/.test(key);
const isObject = (item: unknown): item is Readonly<Record<string, unknown>> =>
  typeof item === 'object' && item !== null && !Array.isArray(item);

const renameKeys = (item: Readonly<Record<string, unknown>>, rename: (key: string) => string): object =>
  Object.fromEntries(
    Object.entries(item).map(([key, entry]) => [isEscapable(key) ? rename(key) : key, entry]),
  );
