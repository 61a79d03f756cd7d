import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerEvents } from '../events.ts';

/** GetContainerEvents: all changes from the call on, until the client disconnects. */
export const getContainerEvents =
  (events: ContainerEvents) =>
  (_request: cri.GetEventsRequest, op: Operation): AsyncIterable<cri.ContainerEventResponseInit> =>
    events.listen(op.signal);
