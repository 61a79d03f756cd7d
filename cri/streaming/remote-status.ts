/** The status of a session, sent to its client at the end on the error stream. */

export type Outcome = { readonly exitCode: number } | { readonly failure: string };

/** A `Status` of the Kubernetes API, as clients of version 4 and 5 of the protocol read it. */
export function statusDocument(outcome: Outcome): string {
  if ('failure' in outcome) {
    return JSON.stringify({
      metadata: {},
      status: 'Failure',
      message: `Internal error occurred: ${outcome.failure}`,
      reason: 'InternalError',
      details: { causes: [{ message: outcome.failure }] },
      code: 500,
    });
  }
  if (outcome.exitCode === 0) return JSON.stringify({ metadata: {}, status: 'Success' });
  return JSON.stringify({
    metadata: {},
    status: 'Failure',
    message: exitText(outcome.exitCode),
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: `${outcome.exitCode}` }] },
  });
}

/** The same as plain text, for versions 1 to 3; success is no text at all. */
export function statusText(outcome: Outcome): string {
  if ('failure' in outcome) return outcome.failure;
  return outcome.exitCode === 0 ? '' : exitText(outcome.exitCode);
}

const exitText = (code: number): string =>
  `command terminated with non-zero exit code: command terminated with exit code ${code}`;
