/** Options of the configuration in words, for the manual page and docs/configuration.md alike. */
import { dotted, type OptionFacts } from '#config/index.ts';

/** What has to be said once about the types of values. */
export const TYPES: readonly (readonly [type: string, text: string])[] = [
  ['duration', 'A text of a number and a unit, or several: `ms`, `s`, `m`, `h`, `d`, such as `"1h30m"`.'],
  [
    'size',
    'Bytes as a number, or a text with a unit: `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), `KB`, `MB`, `GB`, `TB` (powers of 1000).',
  ],
  ['permissions', 'Octal permissions as a text, such as `"0660"`.'],
  ['list', 'As a flag: separated by commas, or the flag several times.'],
];

export const RULES: readonly string[] = [
  'The file is TOML. `crisp.toml.d/*.toml` beside it is read after it, in the order of the names; a later value overrides an earlier one, and tables are merged. Flags of `crisp serve` override both. Unknown keys and values that are not valid are refused, all at once, with file and line.',
  'Options that are reloadable take effect by `systemctl reload crisp`, `crisp reload` or SIGHUP; a change of the others needs a restart of the daemon, and pods keep running. A wrong configuration changes nothing. Files and directories that options name for registries, their credentials, certificates and signatures are read when they are used.',
  '`crisp config` prints the configuration in force, with where each value was set. `{root}` and `{state}` in defaults stand for the values of these two options. NAME stands for a name that you choose.',
];

const range = ({ kind }: OptionFacts): string =>
  kind.range ? `, from ${kind.range.min} to ${kind.range.max}` : '';

/** The type with its bounds or choices: `duration, from 1s to 1h`. */
export function typeText(option: OptionFacts): string {
  const { kind, expected } = option;
  if (kind.range) return `${kind.name}${range(option)}`;
  if (kind.name === 'choice') return expected;
  return expected.replace(/^an? /, '');
}

/** The default as TOML; `nofile = "1024:524288"` of a table, `none` where the user chooses all names. */
export function fallbackText({ keys, entries, fallback }: OptionFacts): string {
  if (entries.length > 0) return entries.map(([name, value]) => `${keyOf(name)} = ${value}`).join(', ');
  return keys.at(-1) === 'NAME' ? 'none' : fallback;
}

const keyOf = (name: string): string => dotted([name]);
