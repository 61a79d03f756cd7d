/** The result of `crisp config import` as crisp's TOML, and as JSON. */
import { settingsText } from '#config/index.ts';
import { printable } from '../format.ts';
import type { Finding, Findings, Outcome } from './findings.ts';
import type { Peer, Reading } from './peer.ts';
import { keyText, shownValue, valueText } from './text.ts';

/** Sections of comments after the settings, in this order. */
const SECTIONS: readonly (readonly [Outcome, string])[] = [
  ['cannot', 'Not translated: to be done by hand, or given up'],
  ['differs', "At %'s default, which is not what crisp does"],
  ['overridden', 'Without effect'],
  ['same', 'The same here, without a setting'],
  ['default', "At %'s default, nothing to set"],
];

const line = ({ leaf, note, open }: Finding): string => {
  const text = `${keyText(leaf.written)} = ${valueText(leaf.value, open)} (${printable(leaf.origin)})`;
  return `# ${text}${note === '' ? '' : `: ${note}`}`;
};

function count(findings: readonly Finding[], outcome: Outcome): number {
  return findings.filter((finding) => finding.outcome === outcome).length;
}

function summary(findings: readonly Finding[]): string {
  const of = (outcome: Outcome) => count(findings, outcome);
  return [
    `${of('set')} set`,
    `${of('same')} the same`,
    `${of('default')} at a default that needs nothing`,
    `${of('differs')} at a default that crisp does not share`,
    `${of('overridden')} without effect`,
    `${of('cannot')} not translated`,
  ].join(', ');
}

/** A TOML document that crisp's own loader reads. Each key of the files is in it, as a setting or as a comment. */
export function tomlText(peer: Peer, { files, warnings }: Reading, result: Findings): string {
  const { findings, settings, unset } = result;
  const keys = findings.length === 1 ? '1 key' : `${findings.length} keys`;
  const lines = [
    `# Translated by \`crisp config import\` from the configuration of ${peer.name}: ${files.map(printable).join(', ')}`,
    `# ${keys}: ${summary(findings)}.`,
    ...warnings.map((warning) => `# Note: ${printable(warning)}`),
  ];
  const text = settings.length > 0 ? ['', settingsText(settings).trimEnd()] : ['', '# Nothing is to be set.'];
  const sections = SECTIONS.flatMap(([outcome, title]) => {
    const found = findings.filter((finding) => finding.outcome === outcome);
    if (found.length === 0) return [];
    return ['', `# --- ${title.replace('%', peer.name)} (${found.length})`, ...found.map(line)];
  });
  const differing = unset.map((option) => `# ${keyText(option.keys)}: ${option.differs}`);
  if (differing.length > 0)
    differing.unshift('', `# --- Not in these files, and other by default (${differing.length})`);
  const reminders = ['', ...peer.reminders.map((reminder) => `# ${reminder}`)];
  return `${[...lines, ...text, ...sections, ...differing, ...reminders].join('\n')}\n`;
}

/** One object for each key, or for each setting that a key makes; the keys of the objects are stable. */
export function jsonText({ findings }: Findings): string {
  const list = findings.flatMap(({ leaf, outcome, note, open, sets }) => {
    const from = { from: leaf.origin, key: keyText(leaf.written), value: shownValue(leaf.value, open) };
    const targets = sets.length > 0 ? sets : [undefined];
    return targets.map((set) => ({
      ...from,
      outcome,
      to: set === undefined ? null : keyText(set[0]),
      set: set === undefined ? null : shownValue(set[1]),
      note,
    }));
  });
  return `${JSON.stringify(list, null, 2)}\n`;
}
