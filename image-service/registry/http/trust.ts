/** How the certificate of one host is verified, and which one crisp shows it. Paths: the files are read at each pull. */
export interface HostTrust {
  /** PEM files of certificate authorities, beside those of the system. */
  readonly caFiles: readonly string[];
  /** PEM files for a server that requires a client's certificate, in order of preference. */
  readonly clientCertificates: readonly { readonly certFile: string; readonly keyFile: string }[];
  /** Accepts any certificate. */
  readonly skipVerify: boolean;
}

/** The trust of a host without an entry. */
export const systemTrust: HostTrust = { caFiles: [], clientCertificates: [], skipVerify: false };
