import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Config } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { CallObserver } from '#cri/server.ts';
import type { StreamingOptions, StreamingTls } from '#cri/streaming/index.ts';

/** The configuration as the options of streaming. Throws InvalidArgument where a named file cannot be read, or used. */
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
  const [cert, key] = [pem('tls_cert_file', tlsCertFile), pem('tls_key_file', tlsKeyFile)];
  const certificate = parsed('tls_cert_file', tlsCertFile, () => new X509Certificate(cert));
  const secret = parsed('tls_key_file', tlsKeyFile, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(secret)) {
    throw new CrispError(
      'InvalidArgument',
      `streaming.tls_key_file: ${tlsKeyFile} is not the key of ${tlsCertFile}`,
      { hint: 'name the key that the certificate was made with' },
    );
  }
  if (tlsClientCaFile === '') return { cert, key };
  const clientCa = pem('tls_client_ca_file', tlsClientCaFile);
  parsed('tls_client_ca_file', tlsClientCaFile, () => new X509Certificate(clientCa));
  return { cert, key, clientCa };
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

/** Parsed now: a server would report it with its first client, or not at all. */
function parsed<T>(option: string, path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const what = option === 'tls_key_file' ? 'a private key without a passphrase' : 'a certificate';
    throw new CrispError('InvalidArgument', `streaming.${option}: ${path} does not hold ${what}`, {
      cause: error,
      hint: 'name a PEM file with one',
    });
  }
}
