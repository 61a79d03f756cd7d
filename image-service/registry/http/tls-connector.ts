import { Socket } from 'node:net';
import { type PeerCertificate, TLSSocket } from 'node:tls';
import { buildConnector } from 'undici';
import type { ReadBuffer } from './read-buffer.ts';
import type { TlsSettings } from './tls-settings.ts';

/** A TLS handshake that was refused: by the certificate of the server, or by one of both sides. */
export class TlsError extends Error {
  /** OpenSSL's or Node's name of the failure: `CERT_HAS_EXPIRED`, `ERR_SSL_WRONG_VERSION_NUMBER`. */
  readonly code: string;
  /** The server that was addressed: `host:port`. */
  readonly server: string;
  /** What the server has shown, where it came to that. */
  readonly certificate: PeerCertificate | undefined;

  /** Where the authorities come from that the server was verified by; empty where that is not known. */
  readonly authorities: string;

  constructor(
    code: string,
    server: string,
    more: {
      readonly certificate?: PeerCertificate | undefined;
      readonly authorities?: string;
      readonly cause: unknown;
    },
  ) {
    super(code, { cause: more.cause });
    this.code = code;
    this.server = server;
    this.certificate = more.certificate;
    this.authorities = more.authorities ?? '';
  }
}

/** Of the errors that OpenSSL and Node's verification have. */
export const TLS_CODE = /CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO|^EPROTO$|CA_LOOP|CHAIN/;

/** The same to a proxy: its certificate is for its own name, not for that of the host that a request is for. */
export function proxyConnector(
  tls: TlsSettings,
  connectMs: number,
  reads?: ReadBuffer,
): buildConnector.connector {
  const connect = tlsConnector(tls, connectMs, reads);
  return ({ servername: _, ...options }, callback) => connect(options, callback);
}

/**
 * Makes connections with these settings. Failures of TLS are TlsErrors that hold the server's certificate. `reads`: what the connections
 * read into, unless it is another connection that they go over; only for a client that reads by `read()`.
 */
export function tlsConnector(
  tls: TlsSettings,
  connectMs: number,
  reads?: ReadBuffer,
): buildConnector.connector {
  const onread = reads === undefined ? {} : { onread: reads.onread };
  const connect = buildConnector({ timeout: connectMs, allowH2: false, ...tls.options, ...onread });
  return (options, callback) => {
    let certificate: PeerCertificate | undefined;
    const named = (error: Error): Error => {
      const code = 'code' in error ? String(error.code) : '';
      const more = { certificate, authorities: tls.authorities, cause: error };
      const server = `${options.hostname}:${options.port || 443}`;
      return TLS_CODE.test(code) ? new TlsError(code, server, more) : error;
    };
    const finish: buildConnector.Callback = (error, socket) => {
      if (error !== null) return callback(named(error), null);
      // With TLS 1.3 a client's certificate is refused only now; undici would report the end of the connection instead.
      socket.once('error', (failure) => socket.destroy(named(failure)));
      callback(null, socket);
    };
    // The types do not have it, but the client cancels by the socket that the connector returns.
    const socket: unknown = connect(options, finish);
    if (socket instanceof Socket && !options.httpSocket) reads?.attach(socket);
    if (socket instanceof TLSSocket) {
      // Before Node verifies: after a refusal the certificate cannot be read any more.
      socket.prependOnceListener('secure', () => {
        certificate = socket.getPeerCertificate();
      });
    }
    return socket as undefined;
  };
}
