import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parseRegistriesConf } from './registries-conf.ts';
import { candidatesFor } from './short-names.ts';

const names = (text: string, name: string) =>
  candidatesFor(parseRegistriesConf(text, '/r.conf', false), name).map(({ reference }) => reference.text);
const DIGEST = `sha256:${'0'.repeat(64)}`;
const FILE = `short-name-mode = "permissive"
unqualified-search-registries = ["a.example", "docker.io"]
[aliases]
"centos" = "quay.io/centos/centos"
"team/app" = "b.example:5000/team/app"
"debian" = "docker.io/debian"
"gone" = ""
"bad" = "busybox"
`;

test('an alias counts, then the hosts to search, then Docker Hub', () => {
  for (const [file, name, ...full] of [
    ['', 'busybox', 'docker.io/library/busybox:latest'],
    [FILE, 'centos:7', 'quay.io/centos/centos:7'],
    [FILE, `centos@${DIGEST}`, `quay.io/centos/centos@${DIGEST}`],
    [FILE, 'team/app', 'b.example:5000/team/app:latest'],
    [FILE, 'debian', 'docker.io/library/debian:latest'],
    [FILE, 'busybox:1', 'a.example/busybox:1', 'docker.io/library/busybox:1'],
    [FILE, 'user/busybox:1', 'a.example/user/busybox:1', 'docker.io/user/busybox:1'],
    [FILE, 'gone', 'a.example/gone:latest', 'docker.io/library/gone:latest'],
    [FILE, 'docker.io/centos', 'docker.io/library/centos:latest'],
    [FILE, 'q.example/centos', 'q.example/centos:latest'],
    ['unqualified-search-registries = []', 'x', 'docker.io/library/x:latest'],
    ['[registries.search]\nregistries = ["s.example"]', 'x', 's.example/x:latest'],
  ] as const)
    assert.deepEqual(names(file, name), full, name);
  assert.equal(candidatesFor(parseRegistriesConf(FILE, '/r.conf', false), 'centos')[0]?.source, '/r.conf:4');
});

test('what is faulty or open is refused, and nothing else', () => {
  const enforcing = FILE.replace('permissive', 'enforcing');
  for (const [file, name, code, part] of [
    [FILE, 'bad', 'FailedPrecondition', '/r.conf:8'],
    [enforcing, 'busybox', 'FailedPrecondition', '/r.conf:2'],
    [
      'short-name-mode = "maybe"\nunqualified-search-registries = ["a.b", "c.d"]',
      'x',
      'FailedPrecondition',
      '/r.conf:1',
    ],
    ['\nunqualified-search-registries = ["a.b", "c/d"]', 'x', 'FailedPrecondition', '/r.conf:2'],
    ['[aliases]\nx = 1', 'x', 'FailedPrecondition', '/r.conf:2'],
    [FILE, 'Busybox', 'InvalidArgument', '"Busybox"'],
    [FILE, '', 'InvalidArgument', 'empty'],
  ] as const)
    assert.throws(
      () => names(file, name),
      (error) => hasCode(error, code) && String(error).includes(part),
      name,
    );
  assert.deepEqual(names(enforcing, 'centos'), ['quay.io/centos/centos:latest']);
});
