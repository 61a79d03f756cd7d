import type { Endpoint } from './endpoint.ts';

/** `manifests/<tag or digest>` or `blobs/<digest>` of the endpoint's repository; a mirror gets the registry as `ns`. */
export function requestUrl(
  { base, repository, namespace }: Pick<Endpoint, 'base' | 'repository' | 'namespace'>,
  content: string,
): string {
  const query = namespace === undefined ? '' : `?${new URLSearchParams({ ns: namespace })}`;
  return `${base}/${repository}/${content}${query}`;
}

/** Whether the content may be asked there: tags where names are resolved, all else where content is served. */
export const mayAsk = (
  { resolves, serves }: Pick<Endpoint, 'resolves' | 'serves'>,
  content: string,
): boolean => (/^manifests\/(?!sha256:)/.test(content) ? resolves : serves);
