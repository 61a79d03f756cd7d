import type { Flag } from './command.ts';

export const DEFAULT_ENDPOINT = 'unix:///run/crisp/crisp.sock';

/** The options of `crisp ctl` before its command; documents show them without loading the CRI client. */
export const ctlFlags: Record<string, Flag> = {
  'runtime-endpoint': {
    type: 'string',
    short: 'r',
    value: 'SOCKET',
    doc: `CRI socket of the runtime; default ${DEFAULT_ENDPOINT}`,
  },
  'image-endpoint': {
    type: 'string',
    short: 'i',
    value: 'SOCKET',
    doc: 'CRI socket of the image service; default: the same',
  },
  'admin-socket': {
    type: 'string',
    value: 'SOCKET',
    doc: 'Admin socket of crisp, for cp, exec --user and the bars of pulls; default: admin.sock beside the runtime endpoint',
  },
  timeout: { type: 'string', short: 't', value: 'DURATION', doc: 'Timeout of each call; default 2m' },
  help: { type: 'boolean', short: 'h', doc: 'Show this help' },
};
