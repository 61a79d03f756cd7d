/** Versions of Kubernetes, as API servers and kubelets report them. */

/** The minor number of `v1.36.2`, `1.30+` or `v1.33.1-eks-1de2ab1`; undefined where there is none, or the major one is not 1. */
export function minorOf(version: string | undefined): number | undefined {
  const [, minor] = /^v?1\.(\d{1,4})(?!\d)/.exec(version ?? '') ?? [];
  return minor === undefined ? undefined : Number(minor);
}
