/** Replies like an API server for one pod, and forwards upgraded connections to the URLs that crisp gives. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { CriClient } from '#api/cri/v1/client.ts';

export interface FrontedPod {
  readonly pod: string;
  readonly container: string;
  readonly tty: boolean;
}

export interface Front extends AsyncDisposable {
  readonly url: string;
  /** The upgrades that clients requested: `POST exec SPDY/3.1`, with the protocols that they offered. */
  readonly upgrades: string[];
}

/**
 * The pods by their names, all in the namespace `default`, each with the container `main`. `withhold` is a protocol that
 * is hidden from crisp, as with an older server in between.
 */
export async function startFront(
  client: CriClient,
  pods: Readonly<Record<string, FrontedPod>>,
  { withhold = '' } = {},
): Promise<Front> {
  const upgrades: string[] = [];
  const sockets = new Set<Duplex>();
  const server = createServer((request, response) => answer(request, response, pods));
  server.on('upgrade', async (request, socket, head) => {
    sockets.add(socket);
    socket.on('error', () => {});
    const found = /\/pods\/([^/]+)\/(exec|attach|portforward)(?:\?|$)/.exec(request.url ?? '');
    const pod = pods[found?.[1] ?? ''];
    if (!found || !pod) {
      socket.end('HTTP/1.1 404 Not Found\r\n\r\n');
      return;
    }
    const { headers, method } = request;
    const offered = headers['sec-websocket-protocol'] ?? headers['x-stream-protocol-version'] ?? '';
    upgrades.push(`${method} ${found[2]} ${headers.upgrade} ${offered}`);
    const url = await sessionUrl(
      client,
      found[2] ?? '',
      pod,
      new URL(request.url ?? '', 'http://x').searchParams,
    );
    const headerLines = request.rawHeaders.flatMap((name, n, all) =>
      n % 2 === 0 ? [`${name}: ${without(all[n + 1] ?? '', withhold)}\r\n`] : [],
    );
    forward(
      `${method} ${new URL(url).pathname} HTTP/1.1\r\n${headerLines.join('')}\r\n`,
      socket,
      head,
      new URL(url),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    upgrades,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}

async function sessionUrl(
  client: CriClient,
  kind: string,
  { pod, container }: FrontedPod,
  query: URLSearchParams,
): Promise<string> {
  const flag = (name: string) => ['1', 'true'].includes(query.get(name) ?? '');
  const tty = flag('tty');
  const streams = { stdin: flag('stdin'), stdout: flag('stdout'), stderr: flag('stderr') && !tty, tty };
  if (kind === 'exec')
    return (await client.Exec({ containerId: container, cmd: query.getAll('command'), ...streams })).url;
  if (kind === 'attach') return (await client.Attach({ containerId: container, ...streams })).url;
  const port = query.getAll('ports').flatMap((text) => text.split(',').map(Number));
  return (await client.PortForward({ podSandboxId: pod, port })).url;
}

const without = (list: string, item: string): string =>
  item === '' ? list : list.replace(new RegExp(`${item.replaceAll('.', '\\.')},? ?`), '');

/** The kubelet, and the API server before it, pass the request and then all bytes on. */
function forward(request: string, socket: Duplex, head: Buffer, url: URL): void {
  const where = { port: Number(url.port), host: url.hostname };
  const upstream = url.protocol === 'https:' ? connectTls(where) : connect(where);
  upstream.on('error', () => socket.destroy());
  upstream.write(request);
  upstream.write(head);
  socket.pipe(upstream).pipe(socket);
  socket.once('close', () => upstream.destroy());
  upstream.once('close', () => socket.end());
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  pods: Readonly<Record<string, FrontedPod>>,
): void {
  const { pathname } = new URL(request.url ?? '', 'http://x');
  const body = documentOf(pathname, pods);
  response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' });
  response.end(
    JSON.stringify(
      body ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 },
    ),
  );
}

function documentOf(path: string, pods: Readonly<Record<string, FrontedPod>>): object | undefined {
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'] };
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: [] };
  if (path === '/version') return { major: '1', minor: '36', gitVersion: 'v1.36.0' };
  if (path === '/api/v1') {
    const resource = { name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get'] };
    return { kind: 'APIResourceList', groupVersion: 'v1', resources: [resource] };
  }
  const name = /^\/api\/v1\/namespaces\/default\/pods\/([^/]+)$/.exec(path)?.[1] ?? '';
  const pod = pods[name];
  if (!pod) return undefined;
  const container = { name: 'main', image: 'busybox', stdin: true, tty: pod.tty };
  const running = { name: 'main', ready: true, state: { running: { startedAt: '2026-01-01T00:00:00Z' } } };
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { name, namespace: 'default', uid: name },
    spec: { containers: [container], nodeName: 'node' },
    status: { phase: 'Running', containerStatuses: [running] },
  };
}
