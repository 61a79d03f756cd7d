import { describeError } from '#core/errors.ts';
import { type Log, Operation } from '#core/operation.ts';
import type { ContainerRecord } from './container.ts';
import type { Exits } from './exits.ts';
import type { Runtime } from './runtime.ts';
import { undoContainer } from './undo.ts';

/**
 * Makes the state of an earlier daemon this one's. Running containers are left as they are: their monitors never
 * stopped. A creation that was cut off is taken back; a start that was cut off is taken back and shown as a start
 * error; what ran when the host went down has ended.
 */
export async function recoverContainers(runtime: Runtime, exits: Exits, log: Log): Promise<void> {
  const { containers } = runtime;
  const { removing } = await containers.load();
  const op = new Operation('recover containers', { log });
  await Promise.all(
    containers
      .list()
      .map((record) =>
        recover(runtime, exits, record, op).catch((error: unknown) =>
          log.error(
            { container: record.id, error: describeError(error) },
            'container could not be recovered',
          ),
        ),
      ),
  );
  await containers.sweep(removing);
}

async function recover(
  runtime: Runtime,
  exits: Exits,
  record: ContainerRecord,
  op: Operation,
): Promise<void> {
  const { containers, kernel } = runtime;
  if (record.state === 'creating') {
    const { left } = await undoContainer(runtime, record, op);
    if (left.length === 0) await containers.remove(record);
    return;
  }
  if (record.state === 'starting') return interruptedStart(runtime, record, op);
  if (record.state !== 'running') return;
  if (record.process?.bootId === kernel.processes.bootId) return; // the first sweep looks at it
  await containers.settle({ ...record, state: 'exited', exit: exits.unknownExit(), process: undefined });
}

async function interruptedStart(runtime: Runtime, record: ContainerRecord, op: Operation): Promise<void> {
  const { left } = await undoContainer(
    runtime,
    record,
    op,
    ({ kind }) => kind !== 'bundle' && kind !== 'rootfs',
  );
  await runtime.containers.settle({
    ...record,
    state: 'exited',
    intents: left,
    exit: {
      code: 128,
      reason: 'StartError',
      message: 'the daemon ended while the container was being started',
      finishedAt: BigInt(Date.now()) * 1_000_000n,
    },
  });
}
