import type { Trouble } from '#linux/ports/troubles.ts';

export interface PullThreads {
  readonly unpack: { readonly stuck: number };
  readonly downloads: { readonly mute: number };
}

/** Threads of pulls that do not go on. Their pulls fail by their own deadlines; pods of images that are there are made. */
export function threadTroubles({ unpack: { stuck }, downloads: { mute } }: PullThreads): readonly Trouble[] {
  const found = [
    ...(stuck > 0 ? [`${stuck} that unpack do not return from a system call`] : []),
    ...(mute > 0 ? [`${mute} that download have not answered for minutes`] : []),
  ];
  if (found.length === 0) return [];
  return [
    {
      reason: 'PullThreadStuck',
      message: `threads of pulls do not go on: ${found.join('; ')}`,
      hint: 'see the kernel log for the disk or the network file system below root, and whether the node has CPU time left; where it stays, restart crisp: pods keep running',
      podsFail: false,
    },
  ];
}
