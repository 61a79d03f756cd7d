/** crisp.toml(5), from the schema. */
import { configReference, dotted, type OptionFacts, type SectionFacts } from '#config/index.ts';
import { fallbackText, RULES, TYPES, typeText } from './option-text.ts';
import { bold, heading, item, paragraph, subheading, verbatim } from './roff.ts';

function optionLines(option: OptionFacts): string[] {
  const { keys, flag, doc, reloadable } = option;
  const flagText = flag === undefined ? '' : ` Flag: \`--${flag}\`.`;
  const text = `${doc} Type: ${typeText(option)}. Default: \`${fallbackText(option)}\`.${flagText}${reloadable ? ' Reloadable.' : ''}`;
  return item(bold(dotted(keys)), text);
}

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
