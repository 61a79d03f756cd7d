/** What may stand at a place of a command line, by its placeholder in the help of the command. */
import type { Command } from '../command.ts';

/** What the daemon is asked for. */
export const OBJECTS = ['containers', 'pods', 'images'] as const;
export type ObjectKind = (typeof OBJECTS)[number];

export interface Candidates {
  readonly words: readonly string[];
  readonly objects: readonly ObjectKind[];
  readonly files: boolean;
}

export const NONE: Candidates = { words: [], objects: [], files: false };

const BY_NAME: Readonly<Record<string, Partial<Candidates>>> = {
  CONTAINER: { objects: ['containers'] },
  POD: { objects: ['pods'] },
  IMAGE: { objects: ['images'] },
  ...Object.fromEntries(
    ['FILE', 'CONTAINER-FILE', 'POD-FILE', 'PATH', 'SOCKET', 'LOCAL'].map((name) => [name, { files: true }]),
  ),
};

const union = (all: readonly Partial<Candidates>[]): Candidates => ({
  words: [...new Set(all.flatMap(({ words = [] }) => words))],
  objects: [...new Set(all.flatMap(({ objects = [] }) => objects))],
  files: all.some(({ files }) => files),
});

/** `text|json` are words, `POD` is a pod; other names in capitals are free texts. What follows a colon is not completed. */
export function candidatesOf(placeholder: string): Candidates {
  const names = placeholder.replaceAll(/[[\]]|\.\.\.|:.*/g, '').split(/\||-or-/);
  return union(
    names.map((name) => (/^[a-z0-9][a-z0-9-]*$/.test(name) ? { words: [name] } : (BY_NAME[name] ?? {}))),
  );
}

export interface Positions {
  /** One for each argument. */
  readonly places: readonly Candidates[];
  /** Whether the last one is repeated. */
  readonly repeats: boolean;
}

/** The arguments of one form of a usage, without its options and their values. */
function argumentsOf(form: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let isOption = false;
  for (const word of form.split(' ')) {
    const begins = depth === 0 && /^\[?-|^\[OPTION/.test(word);
    const isValue = depth === 0 && isOption;
    if (begins) isOption = !word.startsWith('[');
    else if (depth === 0) isOption = false;
    if (!begins && !isValue && depth === 0) found.push(word);
    if (begins || depth > 0) depth += word.split('[').length - word.split(']').length;
  }
  return found.filter((word) => word !== '' && word !== '-');
}

/** The arguments that a command takes, of all forms of its usage. */
export function positionsOf({ usage, arity: [, max] }: Pick<Command<never>, 'usage' | 'arity'>): Positions {
  const forms = usage.split(' | ').map(argumentsOf);
  const count = Math.min(max, Math.max(...forms.map((form) => form.length)));
  const places = Array.from({ length: count }, (_, index) =>
    union(forms.map((form) => candidatesOf(form[index] ?? ''))),
  );
  return { places, repeats: max === Infinity && forms.some((form) => form.at(-1)?.includes('...')) };
}
