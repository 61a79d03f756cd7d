/** What a policy says, after containers-policy.json(5). */

/** Key or certificate material: in a file that is read at each pull, or in the policy itself. */
export type Material = { readonly path: string } | { readonly data: Buffer };

/** Which `docker-reference` of a signature is accepted for an image. */
export type SignedIdentity =
  | { readonly type: 'matchExact' | 'matchRepoDigestOrExact' | 'matchRepository' }
  | { readonly type: 'exactReference' | 'exactRepository'; readonly reference: string }
  | { readonly type: 'remapIdentity'; readonly prefix: string; readonly signedPrefix: string };

/** A signature by one of the keys, by a short-lived certificate of a Fulcio CA, or by a certificate of another CA. */
export interface SigstoreSigned {
  readonly type: 'sigstoreSigned';
  readonly where: string;
  readonly signer:
    | { readonly type: 'keys'; readonly keys: readonly Material[] }
    | {
        readonly type: 'fulcio';
        readonly ca: Material;
        readonly oidcIssuer: string;
        readonly subjectEmail: string;
      }
    | {
        readonly type: 'pki';
        readonly ca: Material;
        readonly intermediates: Material | undefined;
        /** At least one of both. */
        readonly subjectEmail: string | undefined;
        readonly subjectHostname: string | undefined;
      };
  /** Keys of the transparency log; where there are any, an entry of it is required. */
  readonly rekorKeys: readonly Material[];
  readonly identity: SignedIdentity;
}

/** One requirement; `where` is its file, line and path. */
export type Requirement =
  | { readonly type: 'insecureAcceptAnything' | 'reject'; readonly where: string }
  /** Valid in the format, not implemented here: refuses each image that it applies to. */
  | { readonly type: 'unsupported'; readonly what: string; readonly where: string }
  | SigstoreSigned;

export interface Policy {
  readonly default: readonly Requirement[];
  /** By transport (`docker`, `docker-archive`, …) and scope; the scope '' is the transport's default. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

/** The requirements for an image: those of the first scope that has an entry, which replace all others. */
export function requirementsFor(
  policy: Policy,
  transport: string,
  scopes: readonly string[],
): readonly Requirement[] {
  const ofTransport = policy.transports.get(transport);
  for (const scope of [...scopes, '']) {
    const found = ofTransport?.get(scope);
    if (found) return found;
  }
  return policy.default;
}
