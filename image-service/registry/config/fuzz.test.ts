/** Any text is either configuration or an error with file and line, in bounded time; the same for references. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError } from '#core/errors.ts';
import { parseReference } from '../../image/reference.ts';
import { endpointsOfHosts, parseHostsToml } from './hosts-toml.ts';
import { ownTable } from './own-table.ts';
import { parseRegistriesConf } from './registries-conf.ts';
import { endpointsOfConf } from './registry-match.ts';

/** Accepts a result or a CrispError whose message begins with the place. */
function attempt<T>(act: () => T, place: RegExp): T | undefined {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof CrispError)) throw error;
    assert.match(error.message, place);
    return undefined;
  }
}

const HOSTS = fc.constantFrom(
  'docker.io',
  'a.example',
  'b.example:5000',
  '*.example',
  'localhost:5000',
  'A.example/x',
  'q',
  '',
);
const word = fc.oneof(
  HOSTS,
  fc.constantFrom(
    'https://a.example/v2/x',
    'http://[::1]:5000',
    'https://u:p@a',
    '/',
    '//',
    '..',
    'a b',
    '1s',
    '-1h',
    'pull',
    'all',
    'digest-only',
  ),
  fc.string({ maxLength: 12 }),
);
const leaf = fc.oneof(
  word.map((text) => JSON.stringify(text)),
  fc.constantFrom(
    'true',
    'false',
    '1',
    '1.5',
    'nan',
    '1979-05-27',
    '[]',
    '{}',
    '[["a","b"]]',
    '[1]',
    '{ a = 1 }',
  ),
  fc.array(word, { maxLength: 3 }).map((items) => JSON.stringify(items)),
);
const confKey = fc.constantFrom(
  ...['prefix', 'location', 'insecure', 'blocked', 'mirror-by-digest-only', 'pull-from-mirror', 'mirror'],
  ...['unqualified-search-registries', 'short-name-mode', 'aliases', 'registry', '"busybox"', 'registries'],
);
const hostsKey = fc.constantFrom(
  ...[
    'server',
    'capabilities',
    'ca',
    'client',
    'skip_verify',
    'header',
    'override_path',
    'dial_timeout',
    'host',
    '"x-y"',
  ],
);
const confTable = fc.constantFrom(
  ...[
    '[[registry]]',
    '[[registry.mirror]]',
    '[aliases]',
    '[registries.search]',
    '[registries.insecure]',
    '[registry]',
  ],
);
const hostsTable = fc.oneof(
  word.map((text) => `[host.${JSON.stringify(text)}]`),
  word.map((text) => `[host.${JSON.stringify(text)}.header]`),
  fc.constantFrom('[host]', '[header]', '[[host]]'),
);
const toml = (key: fc.Arbitrary<string>, header: fc.Arbitrary<string>) =>
  fc
    .array(
      fc.oneof(
        fc.tuple(key, leaf).map((pair) => pair.join(' = ')),
        header,
        fc.string({ maxLength: 8 }),
      ),
      { maxLength: 12 },
    )
    .map((lines) => lines.join('\n'));
const any = fc.string({ maxLength: 200, unit: 'binary' });
const REFERENCES = [
  'a.example/x/y',
  'docker.io/library/busybox:1',
  `b.example:5000/c@sha256:${'0'.repeat(64)}`,
].map((text) => parseReference(text));

test('registries.conf', () => {
  const place = /^\/etc\/r\.conf(:\d+)?: |is blocked by \/etc\/r\.conf:\d+$/;
  fc.assert(
    fc.property(fc.oneof(any, toml(confKey, confTable)), fc.boolean(), (text, dropIn) => {
      const conf = attempt(() => parseRegistriesConf(text, '/etc/r.conf', dropIn), place);
      if (conf) for (const reference of REFERENCES) attempt(() => endpointsOfConf(conf, reference), place);
    }),
    { numRuns: 3000 },
  );
});

test('hosts.toml', () => {
  const place = /^\/etc\/x\/hosts\.toml(:\d+)?: /;
  fc.assert(
    fc.property(fc.oneof(any, toml(hostsKey, hostsTable)), (text) => {
      const entries = attempt(() => parseHostsToml(text, '/etc/x'), place);
      if (!entries) return;
      for (const { host, path } of REFERENCES)
        for (const { base, repository, headers } of endpointsOfHosts(entries, host, path)) {
          assert.ok(URL.canParse(`${base}/${repository}/manifests/1`), base);
          assert.ok(new Headers({ ...headers }));
        }
    }),
    { numRuns: 3000 },
  );
});

test("crisp's own table", () => {
  const options = { insecure: false, skipVerify: false, caFile: '' };
  fc.assert(
    fc.property(fc.dictionary(word, fc.array(word, { maxLength: 3 }), { maxKeys: 4 }), (given) => {
      const table = Object.fromEntries(
        Object.entries(given).map(([key, mirrors]) => [key, { ...options, mirrors }]),
      );
      attempt(
        () => ownTable(table, (key) => `crisp.toml:${Object.keys(table).indexOf(key) + 1}`),
        /^crisp\.toml:\d+: /,
      );
    }),
    { numRuns: 2000 },
  );
});

test('references', () => {
  const part = fc.oneof(
    HOSTS,
    fc.constantFrom('/', ':', '@', '.', '__', '-', 'sha256:', '0'.repeat(64), 'a', 'Z', '[', ']', '%', '\0'),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        any,
        fc.array(part, { maxLength: 10 }).map((parts) => parts.join('')),
      ),
      (text) => {
        const found = attempt(() => parseReference(text), /^image reference /);
        if (!found) return;
        assert.equal(parseReference(found.text).text, found.text);
        assert.ok(
          URL.canParse(`https://${found.host}/v2/${found.path}/manifests/${found.tag ?? found.digest}`),
          found.text,
        );
      },
    ),
    { numRuns: 5000 },
  );
});

test('long and deep texts end soon', () => {
  const many = 200_000;
  for (const text of [
    '['.repeat(many),
    'a.'.repeat(many),
    `${'a='.repeat(many)}`,
    `location = "${'-'.repeat(many)}"`,
    '{'.repeat(many),
  ]) {
    attempt(() => parseRegistriesConf(text, '/r', false), /^\/r(:\d+)?: /);
    attempt(() => parseHostsToml(text, '/r'), /^\/r\/hosts\.toml(:\d+)?: /);
    attempt(() => parseReference(text.replaceAll('.', '-')), /^image reference /);
  }
  const entries = Array.from({ length: 5000 }, (_, n) => `[[registry]]\nlocation = "r${n}.example"\n`).join(
    '',
  );
  const conf = parseRegistriesConf(entries, '/r', false);
  assert.equal(endpointsOfConf(conf, parseReference('r4999.example/a'))?.length, 1);
  attempt(() => parseHostsToml(`server = "https://${'a.'.repeat(many)}"`, '/r'), /^\/r\/hosts\.toml:1: /);
  attempt(() => parseHostsToml(`dial_timeout = "${'1.'.repeat(many)}s"`, '/r'), /^\/r\/hosts\.toml:1: /);
});
