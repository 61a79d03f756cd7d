/** Where the content of a registry host is looked for. */

/** One place to ask, in the order of the table. */
export interface EndpointOptions {
  /** `https://mirror.example:5000` or `http://127.0.0.1:5000`, optionally with a path that goes before `/v2`. */
  readonly url: string;
  /** Certificate authorities in PEM, in place of the system's. */
  readonly ca?: string;
  /** Takes any certificate: for tests in closed rooms. */
  readonly insecureSkipVerify?: boolean;
  /** `pull` alone may be asked of it; `resolve` (tags become digests) too where true, which is the default. */
  readonly resolve?: boolean;
}
