import type { OnReadOpts, Socket } from 'node:net';
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Context } from './context.ts';
import { shortId } from './sandbox.ts';

/** See `PodSandboxes.connectPort`. */
export async function connectPort(
  { sandboxes, kernel }: Context,
  id: SandboxId,
  port: number,
  signal: AbortSignal,
  onread?: OnReadOpts,
): Promise<Socket> {
  const record = sandboxes.get(id);
  if (!record) throw new CrispError('NotFound', `no sandbox ${shortId(id)}`);
  if (record.state.name !== 'ready') {
    throw new CrispError('FailedPrecondition', `sandbox ${shortId(id)} is not ready: it has no ports`, {
      hint: 'forward to a pod that runs',
    });
  }
  return kernel.streams.connectPort(record.pins.net, port, signal, onread);
}
