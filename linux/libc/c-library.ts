/**
 * The C library as it is loaded. A missing function is detected when it is bound, which is when the program loads, where
 * an error would not help an operator who installed crisp on an old distribution. So a missing one is remembered, and
 * `checkLibrary` reports all of them at the start.
 */
import koffi, { type KoffiFunc } from 'koffi';
import { CrispError } from '#core/errors.ts';

export type Bound<F extends (...args: never[]) => number> = KoffiFunc<F>;

const library = koffi.load(null);
const missing: string[] = [];

/** Binds a function by its C prototype. */
export function bind<F extends (...args: never[]) => number>(definition: string): Bound<F> {
  const found = optional<F>(definition);
  if (found) return found;
  const name = nameOf(definition);
  missing.push(name);
  const absent = () => {
    throw lacking([name]);
  };
  return Object.assign(absent, { async: absent }) as unknown as Bound<F>;
}

/** The same, undefined where the library has no such function, for callers with a fallback. */
export function optional<F extends (...args: never[]) => number>(definition: string): Bound<F> | undefined {
  try {
    return library.func(definition) as unknown as Bound<F>;
  } catch (error) {
    if (/not? find/i.test(String(error))) return undefined;
    throw error;
  }
}

/** Throws FailedPrecondition where the library lacks what crisp cannot do without. */
export function checkLibrary(names: readonly string[] = missing): void {
  if (names.length > 0) throw lacking(names);
}

const nameOf = (definition: string): string => /(\w+)\s*\(/.exec(definition)?.[1] ?? definition;

function lacking(names: readonly string[]): CrispError {
  const { glibcVersionRuntime = 'none' } = (
    process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  ).header;
  const message = `the C library of this node (glibc ${glibcVersionRuntime}) has no ${names.join(', ')}`;
  return new CrispError('FailedPrecondition', message, {
    hint: 'use a distribution with glibc 2.29 or later (Debian 10, Ubuntu 20.04, RHEL 9)',
  });
}
