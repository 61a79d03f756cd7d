/** What an OCI runtime does with the newer settings of a process. No report has them: one that does not know them ignores them. Pure. */

export interface ProcessFeatures {
  /** `process.scheduler` */
  readonly scheduler: boolean;
  /** `process.ioPriority` */
  readonly ioPriority: boolean;
  /** `linux.memoryPolicy` */
  readonly memoryPolicy: boolean;
}

type Version = readonly [major: number, minor: number, patch: number];

/** The releases that began with each: the change logs of both programs. */
const SINCE: Readonly<Record<keyof ProcessFeatures, Readonly<Record<string, Version>>>> = {
  scheduler: { runc: [1, 2, 0], crun: [1, 8, 5] },
  ioPriority: { runc: [1, 2, 0], crun: [1, 8, 6] },
  memoryPolicy: { runc: [1, 4, 0], crun: [1, 24, 0] },
};

/** For the remedy of an error. */
export const processFeaturesSince: Readonly<Record<keyof ProcessFeatures, string>> = {
  scheduler: 'runc 1.2, crun 1.8.5 or later',
  ioPriority: 'runc 1.2, crun 1.8.6 or later',
  memoryPolicy: 'runc 1.4, crun 1.24 or later',
};

/** From the first line of `--version`. */
export function processFeatures(line: string): ProcessFeatures {
  const [, program = '', major, minor, patch] =
    /^(runc|crun) version (\d+)\.(\d+)(?:\.(\d+))?/.exec(line) ?? [];
  const version: Version = [Number(major ?? 0), Number(minor ?? 0), Number(patch ?? 0)];
  const has = (name: keyof ProcessFeatures): boolean => {
    const first = SINCE[name][program];
    return first !== undefined && isAtLeast(version, first);
  };
  return {
    scheduler: has('scheduler'),
    ioPriority: has('ioPriority'),
    memoryPolicy: has('memoryPolicy'),
  };
}

function isAtLeast(version: Version, first: Version): boolean {
  const at = version.findIndex((part, index) => part !== first[index]);
  return at === -1 || (version[at] ?? 0) > (first[at] ?? 0);
}
