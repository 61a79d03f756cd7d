/**
 * Serves /metrics, in OpenMetrics to who asks for that, and the state of the daemon at /livez, /readyz and /healthz, over HTTP
 * or HTTPS; anything else is 404.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { CONTENT_TYPES, type Form, formFor } from './exposition.ts';

/** Not by an import: an ES module's import reads all exports, and some of node:http's load a whole HTTP client (15 MB). */
const http = process.getBuiltinModule('node:http');

export interface MetricsSource {
  /** Called when the metrics are to be served; before, nobody reads what watching the process costs. */
  watchProcess(): void;
  text(form: Form): Promise<string>;
}

export interface ListenerTls {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Authorities of the clients' certificates; where given, clients must have one. */
  readonly clientCa?: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export interface ListenerOptions {
  /** `127.0.0.1:9090`, `[::1]:9090`; port 0: any free one. */
  readonly address: string;
  /** Plain HTTP where absent. */
  readonly tls?: ListenerTls | undefined;
  readonly metrics: MetricsSource;
  /** What is asked by its path, such as `/healthz`: undefined when all is well, else the problem, and the reply is 503. */
  readonly health: Readonly<Record<string, () => Promise<string | undefined>>>;
}

export interface MetricsListener extends AsyncDisposable {
  /** The bound address with its port. */
  readonly address: string;
  /** For new connections; only of one that has TLS, and of the same kind: with authorities for clients or without. */
  setTls(tls: ListenerTls): void;
  close(): Promise<void>;
}

async function answer(request: IncomingMessage, options: ListenerOptions): Promise<[number, string, string]> {
  const text = 'text/plain; charset=utf-8';
  if (request.method !== 'GET' && request.method !== 'HEAD') return [405, text, 'only GET\n'];
  const path = request.url?.split('?')[0];
  if (path === '/metrics') {
    const form = formFor(request.headers.accept);
    return [200, CONTENT_TYPES[form], await options.metrics.text(form)];
  }
  const health = path !== undefined && Object.hasOwn(options.health, path) ? options.health[path] : undefined;
  if (!health)
    return [404, text, `not found: only ${['/metrics', ...Object.keys(options.health)].join(', ')} exist\n`];
  const problem = await health();
  return problem === undefined ? [200, text, 'ok\n'] : [503, text, `${problem}\n`];
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: ListenerOptions,
): Promise<void> {
  const [status, type, body] = await answer(request, options).catch(
    (error: unknown): [number, string, string] => [
      500,
      'text/plain; charset=utf-8',
      `${describeError(error)}\n`,
    ],
  );
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(request.method === 'HEAD' ? undefined : body);
}

const contextOf = ({ cert, key, clientCa, minVersion }: ListenerTls) => ({
  cert,
  key,
  minVersion,
  ...(clientCa === undefined ? {} : { ca: clientCa }),
});

/** Listens until closed. Throws FailedPrecondition where the address cannot be bound. */
export async function listenMetrics(options: ListenerOptions): Promise<MetricsListener> {
  const { tls } = options;
  const limits = { requestTimeout: 10_000, headersTimeout: 5_000, maxHeaderSize: 8192 };
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    void respond(request, response, options);
  };
  const checked = {
    requestCert: tls?.clientCa !== undefined,
    rejectUnauthorized: tls?.clientCa !== undefined,
  };
  const server = tls
    ? process.getBuiltinModule('node:https').createServer({ ...limits, ...checked, ...contextOf(tls) }, serve)
    : http.createServer(limits, serve);
  const colon = options.address.lastIndexOf(':');
  const host = options.address.slice(0, colon).replaceAll(/[[\]]/g, '');
  await new Promise<void>((resolve, reject) => {
    // Stays: later it is called for accepts that fail, which the scraper notices by itself.
    server.on('error', (error) => {
      const message = `metrics: cannot listen on ${options.address} (${errnoOf(error)})`;
      reject(
        new CrispError('FailedPrecondition', message, {
          hint: 'set metrics.address to a free one, or to ""',
        }),
      );
    });
    server.listen(Number(options.address.slice(colon + 1)), host, resolve);
  });
  options.metrics.watchProcess();
  server.unref(); // a scraper must not keep the daemon alive
  const bound = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const address = `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
  const setTls = (next: ListenerTls) => (server as TlsServer).setSecureContext(contextOf(next));
  return { address, setTls, close, [Symbol.asyncDispose]: close };
}
