import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { checkedStreamFlags } from './wire/stream-flags.ts';

/** Exec: a URL for the streams of the command, valid once, for a minute. */
export const exec =
  ({ containers, streaming }: CriServices) =>
  async (request: cri.ExecRequest): Promise<cri.ExecResponseInit> => {
    const requested = checkedStreamFlags('Exec', request);
    const { id } = containers.checkExec(request.containerId, request.cmd);
    return { url: await streaming.url({ kind: 'exec', container: id, command: request.cmd, requested }) };
  };
