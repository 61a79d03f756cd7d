import { errnoOf } from '#core/errors.ts';
import { RegistryFailure } from './failure.ts';
import { ProxyError } from './http/proxy-error.ts';
import { TlsError } from './http/tls-connector.ts';
import { TOO_MANY_INFORMATIONAL } from './http/transport.ts';
import { failureOfTls } from './tls-failure.ts';

/** undici's codes, in words; others are the kernel's or the resolver's, and shown as they are. */
const WORDS: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: 'CONNECT_TIMEOUT',
  UND_ERR_SOCKET: 'the connection was closed',
  UND_ERR_HEADERS_TIMEOUT: 'no reply in time',
  // undici means to give it a code, but looks that up in the wrong direction.
  HTTPParserError: 'the response is not HTTP',
  UND_ERR_HEADERS_OVERFLOW: 'the head of the response is too large',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the body has another length than its head says',
  [TOO_MANY_INFORMATIONAL]: 'too many informational responses (1xx) before the response',
};

/** The failure of a connection error. `received` counts the bytes of this transfer so far. */
export function failureOfConnection(
  error: unknown,
  what: string,
  received: number,
  noByteMs: number,
): RegistryFailure {
  if (error instanceof ProxyError) return failureOfProxy(error, what);
  const code = errnoOf(error) ?? (error instanceof Error ? error.name : 'error');
  if (code === 'UND_ERR_BODY_TIMEOUT' || code === 'UND_ERR_HEADERS_TIMEOUT') {
    const phase = code === 'UND_ERR_BODY_TIMEOUT' ? 'in the body' : 'before the response';
    const text = `${what}: no byte for ${noByteMs / 1000} s ${phase}, after ${received} bytes`;
    return new RegistryFailure('RegistryUnavailable', text, {
      hint: 'check the network to the registry',
      transient: true,
    });
  }
  if (error instanceof TlsError) return failureOfTls(error, what);
  if (code === 'HTTPParserError' || code.startsWith('HPE_')) {
    return new RegistryFailure('RegistryUnavailable', `${what}: the response is not HTTP`, {
      hint: 'check host and port; a server with TLS must not be configured as insecure or by http://',
    });
  }
  const text = `${what}: ${WORDS[code] ?? code}${received > 0 ? ` after ${received} bytes` : ''}`;
  return new RegistryFailure('RegistryUnavailable', text, {
    hint: 'check that the registry runs and can be reached from this node',
    transient: true,
  });
}

function failureOfProxy(error: ProxyError, what: string): RegistryFailure {
  const { proxy, target, status, cause } = error;
  const [host] = /^.*(?=:\d+$)/.exec(target) ?? [target];
  const about = `${what}: proxy ${proxy.name} (of ${proxy.source})`;
  if (cause instanceof TlsError) return failureOfTls(cause, about);
  if (status === undefined) {
    const code = errnoOf(cause) ?? (cause instanceof Error ? cause.name : 'error');
    const refused = code.startsWith('UND_ERR_SOCKS5') && cause instanceof Error;
    const why = refused ? `${cause.message}, asked for ${target}` : (WORDS[code] ?? code);
    return new RegistryFailure('RegistryUnavailable', `${about}: ${why}`, {
      hint: `check that ${proxy.source} names a proxy that runs and that can be reached from this node; name ${host} in NO_PROXY if it needs none`,
      transient: !refused,
    });
  }
  const text = `${about} replied ${status}, asked for ${target}`;
  if (status === 407) {
    return new RegistryFailure('RegistryUnavailable', text, {
      hint: hintOfLogin(error),
    });
  }
  const transient = status === 429 || status >= 500;
  return new RegistryFailure('RegistryUnavailable', text, {
    hint: transient
      ? `the proxy does not reach ${host}: check its own log, or name ${host} in NO_PROXY if it is reached without it`
      : `let the proxy permit CONNECT to ${target}, or name ${host} in NO_PROXY if it is reached without it`,
    transient,
  });
}

function hintOfLogin({ proxy, logins }: ProxyError): string {
  if (logins.length > 0 && !logins.some((login) => /^basic$/i.test(login))) {
    return `it offers only ${logins.join(', ')}, and crisp logs in by Basic: have the proxy offer that, or use a local proxy that logs in to it`;
  }
  return proxy.login
    ? `it refuses the user or the password of ${proxy.source}: correct them, escaped as in a URL`
    : `it requires a login: write user:password@ before the host in ${proxy.source}`;
}
