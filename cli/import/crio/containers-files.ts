/** registries.conf and policy.json of the containers tools, which crisp reads itself: CRI-O has no copy of them. */
import { isPair, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import { invalid, type Leaf } from '../leaf.ts';
import { type Convert, lacks, moot, type PeerOption, under } from '../option.ts';
import type { Derived, Translation } from '../peer.ts';

const READ = 'crisp reads this file itself, at each pull';
/** Keys of the two files begin with these, so that they are not taken for CRI-O's own. */
export const REGISTRIES = 'registries.conf';
export const POLICY = 'policy.json';

export const isRegistriesFile = (raw: Readonly<Record<string, unknown>>): boolean =>
  [
    'registry',
    'unqualified-search-registries',
    'short-name-mode',
    'aliases',
    'credential-helpers',
    'registries',
    'additional-layer-store-auth-helper',
  ].some((key) => Object.hasOwn(raw, key));

export const registriesOptions: readonly PeerOption[] = under(
  [REGISTRIES],
  [
    moot('unqualified-search-registries', [], READ),
    moot('short-name-mode', '', READ),
    moot('aliases.*', undefined, READ),
    ...['prefix', 'location', 'insecure', 'blocked', 'mirror-by-digest-only'].map((key) =>
      moot(`registry.*.${key}`, undefined, READ),
    ),
    ...['location', 'insecure', 'pull-from-mirror'].map((key) =>
      moot(`registry.*.mirror.*.${key}`, undefined, READ),
    ),
    moot('registries.*.registries', undefined, `${READ}; version 1 of the format`),
    lacks(
      'credential-helpers',
      ['containers-auth.json'],
      'name the helper in credHelpers or credsStore of a file of image.auth_files',
    ),
    lacks('additional-layer-store-auth-helper', '', 'there are no additional layer stores'),
  ],
);

/** A requirement by its type; `signedBy` is the only one that crisp lacks. */
const requirement: Convert = (value) =>
  value === 'signedBy' || value === 'signedBaseLayer'
    ? { cannot: 'images to which this applies are refused: sign them by sigstore, and use sigstoreSigned' }
    : { same: READ };

export const policyOptions: readonly PeerOption[] = under(
  [POLICY],
  [
    moot('default.*.type', undefined, READ, { convert: requirement }),
    moot('transports.*.*.*.type', undefined, READ, { convert: requirement }),
    moot('**', undefined, READ),
  ],
);

/** The keys of policy.json with their lines. Throws InvalidArgument for what is not JSON. */
export function policyLeaves(text: string, file: string, position: number): Leaf[] {
  try {
    JSON.parse(text);
  } catch {
    const [error] = parseDocument(text).errors;
    throw invalid([`${file}:${error?.linePos?.[0].line ?? 1}: not JSON`]);
  }
  const lines = new LineCounter();
  const leaves: Leaf[] = [];
  visit(parseDocument(text, { lineCounter: lines }), {
    Scalar(place, node, parents) {
      if (place === 'key') return;
      const around = [...parents, node];
      const keys = around.flatMap((parent, index): string[] => {
        if (isPair(parent)) return [isScalar(parent.key) ? String(parent.key.value) : ''];
        return isSeq(parent) ? [String(parent.items.indexOf(around[index + 1]))] : [];
      });
      const { line } = lines.linePos(node.range?.[0] ?? 0);
      leaves.push({
        written: keys,
        keys: [POLICY, ...keys],
        value: node.value,
        origin: `${file}:${line}`,
        file: position,
      });
    },
  });
  return leaves;
}

/** Files in another place than the usual one must be named. */
export function namedFiles({ leaves }: Translation): Derived[] {
  const seen = new Set<string>();
  return leaves.flatMap((leaf): Derived[] => {
    const [kind] = leaf.keys;
    const path = leaf.origin.replace(/:\d+$/, '');
    if ((kind !== REGISTRIES && kind !== POLICY) || seen.has(path)) return [];
    seen.add(path);
    if (kind === POLICY)
      return path === '/etc/containers/policy.json'
        ? []
        : [{ leaf, set: [['image', 'policy_file'], path], note: 'the policy that was given' }];
    const dropIns = /^(.*\.d)\/[^/]*$/.exec(path)?.[1];
    return dropIns === undefined
      ? [{ leaf, set: [['image', 'registries_conf'], path], note: 'the file that was given' }]
      : [
          {
            leaf,
            set: [['image', 'registries_conf_dir'], dropIns],
            note: 'the directory of the file that was given',
          },
        ];
  });
}
