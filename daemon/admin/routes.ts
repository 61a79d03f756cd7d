/** The routes of the admin socket. */
import {
  CHECK_PATH,
  type DaemonStatus,
  EXEC_PATTERN,
  EXPLAIN_PATH,
  EXPORT_PATH,
  type ExecReply,
  type ExplainedImage,
  FILES_PATTERN,
  IMPORT_PATH,
  type ImportedImage,
  PULLS_PATH,
  RELOAD_PATH,
  type ReloadReply,
  type RunningPull,
  STATUS_PATH,
} from '#api/admin/contract.ts';
import { NRI_PATH } from '#api/admin/nri.ts';
import { CrispError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { checkedStreamFlags } from '#cri/runtime/wire/stream-flags.ts';
import type { Streaming } from '#cri/streaming/index.ts';
import type { ImageService } from '#image-service/index.ts';
import type { Nri } from '#nri/index.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { HealthAnswers, HealthByPath } from '../health-answers.ts';
import { checkLines } from './check-lines.ts';
import { readExecRequest } from './exec-request.ts';
import { nriState } from './nri-state.ts';

export interface AdminServices {
  readonly images: Pick<ImageService, 'import' | 'export' | 'explain' | 'pulls' | 'check'>;
  readonly containers: Pick<RuntimeService, 'readFiles' | 'writeFiles' | 'checkExec'>;
  readonly streaming: Pick<Streaming, 'url'>;
  readonly nri: Pick<Nri, 'plugins' | 'socket'> | undefined;
  readonly status: () => DaemonStatus;
  readonly answers: Pick<HealthAnswers, 'byPath' | 'asked'>;
  readonly reload: () => Promise<ReloadReply>;
}

export interface AdminRequest {
  readonly query: URLSearchParams;
  readonly body: AsyncIterable<Buffer>;
}

/** A value is the reply as JSON, lines are one value each; pieces are an archive. */
export type AdminReply =
  | { readonly json: object }
  | { readonly text: string; readonly status: 200 | 503 }
  | { readonly lines: AsyncGenerator<object> }
  | { readonly pieces: AsyncGenerator<Buffer> };

export interface AdminRoute {
  /** Name of the operation, as in logs and metrics. */
  readonly name: string;
  /** Not logged where it succeeds: it is polled. */
  readonly quiet?: true;
  run(services: AdminServices, request: AdminRequest, op: Operation): Promise<AdminReply>;
}

const importRoute: AdminRoute = {
  name: 'ImportImages',
  async run({ images }, { query, body }, op) {
    const name = query.get('name');
    const found = await images.import({ source: body, ...(name ? { name } : {}) }, op);
    return { json: { images: found.map(({ id, repoTags }): ImportedImage => ({ id, tags: repoTags })) } };
  },
};

const exportRoute: AdminRoute = {
  name: 'ExportImages',
  async run({ images }, { query }, op) {
    return { pieces: images.export(query.getAll('ref'), op) };
  },
};

const explainRoute: AdminRoute = {
  name: 'ExplainImage',
  async run({ images }, { query }, op) {
    const request = { reference: query.get('ref') ?? '', ping: query.get('ping') === '1' };
    const explained: readonly ExplainedImage[] = await images.explain(request, op);
    return { json: { images: explained } };
  },
};

/** The pulls in progress; of one image where it is named. */
export const runningPulls = (
  images: Pick<ImageService, 'pulls'>,
  reference?: string,
): readonly RunningPull[] =>
  images.pulls(reference).map(({ bytesPerSecond, elapsedMs, ...pull }) => ({
    ...pull,
    elapsedMs: Math.round(elapsedMs),
    bytesPerSecond: Math.round(bytesPerSecond),
  }));

const pullsRoute: AdminRoute = {
  name: 'ListPulls',
  quiet: true,
  async run({ images }, { query }) {
    return { json: { pulls: runningPulls(images, query.get('ref') ?? undefined) } };
  },
};

const statusRoute: AdminRoute = {
  name: 'DaemonStatus',
  quiet: true,
  async run({ status, answers }, _request, op) {
    await answers.asked(op.signal);
    return { json: status() };
  },
};

const nriRoute: AdminRoute = {
  name: 'ListNriPlugins',
  quiet: true,
  async run({ nri }) {
    return { json: nriState(nri) };
  },
};

const healthRoute = (path: keyof HealthByPath): AdminRoute => ({
  name: 'DaemonHealth',
  quiet: true,
  async run({ answers }) {
    const problem = await answers.byPath[path]();
    return problem === undefined ? { text: 'ok\n', status: 200 } : { text: `${problem}\n`, status: 503 };
  },
});

const reloadRoute: AdminRoute = {
  name: 'Reload',
  async run({ reload }) {
    return { json: await reload() };
  },
};

const checkRoute: AdminRoute = {
  name: 'CheckImages',
  async run({ images }, { query }, op) {
    return { lines: checkLines(images.check({ repair: query.get('repair') === '1' }, op)) };
  },
};

const readRoute = (id: ContainerId): AdminRoute => ({
  name: 'ReadFiles',
  async run({ containers }, { query }, op) {
    return { pieces: containers.readFiles(id, pathOf(query), op) };
  },
});

const writeRoute = (id: ContainerId): AdminRoute => ({
  name: 'WriteFiles',
  async run({ containers }, { query, body }, op) {
    await containers.writeFiles(id, pathOf(query), body, op);
    return { json: {} };
  },
});

const execRoute = (id: string): AdminRoute => ({
  name: 'ExecAsUser',
  async run({ containers, streaming }, { body }, op) {
    const { command, user, ...streams } = await readExecRequest(body);
    const requested = checkedStreamFlags('exec', streams);
    const container = containers.checkExec(id, command).id;
    op.log.info({ container, user }, 'a command as another user is requested');
    const url = await streaming.url({ kind: 'exec', container, command, user, requested });
    return { json: { url } satisfies ExecReply };
  },
});

function pathOf(query: URLSearchParams): string {
  const path = query.get('path');
  if (path) return path;
  throw new CrispError('InvalidArgument', 'the query has no path', { hint: 'name a path in the container' });
}

const isHealthPath = (path: string): path is keyof HealthByPath =>
  path === '/livez' || path === '/readyz' || path === '/healthz';

/** The route of a request. Throws NotFound. */
export function routeOf(method: string, path: string): AdminRoute {
  if (method === 'POST' && path === IMPORT_PATH) return importRoute;
  if (method === 'GET' && path === EXPORT_PATH) return exportRoute;
  if (method === 'GET' && path === EXPLAIN_PATH) return explainRoute;
  if (method === 'GET' && path === PULLS_PATH) return pullsRoute;
  if (method === 'GET' && path === NRI_PATH) return nriRoute;
  if (method === 'GET' && path === STATUS_PATH) return statusRoute;
  if (method === 'GET' && isHealthPath(path)) return healthRoute(path);
  if (method === 'POST' && path === RELOAD_PATH) return reloadRoute;
  if (method === 'POST' && path === CHECK_PATH) return checkRoute;
  const id = FILES_PATTERN.exec(path)?.[1] as ContainerId | undefined;
  if (id !== undefined && method === 'GET') return readRoute(id);
  if (id !== undefined && method === 'PUT') return writeRoute(id);
  const running = EXEC_PATTERN.exec(path)?.[1];
  if (running !== undefined && method === 'POST') return execRoute(running);
  throw new CrispError('NotFound', `${method} ${path.slice(0, 200)}: no such endpoint`, {
    hint: 'see api/admin/contract.ts; use a client of the same version',
  });
}
