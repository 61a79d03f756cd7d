import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { CriServices } from '../../services.ts';

/** The sandbox of a full id or unique prefix; undefined for an unknown one, and for the empty id. */
export const sandboxOf = ({ pods }: CriServices, id: string): SandboxId | undefined =>
  id === '' ? undefined : pods.resolve(id);

/** Like `sandboxOf`, but throws NotFound. */
export function knownSandbox(services: CriServices, id: string): SandboxId {
  const found = sandboxOf(services, id);
  if (found) return found;
  throw new CrispError('NotFound', `pod sandbox ${JSON.stringify(id)}: no such sandbox`, {
    hint: 'list the pod sandboxes; a short id must match only one',
  });
}
