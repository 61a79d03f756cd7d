/** The error of a walk that changed a part of a tree. */
import { CrispError } from '#core/errors.ts';
import type { RelabelTree } from '../ports/selinux.ts';

/** Says which label the root is left with, and what to do about it. What is no refusal of the kernel, as an abort, passes unchanged. */
export function unfinished(error: unknown, { path, label, interim }: RelabelTree): unknown {
  if (!(error instanceof CrispError) || error.errno === undefined) return error;
  const { code, message, hint, errno } = error;
  return new CrispError(
    code,
    `${message}: ${path} has the label ${interim} until all below it has ${label}`,
    {
      hint: `${hint}; then retry, or label what can be: chcon -R ${label} ${path}`,
      cause: error,
      errno,
    },
  );
}
