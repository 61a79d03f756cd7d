/** What CDI edits need of the pod and of its OCI runtime, which ignores what it does not know. */
import { CrispError } from '#core/errors.ts';
import type { PodView } from '#core/model/pod.ts';
import type { HandlerFeatures } from '../oci-runtime/features.ts';
import type { SourcedEdits } from './devices.ts';

interface Runtime {
  readonly handler: string;
  features(): Promise<Pick<HandlerFeatures, 'version' | 'netDevices' | 'intelRdt'>>;
}

/** Throws FailedPrecondition, naming the file, for a network device or RDT settings that would have no effect. */
export async function checkEdits(
  runtime: Runtime,
  pod: Pick<PodView, 'network'>,
  all: readonly SourcedEdits[],
): Promise<void> {
  const wanting = all.filter(({ netDevices, intelRdt }) => netDevices.length > 0 || intelRdt);
  if (wanting.length === 0) return;
  const { version, netDevices, intelRdt } = await runtime.features();
  const refuse = (file: string, what: string, hint: string) =>
    new CrispError('FailedPrecondition', `CDI spec ${file}: ${what}`, { hint });
  const lacks = (file: string, what: string, since: string) =>
    refuse(file, `runtime handler ${runtime.handler} (${version}) does not apply ${what}`, `use ${since}`);
  for (const { file, netDevices: devices, intelRdt: rdt } of wanting) {
    if (devices.length > 0 && !netDevices) throw lacks(file, 'netDevices', 'runc 1.4, crun 1.22 or later');
    if (devices.length > 0 && pod.network === 'node') {
      const why = 'network devices cannot be moved into a pod that is on the network of the node';
      throw refuse(file, why, 'request the device in a pod with its own network');
    }
    if (rdt && intelRdt === 'none') throw lacks(file, 'intelRdt', 'runc, or crun 1.10 or later');
    if ((rdt?.schemata || rdt?.enableMonitoring) && intelRdt !== 'all') {
      throw lacks(file, 'schemata and enableMonitoring of intelRdt', 'runc 1.4, crun 1.24 or later');
    }
  }
}
