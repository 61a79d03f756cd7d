/** Serves api/admin/contract.ts: each request is an operation with the client's cancellation, metrics and a log line. */
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { ARCHIVE_TYPE, encodeFailure, FAILURE_TRAILER, LINES_TYPE } from '#api/admin/contract.ts';
import { CrispError, codeOf, describeError } from '#core/errors.ts';
import { type Log, Operation } from '#core/operation.ts';
import type { CallObserver } from '#cri/server.ts';
import { failureOf, statusOf } from './failure.ts';
import { type AdminReply, type AdminServices, routeOf } from './routes.ts';

/** Not by an import: an ES module's import reads all exports, and some of node:http's load a whole HTTP client (15 MB). */
const http = process.getBuiltinModule('node:http');

export interface AdminServerOptions {
  /** Path of the socket; its directory exists, the path itself does not. Only root may open it. */
  readonly socket: string;
  readonly log: Log;
  readonly observer: CallObserver;
  /** How long running requests may continue after `close`, in ms. */
  readonly closeMs: number;
}

const SOCKET_MODE = 0o600;

export class AdminServer {
  readonly #services: AdminServices;
  readonly #options: AdminServerOptions;
  readonly #server: Server;
  readonly #running = new Set<AbortController>();
  readonly #operations = new Set<Operation>();

  private constructor(services: AdminServices, options: AdminServerOptions) {
    this.#services = services;
    this.#options = options;
    // The duration of archives is not bounded: only the headers have a timeout.
    this.#server = http.createServer({ requestTimeout: 0, headersTimeout: 10_000 }, (request, response) => {
      void this.#serve(request, response);
    });
    // An accept that fails (no descriptor is left) must not end the daemon: the client tries again.
    this.#server.on('error', (error) =>
      options.log.warn({ error: describeError(error) }, 'a connection to the admin socket was not accepted'),
    );
  }

  /** Binds and serves. Throws Unavailable where the socket cannot be bound. */
  static async listen(services: AdminServices, options: AdminServerOptions): Promise<AdminServer> {
    const server = new AdminServer(services, options);
    try {
      const listening = once(server.#server, 'listening');
      // The mask is the whole process's: it is back before anything else can run, for a path is bound at once.
      const umask = process.umask(0o777 & ~SOCKET_MODE);
      try {
        server.#server.listen(options.socket);
      } finally {
        process.umask(umask);
      }
      await listening;
    } catch (error) {
      throw new CrispError('Unavailable', `the socket ${options.socket} cannot be bound`, {
        cause: error,
        hint: 'check that its directory exists and that no other daemon uses it, or set admin_socket',
      });
    }
    await chmod(options.socket, SOCKET_MODE);
    return server;
  }

  /** The running operations, without those that are polled. */
  get operations(): readonly Operation[] {
    return [...this.#operations];
  }

  /** Accepts no new requests, lets running ones end until `closeMs`, then cancels the rest. */
  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const reason = new CrispError('Unavailable', 'the daemon is stopping', { hint: 'retry later' });
    const timer = setTimeout(() => {
      for (const controller of this.#running) controller.abort(reason);
      setTimeout(() => this.#server.closeAllConnections(), 1000).unref();
    }, this.#options.closeMs);
    await ended;
    clearTimeout(timer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { log, observer } = this.#options;
    const controller = new AbortController();
    this.#running.add(controller);
    response.once('close', () => {
      if (!response.writableFinished)
        controller.abort(new CrispError('Cancelled', 'the client closed the connection'));
    });
    response.on('error', () => {}); // handled by the close event that follows
    let isQuiet = false;
    let op = new Operation('AdminRequest', { log, signal: controller.signal });
    try {
      const url = urlOf(request);
      const route = routeOf(request.method ?? '', url.pathname);
      isQuiet = route.quiet ?? false;
      const onStage: CallObserver['stage'] = (one, stage) => observer.stage(one, stage);
      op = new Operation(route.name, { log, signal: controller.signal, onStage });
      if (!isQuiet) this.#operations.add(op);
      // Left open after an error, so that the client, which is still sending, can read the response.
      const body: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
      await send(response, await route.run(this.#services, { query: url.searchParams, body }, op), op);
      this.#ended(op, undefined, isQuiet);
    } catch (thrown) {
      // The abort reason is more specific than the error of the wait that was aborted.
      const error = controller.signal.aborted ? controller.signal.reason : thrown;
      this.#ended(op, error, isQuiet);
      sendFailure(response, error, op);
    } finally {
      this.#running.delete(controller);
      this.#operations.delete(op);
      request.resume();
    }
  }

  #ended(op: Operation, error: unknown, isQuiet: boolean): void {
    const ms = performance.now() - op.started;
    const code = error === undefined ? undefined : codeOf(error);
    this.#options.observer.operation(op, ms / 1000, code);
    const fields = { ms: Math.round(ms * 10) / 10 };
    if (error === undefined) op.log[isQuiet ? 'debug' : 'info'](fields, 'done');
    else op.log.warn({ ...fields, code, error: describeError(error) }, 'failed');
  }
}

/** Throws InvalidArgument: what HTTP takes for a request's target, such as `//`, need not be a URL. */
function urlOf(request: IncomingMessage): URL {
  const target = request.url ?? '';
  const url = URL.parse(target, 'http://admin');
  if (url) return url;
  throw new CrispError('InvalidArgument', `${JSON.stringify(target.slice(0, 200))} is not a request path`, {
    hint: 'see api/admin/contract.ts',
  });
}

async function send(response: ServerResponse, reply: AdminReply, op: Operation): Promise<void> {
  if ('json' in reply) {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(reply.json));
    return;
  }
  if ('text' in reply) {
    response.writeHead(reply.status, { 'content-type': 'text/plain; charset=utf-8' }).end(reply.text);
    return;
  }
  const type = 'lines' in reply ? LINES_TYPE : ARCHIVE_TYPE;
  for await (const piece of 'lines' in reply ? encoded(reply.lines) : reply.pieces) {
    op.checkpoint();
    // With the first piece: an error before it is sent as an HTTP status.
    if (!response.headersSent) {
      response.writeHead(200, { 'content-type': type, trailer: FAILURE_TRAILER });
    }
    if (!response.write(piece)) await once(response, 'drain', { signal: op.signal });
  }
  response.end();
}

async function* encoded(lines: AsyncGenerator<object>): AsyncGenerator<string> {
  for await (const line of lines) yield `${JSON.stringify(line)}\n`;
}

function sendFailure(response: ServerResponse, error: unknown, op: Operation): void {
  if (response.destroyed) return;
  const failure = failureOf(error, op);
  if (response.headersSent) {
    response.addTrailers({ [FAILURE_TRAILER]: encodeFailure(failure) });
    response.end();
    return;
  }
  const headers = { 'content-type': 'application/json', connection: 'close' };
  response.writeHead(statusOf(failure.error.code), headers).end(JSON.stringify(failure));
}
