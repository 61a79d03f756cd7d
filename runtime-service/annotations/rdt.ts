/** The resctrl group of a container by the class that an annotation names: cache and memory bandwidth (Intel RDT, AMD QoS, Arm MPAM). */
import { existsSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import type { HandlerFeatures } from '../oci-runtime/features.ts';

const RESCTRL = '/sys/fs/resctrl';

export interface RdtHandler {
  readonly handler: string;
  features(): Promise<Pick<HandlerFeatures, 'version' | 'intelRdt'>>;
}

/**
 * Checks that the class is configured and its group is there, before the OCI runtime does, whose error would not say who
 * has named it (`from`). Throws InvalidArgument or FailedPrecondition.
 */
export async function requireRdtClass(
  { from, value }: { readonly from: string; readonly value: string },
  classes: readonly string[],
  runtime: RdtHandler,
  resctrl = RESCTRL,
): Promise<void> {
  if (!classes.includes(value)) {
    throw new CrispError('InvalidArgument', `${from}: ${JSON.stringify(value)} is no RDT class`, {
      hint: `use one of container.rdt_classes: ${classes.join(', ') || 'none is configured'}`,
    });
  }
  const refuse = (why: string, hint: string) =>
    new CrispError('FailedPrecondition', `${from}: RDT class ${value}: ${why}`, { hint });
  if (!existsSync(`${resctrl}/schemata`))
    throw refuse(
      `${resctrl} is not mounted`,
      `run mount -t resctrl resctrl ${resctrl} on a node whose CPU has it`,
    );
  if (!existsSync(`${resctrl}/${value}/schemata`))
    throw refuse(`${resctrl}/${value} does not exist`, 'make the group and write its schemata');
  const { version, intelRdt } = await runtime.features();
  if (intelRdt === 'none')
    throw refuse(
      `runtime handler ${runtime.handler} (${version}) does not apply intelRdt`,
      'use runc, or crun 1.10 or later',
    );
}
