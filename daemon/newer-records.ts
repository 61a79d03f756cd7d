/** Records that only a newer crisp reads: what they name runs unlisted, and the kubelet would make doubles of it. */
import type { NewerRecords } from '#core/newer-records.ts';
import type { Trouble } from '#linux/ports/troubles.ts';

interface Recorded {
  readonly newerRecords: NewerRecords;
}

const counted = ({ count }: NewerRecords, name: string): string[] =>
  count === 0 ? [] : [`${count} ${name}${count === 1 ? '' : 's'}`];

/** As they were found at the start: it ends with the start of the newer crisp. */
export function newerTroubles(pods: Recorded, containers: Recorded): readonly Trouble[] {
  const all = [pods.newerRecords, containers.newerRecords];
  if (all.every(({ count }) => count === 0)) return [];
  const objects = [...counted(pods.newerRecords, 'pod'), ...counted(containers.newerRecords, 'container')];
  const mayRun = all.some((one) => one.mayRun > 0);
  return [
    {
      reason: 'NewerRecords',
      message: `a newer crisp has recorded ${objects.join(' and ')}, which ${mayRun ? 'may run unlisted' : 'are not listed, and have ended with an earlier boot'}`,
      hint: mayRun
        ? 'start the newer crisp, or drain the node first: start it, drain, and downgrade then'
        : 'start the newer crisp and remove them with it, or remove their directories in root and restart crisp',
      podsFail: mayRun,
    },
  ];
}
