/** What an OCI runtime does with `linux.netDevices` and `linux.intelRdt`; one that does not know them ignores them. Pure. */

export interface DeviceFeatures {
  /** Moves network devices of the node into the container's namespace. */
  readonly netDevices: boolean;
  /** `classes`: closID, l3CacheSchema and memBwSchema; `all`: schemata and enableMonitoring as well. */
  readonly intelRdt: 'none' | 'classes' | 'all';
}

/** The part of the OCI features document that counts here; not trusted. */
export interface DeviceDocument {
  readonly netDevices?: { readonly enabled?: unknown } | null;
  readonly intelRdt?: {
    readonly enabled?: unknown;
    readonly schemata?: unknown;
    readonly monitoring?: unknown;
  } | null;
}

/**
 * `linux` of the features document, and the first line of `--version`. Intel RDT is in runc since 1.0 and in crun since 1.10,
 * whose first versions do not report it; crun reports no more than `enabled`, and has the rest since 1.24.
 */
export function deviceFeatures(linux: DeviceDocument | undefined, version: string): DeviceFeatures {
  const { netDevices, intelRdt } = linux ?? {};
  const [, program, major = '0', minor = '0'] = /^(runc|crun) version (\d+)\.(\d+)/.exec(version) ?? [];
  const since = (name: string, first: number) =>
    program === name && (Number(major) > 1 || (Number(major) === 1 && Number(minor) >= first));
  const classes = intelRdt ? intelRdt.enabled === true : since('runc', 0) || since('crun', 10);
  const reported = intelRdt?.schemata === true && intelRdt.monitoring === true;
  return {
    netDevices: netDevices?.enabled === true,
    intelRdt: classes ? (reported || since('crun', 24) ? 'all' : 'classes') : 'none',
  };
}
