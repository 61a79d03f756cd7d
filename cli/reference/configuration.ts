/**
 * docs/configuration.md: every option of crisp.toml, from the schema. Written anew by
 * `node cli/reference/configuration.ts > docs/configuration.md`; a test compares the two.
 */
import { configReference, dotted, type OptionFacts, type SectionFacts } from '#config/index.ts';
import { fallbackText, RULES, TYPES, typeText } from './option-text.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|');
const code = (text: string): string => `\`${text}\``;

function row(option: OptionFacts): string {
  const { keys, reloadable, doc } = option;
  const facts = [typeText(option), code(fallbackText(option)), reloadable ? 'yes' : 'no', doc];
  return `| ${[code(dotted(keys.slice(-1))), ...facts].map(cell).join(' | ')} |`;
}

function section({ keys, doc, options }: SectionFacts): string[] {
  const title = keys.length === 0 ? 'Outside of tables' : `\`[${dotted(keys)}]\``;
  return [
    '',
    `## ${title}`,
    '',
    ...(doc === '' ? [] : [doc, '']),
    '| option | type | default | reloadable | description |',
    '|---|---|---|---|---|',
    ...options.map(row),
  ];
}

/** The document. */
export const configurationDocument = (): string =>
  `${[
    '# Configuration',
    '',
    'Every option of `/etc/crisp/crisp.toml`. This file is generated from the schema (`config/schema.ts`), as is the manual page',
    '`crisp.toml(5)`: `node cli/reference/configuration.ts > docs/configuration.md`.',
    ...RULES.flatMap((rule) => ['', rule]),
    '',
    'An option is a flag as well, with dashes: `[cni] conf_dir` is `--cni-conf-dir`; those in tables with names that you choose are not.',
    '',
    ...TYPES.map(([type, text]) => `- ${type}: ${text}`),
    ...configReference().flatMap(section),
  ].join('\n')}\n`;

if (import.meta.main) process.stdout.write(configurationDocument());
