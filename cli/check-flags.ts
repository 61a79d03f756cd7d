import type { Flag } from './command.ts';
import { outputFlag, TEXT_OR_JSON } from './output.ts';

/** The flags of `crisp check`, which help shows without loading the rest. */
export const checkFlags: Record<string, Flag> = {
  images: {
    type: 'boolean',
    doc: "Compare the layers and blobs on the disk with the images' records, by the daemon",
  },
  repair: { type: 'boolean', doc: 'With --images: pull what is damaged anew' },
  ...outputFlag(TEXT_OR_JSON),
};
