/**
 * Redacts secrets in log fields. The names are those of credentials in CRI (AuthConfig), in HTTP
 * headers and in docker's config.json; a value under such a name is never logged, whatever its type.
 */
const SECRET =
  /^(auth|auths|password|passwd|token|(identity|registry|access|refresh)_?token|secret|authorization|cookie|credentials?)$/i;
/** Deep enough for any log line; deeper levels are cut, so that a hostile structure costs nothing. */
const DEPTH = 6;

/** A copy without secrets; errors become their messages, bigints and bytes become text. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return messages(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (depth === DEPTH) return '…';
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  if (value instanceof Map) return redact(Object.fromEntries(value), depth);
  if (value instanceof Set) return redact([...value], depth);
  return redactFields(value, depth);
}

/** The same for the fields of an object. */
export function redactFields(fields: object, depth = 0): Record<string, unknown> {
  const entries = Object.entries(fields).map(([key, value]): [string, unknown] => {
    const hidden = SECRET.test(key) && value !== undefined && value !== null && value !== '';
    return [key, hidden ? '[redacted]' : redact(value, depth + 1)];
  });
  return Object.fromEntries(entries);
}

function messages(error: Error): string {
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error && parts.length < 8; at = at.cause)
    parts.push(at.message);
  return parts.join(': ');
}
