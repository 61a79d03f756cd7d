/** As much of a Kubernetes API server as a run of the cluster test needs: no pod ever gets a status. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

interface Stored {
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> };
}

const NODE = {
  metadata: { name: 'node-1' },
  status: {
    conditions: [
      { type: 'Ready', status: 'True' },
      ...['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((type) => ({ type, status: 'False' })),
    ],
    nodeInfo: {
      operatingSystem: 'linux',
      containerRuntimeVersion: 'crisp://0.1.0',
      kubeletVersion: 'v1.30.4',
      osImage: 'Debian GNU/Linux 12',
    },
  },
};

/** By the kind below a namespace, or the path. */
const FIXED: Readonly<Record<string, object>> = {
  '/version': { gitVersion: 'v1.30.4' },
  '/api/v1/nodes': { items: [NODE] },
  '/api/v1/nodes/node-1': NODE,
  serviceaccounts: {},
  events: { items: [] },
};

export class FakeApiServer {
  readonly namespaces = new Map<string, Stored>();
  readonly pods = new Map<string, Stored>();
  /** `METHOD path` of all that was changed. */
  readonly changes: string[] = [];
  /** Whether a namespace goes when it is deleted. */
  deletes = true;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  static async start(): Promise<FakeApiServer> {
    const made = new FakeApiServer();
    await once(made.#server.listen(0, '127.0.0.1'), 'listening');
    return made;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await once(this.#server.close(), 'close');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '' } = request;
    const url = new URL(request.url ?? '', this.url);
    const path = url.pathname;
    if (method !== 'GET') this.changes.push(`${method} ${path}`);
    const [, namespace, kind] = /^\/api\/v1\/namespaces(?:\/([^/]+))?(?:\/(\w+))?/.exec(path) ?? [];
    if (method === 'GET' && url.searchParams.get('watch')) response.writeHead(200).flushHeaders();
    else if (path === '/api/v1/namespaces') await this.#collection(request, response, this.namespaces);
    else if (kind === 'pods') await this.#collection(request, response, this.pods);
    else if (namespace !== undefined && kind === undefined) this.#namespace(method, namespace, response);
    else if (path.startsWith('/apis/batch/')) reply(response, { items: [] });
    else {
      const known = FIXED[kind ?? path];
      reply(response, known ?? { message: 'forbidden here' }, known === undefined ? 403 : 200);
    }
  }

  async #collection(
    request: IncomingMessage,
    response: ServerResponse,
    stored: Map<string, Stored>,
  ): Promise<void> {
    if (request.method === 'POST') {
      const body = (await json(request)) as Stored;
      stored.set(body.metadata.name, body);
      reply(response, body, 201);
    } else if (request.method === 'DELETE') reply(response, {});
    else reply(response, { metadata: { resourceVersion: '1' }, items: [...stored.values()] });
  }

  #namespace(method: string, name: string, response: ServerResponse): void {
    const found = this.namespaces.get(name);
    if (method === 'DELETE' && this.deletes) this.namespaces.delete(name);
    if (found) reply(response, found);
    else reply(response, { message: `namespaces "${name}" not found` }, 404);
  }
}

function reply(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
