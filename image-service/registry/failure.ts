import { CrispError, type ErrorCode } from '#core/errors.ts';
import { formatWait, readRetryAfter } from './retry-after.ts';

/** A failure at one endpoint; another endpoint may still succeed. */
export class RegistryFailure extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  /** Whether the same request may succeed a little later. */
  readonly transient: boolean;
  /** The wait of `Retry-After`, in ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    more: { hint?: string; transient?: boolean; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.hint = more.hint;
    this.transient = more.transient ?? false;
    this.retryAfterMs = more.retryAfterMs;
  }

  /** The same failure, where another try may have another outcome. */
  retriable(): RegistryFailure {
    const hint = this.hint === undefined ? {} : { hint: this.hint };
    return new RegistryFailure(this.code, this.message, { ...hint, transient: true });
  }

  /** The same failure with a further explanation. */
  because(...reasons: readonly string[]): RegistryFailure {
    const { hint, transient, retryAfterMs } = this;
    return new RegistryFailure(this.code, [this.message, ...reasons].join('; '), {
      transient,
      ...(hint === undefined ? {} : { hint }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }

  toError(): CrispError {
    return new CrispError(this.code, this.message, this.hint === undefined ? {} : { hint: this.hint });
  }
}

/** The failure of a response status. `what` names stage and endpoint: `manifest of x from https://y`. */
export function failureOfStatus(
  status: number,
  what: string,
  retryAfter: string | undefined,
): RegistryFailure {
  const message = `${what}: the registry replied ${status}`;
  if (status === 401) {
    return new RegistryFailure('Unauthenticated', message, {
      hint: 'check the pull secret: the registry requires a login',
    });
  }
  if (status === 403) {
    return new RegistryFailure('PermissionDenied', message, {
      hint: 'these credentials may not pull this image',
    });
  }
  if (status === 404) {
    return new RegistryFailure('NotFound', message, {
      hint: 'check the name and the tag; private images may be reported as missing',
    });
  }
  if (status === 429 || status >= 500) {
    const wait = readRetryAfter(retryAfter);
    const until = wait === undefined ? '' : ` and requests to wait ${formatWait(wait)}`;
    return new RegistryFailure('RegistryUnavailable', message + until, {
      hint:
        status === 429
          ? 'the registry limits the rate of pulls: wait, log in or use a mirror'
          : 'try again later',
      transient: true,
      ...(wait === undefined ? {} : { retryAfterMs: wait }),
    });
  }
  return new RegistryFailure('FailedPrecondition', message, {
    hint: 'check that this is an OCI registry',
  });
}

/** The same for the target of a redirect, where the registry's credentials do not apply: others would not help. */
export function failureElsewhere(failure: RegistryFailure): RegistryFailure {
  if (failure.code !== 'Unauthenticated' && failure.code !== 'PermissionDenied') return failure;
  return new RegistryFailure('FailedPrecondition', failure.message, {
    hint: 'let the registry redirect to signed addresses, or serve its blobs itself: credentials are not sent to redirect targets',
  });
}
