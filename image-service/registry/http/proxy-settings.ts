import type { ProxyOptions, ProxySetting } from './proxies.ts';

/** Of the configuration; an empty value is not set. */
export interface ProxyConfig {
  readonly http: string;
  readonly https: string;
  readonly noProxy: readonly string[];
}

/** Each setting of the configuration, else of the environment. As for Go's programs, HTTP_PROXY goes before http_proxy. */
export function proxyOptions(
  config: ProxyConfig,
  env: Readonly<Record<string, string | undefined>>,
): ProxyOptions {
  const from = (key: string, configured: string, variable: string): ProxySetting | undefined => {
    if (configured !== '') return { value: configured, source: `image.proxy.${key}` };
    const source = [variable, variable.toLowerCase()].find((name) => (env[name] ?? '') !== '');
    return source === undefined ? undefined : { value: env[source] ?? '', source };
  };
  const http = from('http', config.http, 'HTTP_PROXY');
  const https = from('https', config.https, 'HTTPS_PROXY');
  const noProxy = from('no_proxy', config.noProxy.join(','), 'NO_PROXY');
  return { ...(http && { http }), ...(https && { https }), ...(noProxy && { noProxy }) };
}
