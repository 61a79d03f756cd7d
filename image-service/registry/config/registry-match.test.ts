import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { parseReference } from '../../image/reference.ts';
import { requestUrl } from '../endpoint-url.ts';
import { parseRegistriesConf } from './registries-conf.ts';
import { endpointsOfConf } from './registry-match.ts';

const endpoints = (text: string, reference: string) =>
  endpointsOfConf(parseRegistriesConf(text, '/etc/r.conf', false), parseReference(reference));
const urls = (text: string, reference: string) =>
  endpoints(text, reference)?.map((endpoint) =>
    requestUrl(endpoint, 'manifests/1').replace('/manifests/1', ''),
  );

const registry = (lines: string) => `[[registry]]\n${lines}\n`;

test('the longest prefix counts, at the end of a host, a port or a part of the path', () => {
  const text =
    registry('location = "a.example"') +
    registry('prefix = "a.example/team"\nlocation = "b.example/x/"') +
    registry('prefix = "*.example"\nlocation = "c.example"');
  assert.deepEqual(urls(text, 'a.example/foo'), ['https://a.example/v2/foo']);
  assert.deepEqual(urls(text, 'a.example/team/foo'), ['https://b.example/v2/x/foo']);
  assert.deepEqual(urls(text, 'a.example/teams/foo'), ['https://a.example/v2/teams/foo']);
  assert.deepEqual(urls(text, 'd.e.example/foo'), ['https://c.example/v2/foo']);
  assert.deepEqual(urls(text, 'a.example:5000/foo'), ['https://a.example:5000/v2/foo']);
  assert.equal(urls(text, 'a.examples/foo'), undefined);
  assert.equal(urls(text, 'example/foo'), undefined);
  assert.equal(urls(text, 'x.org/a.example/foo'), undefined);
});

test('the origin of an endpoint is that of its replies, in capitals and with the port of its scheme, too', () => {
  const found = endpoints(registry('location = "A.Example:443"\ninsecure = true'), 'A.Example:443/foo');
  assert.deepEqual(
    found?.map(({ origin, base }) => [origin, base]),
    [
      ['https://a.example', 'https://a.example/v2'],
      ['http://a.example:443', 'http://a.example:443/v2'],
    ],
  );
});

test('mirrors are chosen by how the image is named', () => {
  const digest = `q.example/a@sha256:${'0'.repeat(64)}`;
  const text = `${registry('location = "q.example"')}
[[registry.mirror]]
location = "all.example"
[[registry.mirror]]
location = "digest.example/p"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tag.example"
pull-from-mirror = "tag-only"
insecure = true
`;
  assert.deepEqual(urls(text, 'q.example/a'), [
    'https://all.example/v2/a',
    'https://tag.example/v2/a',
    'http://tag.example/v2/a',
    'https://q.example/v2/a',
  ]);
  assert.deepEqual(urls(text, digest), [
    'https://all.example/v2/a',
    'https://digest.example/v2/p/a',
    'https://q.example/v2/a',
  ]);
  assert.deepEqual(
    endpoints(text, 'q.example/a')?.map(({ trust, source }) => [trust.skipVerify, source]),
    [
      [false, '/etc/r.conf:4'],
      [true, '/etc/r.conf:9'],
      [false, '/etc/r.conf:9'],
      [false, '/etc/r.conf:1'],
    ],
  );
});

test('what is blocked is refused by name, also where it is a mirror', () => {
  const blocked = registry('location = "bad.example"\nblocked = true');
  assert.throws(
    () => urls(blocked, 'bad.example/a'),
    (error) => hasCode(error, 'PermissionDenied') && String(error).includes('/etc/r.conf:1'),
  );
  const mirrored = `${blocked}${registry('location = "a.example"')}[[registry.mirror]]\nlocation = "bad.example"\n`;
  assert.deepEqual(urls(mirrored, 'a.example/b'), ['https://a.example/v2/b']);
  assert.throws(
    () => urls(blocked + registry('prefix = "a.example"\nlocation = "bad.example/x"'), 'a.example/b'),
    (error) => hasCode(error, 'PermissionDenied'),
  );
});

test('version 1 is read where it is not mixed with version 2', () => {
  const text =
    '[registries.search]\nregistries = ["s.example"]\n[registries.insecure]\nregistries = ["i.example:5000"]\n[registries.block]\nregistries = ["b.example"]\n';
  assert.deepEqual(urls(text, 'i.example:5000/a'), [
    'https://i.example:5000/v2/a',
    'http://i.example:5000/v2/a',
  ]);
  assert.throws(() => urls(text, 'b.example/a'), /blocked/);
  assert.throws(() => parseRegistriesConf(text, '/etc/r.conf.d/x.conf', true), /x\.conf:1: a drop-in/);
  assert.throws(() => urls(text + registry('location = "a.example"'), 'a.example/b'), /r\.conf:7.*version 1/);
});

test('a faulty entry spoils its own prefix, with its line', () => {
  const good = registry('location = "good.example"');
  for (const [lines, name, at] of [
    ['location = "https://a.example"', 'a.example/x', undefined],
    ['prefix = "a.example"', 'a.example/x', 5],
    ['location = "a.example"\ninsecure = 1', 'a.example/x', 7],
    ['location = "a.example"\npull-from-mirror = "all"', 'a.example/x', 7],
    ['location = "a.example"\n[[registry.mirror]]\nlocation = ""', 'a.example/x', 7],
    ['location = "a.example"\n[[registry.mirror]]\nlocation = "http://m"', 'a.example/x', 8],
    ['location = "a.example"\n[[registry.mirror]]\nlocation = "m/x"', 'a.example/x', 8],
    [
      'location = "a.example"\n[[registry.mirror]]\nlocation = "m.x"\npull-from-mirror = "no"',
      'a.example/x',
      9,
    ],
    [
      'location = "a.example"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "m.x"\npull-from-mirror = "all"',
      'a.example/x',
      10,
    ],
    ['prefix = "a.example"\nlocation = "b"', 'a.example/x', 5],
    ['prefix = "a.example/x"\nlocation = "b.example"', 'a.example/x', 5],
    [
      'location = "a.example"\n[[registry]]\nprefix = "b.example"\nlocation = "a.example"\ninsecure = true',
      'b.example/x',
      7,
    ],
  ] as const) {
    const text = `\n${good}\n${registry(lines)}`;
    assert.deepEqual(urls(text, 'good.example/x'), ['https://good.example/v2/x']);
    if (at === undefined) continue;
    assert.throws(
      () => urls(text, name),
      (error) => error instanceof CrispError && error.message.startsWith(`/etc/r.conf:${at}: `),
      lines,
    );
  }
});

test('a file of which no part can be used has the line, too', () => {
  for (const [text, at] of [
    ['x = ', 1],
    ['\nregistry = 1', 2],
    ['[[registry]]\nprefix = 1', 2],
    ['\n[[registry]]\ninsecure = true', 2],
    ['\naliases = 1', 2],
  ] as const)
    assert.throws(
      () => parseRegistriesConf(text, '/r', false),
      (error) => error instanceof CrispError && error.message.startsWith(`/r:${at}: `),
      text,
    );
});
