import { errnoOf } from '#core/errors.ts';
import { RegistryFailure } from './failure.ts';

const TLS = /CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO/;

/** The failure of a connection error. `received` counts the bytes of this transfer so far. */
export function failureOfConnection(
  error: unknown,
  what: string,
  received: number,
  noByteMs: number,
): RegistryFailure {
  const code = errnoOf(error) ?? (error instanceof Error ? error.name : 'error');
  if (code === 'BODY_TIMEOUT' || code === 'HEAD_TIMEOUT') {
    const phase = code === 'BODY_TIMEOUT' ? 'in the body' : 'before the response';
    const text = `${what}: no byte for ${noByteMs / 1000} s ${phase}, after ${received} bytes`;
    return new RegistryFailure('RegistryUnavailable', text, {
      hint: 'check the network to the registry',
      transient: true,
    });
  }
  if (TLS.test(code)) {
    return new RegistryFailure('RegistryUnavailable', `${what}: TLS: ${code}`, {
      hint: "give the registry's certificate authority in the config, or an http:// endpoint if it has no TLS",
    });
  }
  const text = `${what}: ${code}${received > 0 ? ` after ${received} bytes` : ''}`;
  return new RegistryFailure('RegistryUnavailable', text, {
    hint: 'check that the registry runs and can be reached from this node',
    transient: true,
  });
}
