import { readFileSync } from 'node:fs';
import type { Config } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { CallObserver } from '#cri/server.ts';
import type { StreamingOptions, StreamingTls } from '#cri/streaming/index.ts';

/** The configuration as the options of streaming. Throws InvalidArgument where a named file cannot be read. */
export function streamingOptions({ streaming }: Config, log: Log, observer: CallObserver): StreamingOptions {
  const tls = tlsOf(streaming);
  return {
    address: streaming.address,
    ...(tls ? { tls } : {}),
    idleMs: streaming.idleTimeout,
    log,
    observer,
  };
}

function tlsOf({ tlsCertFile, tlsKeyFile, tlsClientCaFile }: Config['streaming']): StreamingTls | undefined {
  if (tlsCertFile === '' && tlsKeyFile === '' && tlsClientCaFile === '') return undefined;
  if (tlsCertFile === '' || tlsKeyFile === '') {
    throw new CrispError('InvalidArgument', 'streaming: tls_cert_file and tls_key_file belong together', {
      hint: 'set both, or none of the tls options',
    });
  }
  return {
    cert: pem('tls_cert_file', tlsCertFile),
    key: pem('tls_key_file', tlsKeyFile),
    ...(tlsClientCaFile === '' ? {} : { clientCa: pem('tls_client_ca_file', tlsClientCaFile) }),
  };
}

function pem(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CrispError('InvalidArgument', `streaming.${option}: ${path} cannot be read`, {
      cause: error,
      hint: 'name a readable PEM file',
    });
  }
}
