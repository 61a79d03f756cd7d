/**
 * docs/peer-options.md: every option of both peers, and what crisp has for it. Written anew by
 * `node cli/import/options-table.ts > docs/peer-options.md`; a test compares the two.
 */
import type { PeerAnnotation } from './annotation.ts';
import type { PeerOption } from './option.ts';
import type { Peer } from './peer.ts';
import { peers } from './peers.ts';
import { valueText } from './text.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|');
const code = (text: string): string => `\`${text.replaceAll('`', "'")}\``;
/** A key as TOML has it, but with `*` and `**` for what is not fixed. */
const keysText = (keys: readonly string[]): string =>
  keys.map((key) => (/^[A-Za-z0-9_*-]+$/.test(key) ? key : JSON.stringify(key))).join('.');

function answer({ kind, to, note, differs }: PeerOption): string {
  const target = to === undefined ? '' : code(to);
  const parts = {
    maps: `${target}${note === '' ? '' : `: ${note}`}`,
    manual: `${target}, by hand: ${note}`,
    moot: `no option: ${note}`,
    lacks: `not there: ${note}`,
  };
  const different = differs === undefined || differs === note ? '' : `. By default: ${differs}`;
  return cell(`${parts[kind]}${different}`);
}

function annotationAnswer({ kind, to, note }: PeerAnnotation): string {
  const more = note === '' ? '' : `: ${note}`;
  const parts = {
    acts: `the same, where ${code('allowed_annotations')} has it${more}`,
    passed: `passed to the OCI runtime and its hooks, where ${code('allowed_annotations')} has it${more}`,
    option: `${code(to ?? '')}${more}`,
    moot: `not needed${more}`,
    lacks: `not there${more}`,
  };
  return cell(parts[kind]);
}

/** The table around an option: what is before its last key, and the names in it. */
const tableOf = ({ keys }: PeerOption): string => keysText(keys.slice(0, -1));

function section(peer: Peer): string[] {
  const tables = Map.groupBy(peer.options, tableOf);
  const lines = [...tables].flatMap(([table, options]) => [
    '',
    `### ${table === '' ? 'Outside of tables' : `\`[${table}]\``}`,
    '',
    '| option | default | crisp |',
    '|---|---|---|',
    ...options.map((option) => {
      const { keys, fallback } = option;
      const shown = fallback === undefined ? '–' : code(valueText(fallback));
      return `| ${code(keysText(keys.slice(-1)))} | ${cell(shown)} | ${answer(option)} |`;
    }),
  ]);
  const rows = peer.annotations.map(
    (annotation) =>
      `| ${annotation.keys.map(code).join(', ')} | ${cell(annotation.what)} | ${annotationAnswer(annotation)} |`,
  );
  const annotations = [
    '',
    `### Annotations of pods, for ${peer.name}`,
    '',
    '| annotation | what it does | crisp |',
    '|---|---|---|',
    ...rows,
  ];
  return ['', `## ${peer.name} ${peer.version} (${peer.options.length} options)`, ...lines, ...annotations];
}

const OPENING = `# Options of CRI-O and containerd

What crisp has for each option of the two, from the tables that \`crisp config import\` uses (\`cli/import/\`). This file is generated
from them: \`node cli/import/options-table.ts > docs/peer-options.md\`.

- A key of crisp, in code: the option is translated. "By hand": the value is to be chosen.
- "No option": crisp does the same, or does not need it, whatever the value is.
- "Not there": at its default nothing is lost; for any other value, why it is not there and what to do. "By default" says where
  the two do not do the same although nothing is set.
- \`*\` stands for a name that you choose, or for the index in a list; \`**\` for all keys below.

The options of containerd are where version 3 of its configuration has them. In version 2 those of the three CRI plugins are all below
\`plugins."io.containerd.grpc.v1.cri"\` (\`sandbox_image\` is \`pinned_images.sandbox\` now); in version 4 \`grpc\`, \`ttrpc\`, \`debug\` and
\`metrics\` are plugins \`io.containerd.server.v1.*\`. \`crisp config import\` reads all three.`;

/** The document. */
export const optionsTable = (): string =>
  `${[OPENING, ...Object.values(peers).flatMap(section)].join('\n')}\n`;

if (import.meta.main) process.stdout.write(optionsTable());
