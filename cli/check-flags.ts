import type { Flag } from './command.ts';

/** The flags of `crisp check`, which help shows without loading the rest. */
export const checkFlags: Record<string, Flag> = {
  images: {
    type: 'boolean',
    doc: "Compare the layers and blobs on the disk with the images' records, by the daemon",
  },
  repair: { type: 'boolean', doc: 'With --images: pull what is damaged anew' },
  output: { type: 'string', short: 'o', value: 'text|json', doc: 'Output format; default text' },
  'admin-socket': {
    type: 'string',
    value: 'SOCKET',
    doc: 'With --images: admin socket of the daemon; default: from the configuration',
  },
};
