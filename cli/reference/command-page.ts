/** crisp(8), from the declarations of the commands. */
import type { Command, ExitCode, Flag } from '../command.ts';
import type { CommandEntry } from '../command-tree.ts';
import { configFlags } from '../config-flags.ts';
import { exitCodes } from '../help.ts';
import { ENVIRONMENT, type Fact, FILES, SIGNALS } from './node-facts.ts';
import { bold, heading, inline, italic, item, paragraph, subheading, wrapped } from './roff.ts';

const facts = (list: readonly Fact[]): string[] => list.flatMap(([name, text]) => item(bold(name), text));

/** Literal words and placeholders of a value alike: the name of the option is what is bold. */
function flagLines([name, { short, type, value = 'VALUE', multiple, doc }]: [string, Flag]): string[] {
  const names = `${short ? `${bold(`-${short}`)}, ` : ''}${bold(`--${name}`)}`;
  const text = `${doc}${/[.!?]$/.test(doc) ? '' : '.'}${multiple ? ' It may be given several times.' : ''}`;
  return item(type === 'string' ? `${names} ${italic(value)}` : names, text);
}

const SEE_ALSO: readonly (readonly [name: string, section: number])[] = [
  ['crisp.toml', 5],
  ['conmon', 8],
  ['crun', 1],
  ['runc', 8],
  ['containers-policy.json', 5],
  ['containers-registries.conf', 5],
];

const usual = exitCodes();
const isUsual = ([code, meaning]: ExitCode): boolean =>
  usual.some(([other, text]) => other === code && text === meaning);

function exitText(command: Command<never>): string[] {
  const own = (command.exits ?? []).filter((exit) => !isUsual(exit));
  if (own.length === 0) return [];
  return paragraph(`Exit status: ${own.map(([code, meaning]) => `\`${code}\` ${meaning}`).join('; ')}.`);
}

function commandLines({ name, command, below }: CommandEntry): string[] {
  const { usage, summary, flags, aliases = [] } = command;
  const takesConfig = Object.hasOwn(flags, 'cni-timeout');
  const own = Object.entries(flags).filter(([flag]) => !(takesConfig && Object.hasOwn(configFlags, flag)));
  const others = aliases.length > 0 ? ` Also as ${aliases.map((alias) => `\`${alias}\``).join(', ')}.` : '';
  return [
    subheading(`crisp ${name} ${usage}`.trimEnd()),
    ...wrapped(inline(`${summary}.${others}`)),
    ...own.flatMap(flagLines),
    ...(takesConfig ? paragraph('It also takes the configuration options below.') : []),
    ...(below.length > 0 ? paragraph('Its commands follow.') : []),
    ...exitText(command),
  ];
}

export const commandPage = (title: string, entries: readonly CommandEntry[]): string[] => [
  title,
  heading('NAME'),
  'crisp \\- Kubernetes container runtime (CRI) and its client',
  heading('SYNOPSIS'),
  `${bold('crisp')} ${italic('COMMAND')} [${italic('ARG')}...]`,
  '.br',
  `${bold('crisp help')} [${italic('COMMAND')}]`,
  heading('DESCRIPTION'),
  ...wrapped(
    inline(
      'crisp serves CRI v1 on a unix socket, which a kubelet calls to run pods (`containerRuntimeEndpoint`), and drives the programs of the node: an OCI runtime, conmon, CNI plugins. The same program is a client of any such socket.',
    ),
  ),
  ...paragraph(
    'Ids of pods, containers and images may be shortened. `--help` of each command shows what is here.',
  ),
  heading('COMMANDS'),
  ...entries.flatMap(commandLines),
  heading('CONFIGURATION OPTIONS'),
  ...wrapped(
    inline('Each overrides an option of the file; `crisp.toml(5)` has their types, bounds and defaults.'),
  ),
  ...Object.entries(configFlags).flatMap(flagLines),
  heading('EXIT STATUS'),
  ...facts(usual.map(([code, meaning]): Fact => [code, `${meaning}.`])),
  ...paragraph('Commands that differ say so above.'),
  heading('ENVIRONMENT'),
  ...facts(ENVIRONMENT),
  heading('FILES'),
  ...facts(FILES),
  heading('SIGNALS'),
  ...facts(SIGNALS),
  heading('SEE ALSO'),
  ...wrapped(SEE_ALSO.map(([name, section]) => `${bold(name)}(${section})`).join(', ')),
];
