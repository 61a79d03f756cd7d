/** The options of `crisp trace`, in a module of their own: help must not load the CRI client. */
import type { Flag } from './command.ts';
import { DEFAULT_ENDPOINT } from './ctl-flags.ts';
import { outputFlag, TEXT_OR_JSON } from './output.ts';

export const traceFlags: Record<string, Flag> = {
  'runtime-endpoint': {
    type: 'string',
    short: 'r',
    value: 'SOCKET',
    doc: `CRI socket of crisp; default ${DEFAULT_ENDPOINT}`,
  },
  ...outputFlag(TEXT_OR_JSON),
  svg: { type: 'string', value: 'FILE', doc: 'Also write an SVG image to this file' },
};
