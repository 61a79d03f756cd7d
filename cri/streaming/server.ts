/** The listener of streaming sessions: checks each request, and passes its connection to the session of its token. */
import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { cannotBind, endpointOf } from './address.ts';
import { protocolOf, Refusal, transportOf } from './negotiation.ts';
import { BufferedSocket } from './read-buffer.ts';
import type { StreamingSession } from './sessions.ts';
import { contextOf, type StreamingTls } from './tls.ts';
import { Tokens } from './tokens.ts';
import { WebSocketUpgrades } from './websocket/upgrade.ts';

/** Not by an import: an ES module's import reads all exports, and some of node:http's load a whole HTTP client (15 MB). */
const http = process.getBuiltinModule('node:http');

export interface ListenOptions {
  /** `host:port`, as in URLs; port 0 picks a free one. */
  readonly address: string;
  readonly tls?: StreamingTls | undefined;
  /** A connection that is idle for so long is closed, in ms. */
  readonly idleMs: number;
  readonly log: Log;
}

/** A client's connection after the upgrade. */
export type Connection =
  | { readonly transport: 'spdy'; readonly stream: Duplex; readonly head: Buffer; readonly protocol: string }
  | { readonly transport: 'websocket'; readonly socket: WebSocket; readonly protocol: string };

const MAX_CONNECTIONS = 4096;
const MAX_HEADERS = 16 << 10;
const HEADERS_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;

export class StreamingServer {
  readonly #server: Server;
  readonly #tokens = new Tokens<StreamingSession>();
  readonly #webSockets = new WebSocketUpgrades();
  readonly #sockets = new Set<Socket>();
  #options: ListenOptions;
  readonly #serve: (session: StreamingSession, connection: Connection) => void;
  #base = '';
  #closed: Promise<void> | undefined;

  private constructor(
    options: ListenOptions,
    serve: (session: StreamingSession, connection: Connection) => void,
  ) {
    this.#options = options;
    this.#serve = serve;
    const limits = { maxHeaderSize: MAX_HEADERS, headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS };
    const { tls } = options;
    this.#server = tls
      ? process.getBuiltinModule('node:https').createServer({
          ...limits,
          ...contextOf(tls),
          ...(tls.clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: true }),
        })
      : http.createServer(limits);
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('connection', (socket) => this.#watch(socket));
    // An accept that fails (no descriptor is left) must not end the daemon: the client tries again.
    this.#server.on('error', (error) =>
      options.log.warn({ error: describeError(error) }, 'a streaming connection was not accepted'),
    );
    this.#server.on('request', (request, response) => this.#refuse(request, response));
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Binds and serves. Throws Unavailable where the address cannot be bound. */
  static async listen(
    options: ListenOptions,
    serve: (session: StreamingSession, connection: Connection) => void,
  ): Promise<StreamingServer> {
    const server = new StreamingServer(options, serve);
    const { hostname, host, port } = endpointOf(options.address);
    try {
      server.#server.listen({ host, port });
      await once(server.#server, 'listening');
    } catch (error) {
      throw cannotBind(options.address, error);
    }
    const bound = server.#server.address();
    const actual = typeof bound === 'object' && bound ? bound.port : port;
    server.#base = `${options.tls ? 'https' : 'http'}://${hostname}:${actual}`;
    return server;
  }

  /** A URL that opens the session once, within a minute. Throws ResourceExhausted. */
  url(session: StreamingSession): string {
    return `${this.#base}/${session.kind}/${this.#tokens.issue(session)}`;
  }

  /** For new connections. TLS is of the same kind as before: `isSameKind`. */
  update(options: ListenOptions): void {
    this.#options = options;
    if (options.tls) (this.#server as TlsServer).setSecureContext(contextOf(options.tls));
  }

  /** Accepts no more connections; those that are left go on. */
  retire(): void {
    this.#closed ??= new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Accepts no more connections and closes those that are left. */
  async close(): Promise<void> {
    this.retire();
    for (const socket of this.#sockets) socket.destroy();
    await this.#closed;
  }

  #watch(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
  }

  /** The session of the request's token, which is invalid afterwards, and its protocol. Throws a Refusal. */
  #authorize(request: IncomingMessage) {
    const [, kind, token = ''] =
      /^\/(exec|attach|portforward)\/([\w-]{1,64})(?:\?|$)/.exec(request.url ?? '') ?? [];
    const session = kind === undefined ? undefined : this.#tokens.redeem(token);
    if (!session || session.kind !== kind) {
      const why = 'unknown, used, older than a minute, or issued before the daemon was restarted';
      throw new Refusal(404, `session not available: its token is ${why}; request a new one`);
    }
    const transport = transportOf(request);
    return { session, transport, protocol: protocolOf(request, transport, session.kind) };
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => {}); // the close event that follows reports it
    try {
      const { session, transport, protocol } = this.#authorize(request);
      this.#limitIdle(request.socket);
      if (transport === 'spdy') {
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
        );
        this.#serve(session, { transport, stream: BufferedSocket.of(socket), head, protocol });
      } else {
        this.#webSockets.accept(request, socket, head, protocol, (webSocket) =>
          this.#serve(session, { transport, socket: webSocket, protocol }),
        );
      }
    } catch (error) {
      const { status, message, headers } = this.#refusal(request, error);
      const lines = Object.entries({ ...headers, Connection: 'close', 'Content-Type': 'text/plain' });
      const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
      const length = Buffer.byteLength(message) + 1;
      const response = `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n${text}Content-Length: ${length}\r\n\r\n${message}\n`;
      socket.end(response, () => socket.destroy());
    }
  }

  #refuse(request: IncomingMessage, response: ServerResponse): void {
    try {
      this.#authorize(request);
    } catch (error) {
      const { status, message, headers } = this.#refusal(request, error);
      response.writeHead(status, { ...headers, connection: 'close', 'content-type': 'text/plain' });
      response.end(`${message}\n`);
      return;
    }
    response.writeHead(400, { connection: 'close' }).end();
  }

  /** Logged without the token: a request refused for its protocol may be retried with another. */
  #refusal(request: IncomingMessage, error: unknown): Refusal {
    const refusal = error instanceof Refusal ? error : new Refusal(500, 'the request could not be checked');
    const peer = request.socket.remoteAddress;
    this.#options.log.info(
      { status: refusal.status, peer, why: refusal.message },
      'streaming request refused',
    );
    return refusal;
  }

  #limitIdle(socket: Socket): void {
    socket.setTimeout(this.#options.idleMs, () => {
      this.#options.log.info(
        { seconds: this.#options.idleMs / 1000 },
        'an idle streaming connection is closed',
      );
      socket.destroy();
    });
  }
}
