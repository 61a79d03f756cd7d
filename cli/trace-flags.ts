/** The options of `crisp trace`, apart from its code: help must not load a client. */
import type { Flag } from './command.ts';

export const TRACE_ENDPOINT = 'unix:///run/crisp/crisp.sock';

export const traceFlags: Record<string, Flag> = {
  'runtime-endpoint': {
    type: 'string',
    short: 'r',
    value: 'SOCKET',
    doc: `Where crisp listens; ${TRACE_ENDPOINT}`,
  },
  svg: { type: 'string', value: 'FILE', doc: 'Write the picture to this file as well' },
};
