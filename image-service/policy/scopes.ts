import type { Reference } from '../image/reference.ts';

/**
 * The scopes of an image from the most to the least specific, by which containers-policy.json(5) and
 * containers-registries.d(5) are searched: the reference, its repository, each parent namespace, the host, and wildcards
 * of its domains, which match hosts of any port.
 */
export function scopesOf({ text, repository }: Pick<Reference, 'text' | 'repository'>): readonly string[] {
  const scopes = [text];
  let name = repository;
  for (;;) {
    scopes.push(name);
    const slash = name.lastIndexOf('/');
    if (slash < 0) break;
    name = name.slice(0, slash);
  }
  const host = name.split(':')[0] ?? '';
  for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1))
    scopes.push(`*${host.slice(dot)}`);
  return scopes;
}
