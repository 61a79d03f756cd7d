/** An HTTP front before a registry that does what networks and bad servers do. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { createServer as createTls, type ServerOptions } from 'node:https';

export interface Exchange {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/** Replies to a request itself (true), or passes it on to the registry (false). */
export type Rule = (
  req: IncomingMessage,
  res: ServerResponse,
  forward: (edit?: Edit) => void,
) => boolean | Promise<boolean>;
/** Writes a changed form of the registry's response. */
export type Edit = (reply: IncomingMessage, res: ServerResponse) => void;

export interface Front extends AsyncDisposable {
  readonly host: string;
  readonly url: string;
  /** All requests so far. */
  readonly seen: Exchange[];
  rule: Rule | undefined;
  readonly server: Server;
}

/** Starts a front before `registry` (`http://host:port`), with a certificate where `tls` has one. */
export async function startFront(
  registry: string,
  rule?: Rule,
  address = '127.0.0.1',
  tls?: ServerOptions,
): Promise<Front> {
  const seen: Exchange[] = [];
  const front = { rule };
  const serve = async (req: IncomingMessage, res: ServerResponse) => {
    const { authorization, range } = req.headers;
    seen.push({ method: req.method ?? '', url: req.url ?? '', authorization, range });
    const forward = (edit?: Edit) => pass(registry, req, res, edit);
    if (!(await front.rule?.(req, res, forward))) forward();
  };
  const server = tls ? createTls(tls, serve) : createServer(serve);
  server.listen(0, address);
  await once(server, 'listening');
  const bound = server.address();
  const host = `${address}:${typeof bound === 'object' && bound ? bound.port : 0}`;
  return Object.assign(front, {
    host,
    url: `${tls ? 'https' : 'http'}://${host}`,
    seen,
    server,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  }) as Front;
}

function pass(registry: string, req: IncomingMessage, res: ServerResponse, edit?: Edit): void {
  const onward = request(
    new URL(req.url ?? '/', registry),
    { method: req.method ?? 'GET', headers: { ...req.headers } },
    (reply) => {
      if (edit) return edit(reply, res);
      res.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(res);
    },
  );
  onward.on('error', () => res.destroy());
  req.pipe(onward);
}
