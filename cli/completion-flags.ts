import type { Flag } from './command.ts';
import { OBJECTS } from './completion/candidates.ts';
import { DEFAULT_ENDPOINT } from './ctl-flags.ts';

/** The flags of `crisp completion`, which help shows without loading the rest. */
export const completionFlags: Record<string, Flag> = {
  list: {
    type: 'string',
    value: OBJECTS.join('|'),
    choices: OBJECTS,
    doc: 'Print these with a description each, as the scripts ask for them; nothing where no daemon answers',
  },
  'runtime-endpoint': {
    type: 'string',
    short: 'r',
    value: 'SOCKET',
    doc: `With --list: CRI socket of the runtime; default ${DEFAULT_ENDPOINT}`,
  },
};
