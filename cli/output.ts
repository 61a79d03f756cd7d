/** `--output`, which every command has that prints facts: its first format is the default. */
import type { Flag, Parsed } from './command.ts';

/** Commands with a form for people, and one for programs whose keys are stable. */
export const TEXT_OR_JSON = ['text', 'json'] as const;

export const outputFlag = (formats: readonly string[], doc = 'Output format'): Record<string, Flag> => ({
  output: {
    type: 'string',
    short: 'o',
    value: formats.join('|'),
    choices: formats,
    doc: `${doc}; default ${formats[0]}`,
  },
});

/** The requested format; `parse` has refused any other. */
export const outputOf = <F extends string>(parsed: Parsed, formats: readonly [F, ...F[]]): F =>
  formats.find((format) => format === parsed.text('output')) ?? formats[0];

/** A value as `--output json` prints it. */
export const jsonText = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
