/** The options of `crisp trace`, in a module of their own: help must not load the CRI client. */
import type { Flag } from './command.ts';

export const TRACE_ENDPOINT = 'unix:///run/crisp/crisp.sock';

export const traceFlags: Record<string, Flag> = {
  'runtime-endpoint': {
    type: 'string',
    short: 'r',
    value: 'SOCKET',
    doc: `CRI socket of crisp; default ${TRACE_ENDPOINT}`,
  },
  svg: { type: 'string', value: 'FILE', doc: 'Also write an SVG image to this file' },
};
