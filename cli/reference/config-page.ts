/** crisp.toml(5), from the schema. */
import { configReference, dotted, type OptionFacts, type SectionFacts } from '#config/index.ts';
import { fallbackText, RULES, TYPES, typeText } from './option-text.ts';
import { bold, heading, item, paragraph, subheading, verbatim } from './roff.ts';

const LONGEST_TERM = 66;

function optionLines(option: OptionFacts): string[] {
  const { keys, flag, doc, reloadable } = option;
  const flagText = flag === undefined ? '' : ` Flag: \`--${flag}\`.`;
  const text = `${doc} Type: ${typeText(option)}. Default: \`${fallbackText(option)}\`.${flagText}${reloadable ? ' Reloadable.' : ''}`;
  return item(termOf(dotted(keys)), text).map(breakable);
}

/** The same for a flag in the text: behind a hyphen. */
const breakable = (line: string): string =>
  line.length > LONGEST_TERM && !line.includes(' ') ? line.replaceAll('\\-', '\\-\\:') : line;

/** groff warns of a term that is longer than a line, unless it may be broken behind a dot. */
const termOf = (key: string): string =>
  key.length < LONGEST_TERM ? bold(key) : bold(key).replaceAll('.', '.\\:');

const sectionLines = ({ keys, doc, options }: SectionFacts): string[] => [
  subheading(keys.length === 0 ? 'Outside of tables' : `[${dotted(keys)}]`),
  ...(doc === '' ? [] : paragraph(doc).slice(1)),
  ...options.flatMap(optionLines),
];

const EXAMPLE = [
  '[metrics]',
  'address = "127.0.0.1:9090"',
  '',
  '[image.registries."docker.io"]',
  'mirrors = ["mirror.example/docker.io"]',
  '',
  '[runtime.handlers.kata]',
  'path = "/usr/bin/kata-runtime"',
  'sandbox = "runtime"',
];

export const configPage = (title: string): string[] => [
  title,
  heading('NAME'),
  'crisp.toml \\- configuration of the container runtime crisp',
  heading('SYNOPSIS'),
  bold('/etc/crisp/crisp.toml'),
  '.br',
  bold('/etc/crisp/crisp.toml.d/*.toml'),
  heading('DESCRIPTION'),
  ...RULES.flatMap(paragraph).slice(1),
  heading('TYPES'),
  ...TYPES.flatMap(([type, text]) => item(bold(type), text)),
  heading('OPTIONS'),
  ...configReference().flatMap(sectionLines),
  heading('EXAMPLES'),
  ...verbatim(EXAMPLE).slice(1),
  heading('SEE ALSO'),
  `${bold('crisp')}(8)`,
];
