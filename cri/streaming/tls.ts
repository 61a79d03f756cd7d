export interface StreamingTls {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Authorities of the clients' certificates; where given, clients must have one. */
  readonly clientCa?: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

/** As Node's TLS takes it. */
export const contextOf = ({ cert, key, clientCa, minVersion }: StreamingTls) => ({
  cert,
  key,
  minVersion,
  ...(clientCa === undefined ? {} : { ca: clientCa }),
});

/** Whether one listener can serve both, one after the other: both without TLS, or both with it and alike in client certificates. */
export const isSameKind = (one: StreamingTls | undefined, other: StreamingTls | undefined): boolean =>
  Boolean(one) === Boolean(other) && Boolean(one?.clientCa) === Boolean(other?.clientCa);
