import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parseReference } from './reference.ts';

const DIGEST = `sha256:${'a1'.repeat(32)}`;

test('short names are completed', () => {
  for (const [text, full] of [
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['user/app', 'docker.io/user/app:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/user/app', 'docker.io/user/app:latest'],
    ['registry.k8s.io/pause:3.9', 'registry.k8s.io/pause:3.9'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['localhost:5000/a/b/c:T-1', 'localhost:5000/a/b/c:T-1'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    ['REG/app', 'REG/app:latest'],
    ['Reg.Example/a__b-c.d', 'reg.example/a__b-c.d:latest'],
    [`busybox@${DIGEST}`, `docker.io/library/busybox@${DIGEST}`],
    [`q.io/a:v1@${DIGEST}`, `q.io/a@${DIGEST}`],
    ['localhost:5000', 'docker.io/library/localhost:5000'],
  ] as const) {
    assert.equal(parseReference(text).text, full, text);
  }
});

test('malformed names are refused with a reason', () => {
  const wrong = [
    '',
    ':tag',
    '@sha256:00',
    'a//b',
    '/a',
    'a/',
    'UPPER',
    'docker.io/Upper',
    'a:',
    'a:-x',
    'a b',
    'a\n',
    'a@b',
    '-a/b.c/d',
    'a@sha256:abc',
    `a@md5:${'0'.repeat(32)}`,
    `a@sha512:${'0'.repeat(128)}`,
    'x.y:99999/a',
    'x.y:port/a',
    'x.1/a',
    '1.2.3.999/a',
    '[1]/a',
    'a'.repeat(300),
    `a:${'t'.repeat(129)}`,
    '0'.repeat(64),
    'a..b',
    'a/../b',
    'http://x.y/z',
    'a@sha256:x@y',
    'ünï',
    '.a',
    'a___b',
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseReference(text),
      (error) => hasCode(error, 'InvalidArgument'),
      JSON.stringify(text),
    );
  }
});

test('a completed name means itself', () => {
  for (const text of ['busybox', 'a.b:1/c:d', 'Reg/app', `x/y@${DIGEST}`]) {
    const { text: full } = parseReference(text);
    assert.equal(parseReference(full).text, full);
  }
});
