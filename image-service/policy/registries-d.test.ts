import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { parseReference } from '../image/reference.ts';
import { locationOf, parseLocations, readSignatureLocations } from './registries-d.ts';
import { scopesOf } from './scopes.ts';

const root = mkdtempSync(join(tmpdir(), 'crisp-registries-d-'));
after(() => rmSync(root, { recursive: true }));
let directories = 0;

function directoryOf(files: Readonly<Record<string, string>>): string {
  const directory = join(root, `${directories++}`);
  mkdirSync(directory);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

const locate = async (files: Readonly<Record<string, string>>, image: string) =>
  locationOf(await readSignatureLocations(directoryOf(files)), scopesOf(parseReference(image)));

test('without files: no attachments, the peers’ directory of signatures', async () => {
  const location = locationOf(await readSignatureLocations(join(root, 'missing')), []);
  assert.deepEqual(location, { attachments: false, lookaside: 'file:///var/lib/containers/sigstore' });
});

test('each setting comes from the most specific scope that has it, over all files', async () => {
  const files = {
    'default.yaml': 'default-docker:\n  lookaside: file:///all\n  use-sigstore-attachments: false\n',
    'a.yaml':
      'docker:\n  r.io:\n    use-sigstore-attachments: true\n    sigstore: file:///old\n    lookaside-staging: file:///w\n',
    'b.yaml':
      'docker:\n  r.io/team:\n    lookaside: file:///team\n  "*.example.com":\n    use-sigstore-attachments: yes\n',
    'c.conf': 'nonsense: [',
  };
  assert.deepEqual(await locate(files, 'r.io/team/a:v1'), { attachments: true, lookaside: 'file:///team' });
  assert.deepEqual(await locate(files, 'r.io/else/a:v1'), { attachments: true, lookaside: 'file:///old' });
  assert.deepEqual(await locate(files, 'reg.example.com:5000/a'), {
    attachments: true,
    lookaside: 'file:///all',
  });
  assert.deepEqual(await locate(files, 'busybox'), { attachments: false, lookaside: 'file:///all' });
});

test('a broken file is an error that names it', async () => {
  for (const [text, why] of [
    ['docker: [', /a\.yaml: not valid YAML/],
    ['[]', /a\.yaml: the file is not a mapping/],
    ['docker: x', /docker is not a mapping/],
    ['docker:\n  r.io: 7', /docker "r\.io" is not a mapping/],
    ['docker:\n  r.io: {use-sigstore-attachments: maybe}', /not true or false/],
    ['default-docker: {lookaside: [x]}', /default-docker: lookaside is not text/],
    ['docker:\n  r.io: {}\n  r.io: {}', /a\.yaml: not valid YAML/],
  ] as const) {
    const error = await locate({ 'a.yaml': text }, 'r.io/a').catch((reason: unknown) => reason);
    assert.ok(hasCode(error, 'FailedPrecondition'), text);
    assert.match(error.message, why);
  }
  const twice = { 'a.yaml': 'docker: {r.io: {}}', 'b.yaml': 'docker: {r.io: {}}' };
  await assert.rejects(locate(twice, 'r.io/a'), /docker "r\.io" is in both .*a\.yaml and .*b\.yaml/);
  const directory = directoryOf({});
  mkdirSync(join(directory, 'x.yaml'));
  await assert.rejects(readSignatureLocations(directory), /x\.yaml cannot be read/);
});

test('empty files and entries are no settings', async () => {
  const files = {
    'a.yaml': '',
    'b.yaml': '# nothing\n',
    'c.yaml': 'docker:\n',
    'd.yaml': 'docker:\n  r.io:\n  "": {use-sigstore-attachments: true}\n',
  };
  assert.deepEqual(await locate(files, 'r.io/a'), {
    attachments: false,
    lookaside: 'file:///var/lib/containers/sigstore',
  });
});

test('any text is read or refused by an error that names the file', () => {
  const piece = fc.constantFrom(
    'docker:',
    'default-docker:',
    'lookaside',
    ': ',
    '\n',
    '  ',
    '&a',
    '*a',
    '[',
    '{',
    'yes',
    '<<: ',
    '"',
    '!!',
    '- ',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (yaml) => {
      try {
        parseLocations(yaml, 'F.yaml');
      } catch (error) {
        assert.ok(error instanceof CrispError && error.code === 'FailedPrecondition', String(error));
        assert.match(error.message, /F\.yaml/);
      }
    }),
    { numRuns: 1500 },
  );
});
