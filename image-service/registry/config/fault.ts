import { CrispError } from '#core/errors.ts';

/** A fault of a configuration file. `where` is `file:line`, or the file alone. */
export const fault = (
  where: string,
  reason: string,
  hint = 'correct the file; it is read again at the next pull',
) => new CrispError('FailedPrecondition', `${where}: ${reason}`, { hint, lasting: true });

/** A value for messages, at most 80 characters. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
