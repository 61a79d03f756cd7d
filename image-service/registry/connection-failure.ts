import { errnoOf } from '#core/errors.ts';
import { RegistryFailure } from './failure.ts';
import { TlsError } from './http/tls-connector.ts';

/** undici's codes, in words; others are the kernel's or the resolver's, and shown as they are. */
const WORDS: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: 'CONNECT_TIMEOUT',
  UND_ERR_SOCKET: 'the connection was closed',
};

/** The failure of a connection error. `received` counts the bytes of this transfer so far. */
export function failureOfConnection(
  error: unknown,
  what: string,
  received: number,
  noByteMs: number,
): RegistryFailure {
  const code = errnoOf(error) ?? (error instanceof Error ? error.name : 'error');
  if (code === 'UND_ERR_BODY_TIMEOUT' || code === 'UND_ERR_HEADERS_TIMEOUT') {
    const phase = code === 'UND_ERR_BODY_TIMEOUT' ? 'in the body' : 'before the response';
    const text = `${what}: no byte for ${noByteMs / 1000} s ${phase}, after ${received} bytes`;
    return new RegistryFailure('RegistryUnavailable', text, {
      hint: 'check the network to the registry',
      transient: true,
    });
  }
  if (error instanceof TlsError) {
    return new RegistryFailure('RegistryUnavailable', `${what}: TLS: ${code}`, {
      hint: "give the registry's certificate authority in the config, or an http:// endpoint if it has no TLS",
    });
  }
  const text = `${what}: ${WORDS[code] ?? code}${received > 0 ? ` after ${received} bytes` : ''}`;
  return new RegistryFailure('RegistryUnavailable', text, {
    hint: 'check that the registry runs and can be reached from this node',
    transient: true,
  });
}
