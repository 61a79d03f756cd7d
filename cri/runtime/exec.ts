import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { wantedStreams } from './wire/wanted-streams.ts';

/** Exec: a URL on which a client finds its command's streams, once, within a minute. */
export const exec =
  ({ containers, streaming }: CriServices) =>
  async (request: cri.ExecRequest): Promise<cri.ExecResponseInit> => {
    const wanted = wantedStreams('Exec', request);
    const { id } = containers.checkExec(request.containerId, request.cmd);
    return { url: await streaming.url({ kind: 'exec', container: id, command: request.cmd, wanted }) };
  };
