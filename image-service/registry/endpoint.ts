import type { HostTrust } from './http/trust.ts';

/**
 * Where a pull asks for the content of one repository. An endpoint that serves a mirror or a proxy has its own path and name
 * for it: requests go to `<base>/<repository>/manifests/…`.
 */
export interface Endpoint {
  /** What messages and logs call it: origin and path, without credentials and without `/v2`. */
  readonly url: string;
  readonly origin: string;
  /** `host` or `host:port`, lower case. */
  readonly host: string;
  /** URL that ends before the repository, without a slash: `https://harbor.example/v2`, `https://art.example/v2/docker`. */
  readonly base: string;
  /** The name of the repository at this endpoint: `proxy/library/busybox`. */
  readonly repository: string;
  /** The registry that a mirror stands for, sent as `?ns=`; undefined where the endpoint is the registry itself. */
  readonly namespace: string | undefined;
  /** Whether tags may be asked here. */
  readonly resolves: boolean;
  /** Whether manifests by digest and blobs may be asked here. */
  readonly serves: boolean;
  /** Sent with each request to its origin, and nowhere else. May hold secrets. */
  readonly headers: Readonly<Record<string, string>>;
  /** What it is configured by: `/etc/containerd/certs.d/docker.io/hosts.toml:3`, or `default`. */
  readonly source: string;
  /** How its certificate is verified; redirect targets and token servers have their own. */
  readonly trust: HostTrust;
  /** Limit of establishing a connection, in ms; undefined: that of the options. */
  readonly dialTimeoutMs: number | undefined;
  /** Host name under which credentials are looked up: docker.io for its registry-1. */
  readonly credentialHost: string;
}
