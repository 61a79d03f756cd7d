import { type PeerCertificate, TLSSocket } from 'node:tls';
import { buildConnector } from 'undici';
import type { TlsSettings } from './tls-settings.ts';

/** A TLS handshake that was refused: by the certificate of the server, or by one of both sides. */
export class TlsError extends Error {
  /** OpenSSL's or Node's name of the failure: `CERT_HAS_EXPIRED`, `ERR_SSL_WRONG_VERSION_NUMBER`. */
  readonly code: string;
  /** The server that was addressed: `host:port`. */
  readonly server: string;
  /** What the server has shown, where it came to that. */
  readonly certificate: PeerCertificate | undefined;

  constructor(code: string, server: string, certificate: PeerCertificate | undefined, cause: unknown) {
    super(code, { cause });
    this.code = code;
    this.server = server;
    this.certificate = certificate;
  }
}

const TLS = /CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO|^EPROTO$|CA_LOOP|CHAIN/;

/** Makes connections with these settings. Failures of TLS are TlsErrors that hold the server's certificate. */
export function tlsConnector(tls: TlsSettings, connectMs: number): buildConnector.connector {
  const connect = buildConnector({
    timeout: connectMs,
    allowH2: false,
    rejectUnauthorized: tls.rejectUnauthorized,
    ...(tls.secureContext ? { secureContext: tls.secureContext } : {}),
  });
  return (options, callback) => {
    let certificate: PeerCertificate | undefined;
    const finish: buildConnector.Callback = (error, socket) => {
      if (error === null) callback(null, socket);
      else callback(named(error, `${options.hostname}:${options.port || 443}`, certificate), null);
    };
    // The types do not have it, but the client cancels by the socket that the connector returns.
    const socket: unknown = connect(options, finish);
    if (socket instanceof TLSSocket) {
      // Before Node verifies: after a refusal the certificate cannot be read any more.
      socket.prependOnceListener('secure', () => {
        certificate = socket.getPeerCertificate();
      });
    }
    return socket as undefined;
  };
}

function named(error: Error, server: string, certificate: PeerCertificate | undefined): Error {
  const code = 'code' in error ? String(error.code) : '';
  return TLS.test(code) ? new TlsError(code, server, certificate, error) : error;
}
