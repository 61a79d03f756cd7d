/** Which namespace modes a pod may have. */

import { CrispError } from '#core/errors.ts';
import type { IdMapping, NamespaceMode } from '#core/model/security.ts';
import type { NamespaceOptions, SandboxSecurity, UserNamespace } from '../config.ts';

const FIELD = 'linux.security_context.namespace_options';

/** Throws InvalidArgument where a mode is not possible for its namespace. */
export function checkNamespaces({ namespaces }: SandboxSecurity): void {
  mode('network', namespaces.network, ['pod', 'node']);
  mode('ipc', namespaces.ipc, ['pod', 'node']);
  // TARGET names a container of the pod, and a new pod has none.
  mode('pid', namespaces.pid, ['pod', 'container', 'node']);
  if (namespaces.user) checkUser(namespaces.user, namespaces);
}

function mode(field: string, given: NamespaceMode, possible: readonly NamespaceMode[]): void {
  if (possible.includes(given)) return;
  const words = possible.map((name) => name.toUpperCase()).join(' or ');
  throw refused(`${field} ${given.toUpperCase()} is not possible for a pod`, `give ${words}`);
}

/** The kubelet gives one mapping of each kind that begins at id 0; the conformance suite requires that all else is refused. */
function checkUser(user: UserNamespace, { pid, ipc }: NamespaceOptions): void {
  mode('userns_options.mode', user.mode, ['pod', 'node']);
  if (user.mode === 'node') {
    if (user.uids.length + user.gids.length === 0) return;
    throw refused('userns_options has mappings with mode NODE', 'give mode POD, or no mappings');
  }
  checkMappings('uids', user.uids);
  checkMappings('gids', user.gids);
  // The node's network is possible (KEP-5607): the pod's root has no rights over it.
  const host = Object.entries({ pid, ipc }).find(([, of]) => of === 'node')?.[0];
  if (host === undefined) return;
  throw refused(
    `userns_options mode POD and ${host} NODE exclude each other`,
    `give ${host} POD, or no user namespace: the node's ${host} namespace belongs to the node's user namespace`,
  );
}

function checkMappings(kind: 'uids' | 'gids', mappings: readonly IdMapping[]): void {
  const field = `userns_options.${kind}`;
  const [only, ...more] = mappings;
  if (only === undefined || more.length > 0) {
    throw refused(`${field} has ${mappings.length} mappings`, 'give exactly one');
  }
  if (only.containerId !== 0) {
    throw refused(
      `${field} maps from id ${only.containerId}`,
      'begin at container id 0: the pod needs a root',
    );
  }
  const end = only.hostId + only.length;
  if (!Number.isInteger(end) || only.length < 1 || only.hostId < 0 || end > 0xffff_ffff) {
    throw refused(
      `${field} maps ${only.length} ids from host id ${only.hostId}`,
      'give a length of at least 1, and host ids below 4294967295',
    );
  }
}

const refused = (message: string, hint: string): CrispError =>
  new CrispError('InvalidArgument', `${FIELD}.${message}`, { hint });
