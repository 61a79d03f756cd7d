import { CrispError } from '#core/errors.ts';
import type { NamespaceKind, PauseRequest } from '../ports/kernel.ts';
import { checkSysctls } from './sysctl.ts';

const HOSTNAME_LIMIT = 64;
const possible: readonly NamespaceKind[] = ['net', 'ipc', 'uts', 'pid', 'user'];

/** Refuses, with InvalidArgument, what the kernel would refuse less clearly or what would touch the node. */
export function checkRequest(request: PauseRequest): void {
  for (const kind of request.kinds) if (!possible.includes(kind)) throw unknownKind(kind);
  if (request.kinds.includes('user') !== (request.userNamespace !== undefined)) {
    throw new CrispError('InvalidArgument', 'a user namespace and its id maps go together');
  }
  if (request.userNamespace) {
    const { uids, gids } = request.userNamespace;
    for (const [name, map] of [
      ['uid', uids],
      ['gid', gids],
    ] as const) {
      if (map.some(({ containerId }) => containerId === 0)) continue;
      throw new CrispError('InvalidArgument', `the ${name} map of the user namespace has no id 0`);
    }
  }
  const { hostname = '' } = request;
  if (Buffer.byteLength(hostname) > HOSTNAME_LIMIT || hostname.includes('\0')) {
    throw new CrispError(
      'InvalidArgument',
      `host name ${JSON.stringify(hostname)} is longer than ${HOSTNAME_LIMIT} bytes or contains a NUL`,
    );
  }
  checkSysctls(request.sysctls, request.kinds);
}

const unknownKind = (kind: NamespaceKind): CrispError =>
  new CrispError('InvalidArgument', `a pod cannot hold a ${kind} namespace`, {
    hint: `hold ${possible.join(', ')}`,
  });
