/** What each request of the admin socket does. */
import { EXPORT_PATH, IMPORT_PATH, type ImportedImage } from '#api/admin/contract.ts';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { ImageService } from '#image-service/index.ts';

export interface AdminServices {
  readonly images: Pick<ImageService, 'import' | 'export'>;
}

export interface AdminRequest {
  readonly query: URLSearchParams;
  readonly body: AsyncIterable<Buffer>;
}

/** A value is the reply as JSON; pieces are an archive. */
export type AdminReply = { readonly json: object } | { readonly pieces: AsyncGenerator<Buffer> };

export interface AdminRoute {
  /** Name of the operation, as in logs and metrics. */
  readonly name: string;
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

/** The route of a request. Throws NotFound. */
export function routeOf(method: string, path: string): AdminRoute {
  if (method === 'POST' && path === IMPORT_PATH) return importRoute;
  if (method === 'GET' && path === EXPORT_PATH) return exportRoute;
  throw new CrispError('NotFound', `${method} ${path.slice(0, 200)}: there is no such request`, {
    hint: 'see api/admin/contract.ts; use a client of the same version',
  });
}
