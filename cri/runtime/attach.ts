import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { checkedStreamFlags } from './wire/stream-flags.ts';

/** Attach: a URL for the streams of a container's init process, valid once, for a minute. */
export const attach =
  ({ containers, streaming }: CriServices) =>
  async (request: cri.AttachRequest): Promise<cri.AttachResponseInit> => {
    const requested = checkedStreamFlags('Attach', request);
    const { id } = containers.checkAttach(request.containerId);
    return { url: await streaming.url({ kind: 'attach', container: id, requested }) };
  };
