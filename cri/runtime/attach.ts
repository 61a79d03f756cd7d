import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { wantedStreams } from './wire/wanted-streams.ts';

/** Attach: a URL on which a client finds the streams of a container's first process, once, within a minute. */
export const attach =
  ({ containers, streaming }: CriServices) =>
  async (request: cri.AttachRequest): Promise<cri.AttachResponseInit> => {
    const wanted = wantedStreams('Attach', request);
    const { id } = containers.checkAttach(request.containerId);
    return { url: await streaming.url({ kind: 'attach', container: id, wanted }) };
  };
