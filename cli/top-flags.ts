/** The options of `crisp top`, in a module of their own: help must not load the CRI client. */
import type { Flag } from './command.ts';
import { DEFAULT_ENDPOINT } from './ctl-flags.ts';
import { outputFlag, TEXT_OR_JSON } from './output.ts';

/** The columns that rows can be sorted by; the first is the default. */
export const SORTS = ['cpu', 'memory', 'processes', 'restarts', 'name'] as const;

export const topFlags: Record<string, Flag> = {
  once: { type: 'boolean', doc: 'Print one sample and exit' },
  seconds: {
    type: 'string',
    short: 's',
    value: 'SECONDS',
    doc: 'Time between two samples, over which CPU % is measured; default 2',
  },
  sort: {
    type: 'string',
    value: SORTS.join('|'),
    choices: SORTS,
    doc: 'Pods, and the containers of each, with the largest first, or by name; default cpu',
  },
  pods: { type: 'boolean', short: 'p', doc: 'Pods only, without their containers' },
  ...outputFlag(TEXT_OR_JSON, 'Output format; JSON is one sample'),
  'runtime-endpoint': {
    type: 'string',
    short: 'r',
    value: 'SOCKET',
    doc: `CRI socket of the runtime; default ${DEFAULT_ENDPOINT}`,
  },
  'admin-socket': {
    type: 'string',
    value: 'SOCKET',
    doc: 'Admin socket of crisp, for the line of the daemon; default: admin.sock beside the runtime endpoint',
  },
};
