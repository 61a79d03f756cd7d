/** Classes of block IO and RDT in the OCI spec, by the name that an annotation or a plugin gives. */
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { OciSpec } from '../spec/oci.ts';
import type { ResourceHost } from '../spec/resources.ts';
import { blockIoOf } from './blockio.ts';
import type { BlockioClasses } from './blockio-file.ts';
import { type RdtHandler, requireRdtClass } from './rdt.ts';

export interface NamedClass {
  /** Who names it, as messages begin: `annotation KEY`. */
  readonly from: string;
  readonly value: string;
}

export interface ClassHost {
  readonly blockio: BlockioClasses;
  readonly rdtClasses: readonly string[];
  readonly runtime: RdtHandler;
  readonly resources: Pick<ResourceHost, 'version' | 'controllers'>;
}

/** Throws InvalidArgument for a class that is not configured, FailedPrecondition where the node or the OCI runtime has no RDT. */
export async function setRdt(spec: OciSpec, named: NamedClass, host: ClassHost): Promise<void> {
  await requireRdtClass(named, host.rdtClasses, host.runtime);
  spec.linux.intelRdt = { closID: named.value };
}

/** Throws InvalidArgument for a class that is not configured, FailedPrecondition where the node has no such controller. */
export async function setBlockIo(
  spec: OciSpec,
  { from, value }: NamedClass,
  { blockio, resources: { version, controllers } }: ClassHost,
  op: Operation,
): Promise<void> {
  const rules = blockio.get(value);
  if (!rules) {
    const known = [...blockio.keys()].join(', ') || 'none is configured';
    throw new CrispError('InvalidArgument', `${from}: ${JSON.stringify(value)} is no class of block IO`, {
      hint: `use one of container.blockio_config_file: ${known}`,
    });
  }
  const controller = version === 2 ? 'io' : 'blkio';
  if (!controllers.has(controller)) {
    throw new CrispError(
      'FailedPrecondition',
      `${from}: this node has no ${controller} controller for cgroups`,
      { hint: 'drop the class, or start the kernel with the controller' },
    );
  }
  const { blockIO, unmatched } = await blockIoOf(rules);
  if (unmatched.length > 0)
    op.log.info(
      { class: value, devices: unmatched },
      'this node has no such devices: the rest of the class counts',
    );
  spec.linux.resources.blockIO = blockIO;
}
