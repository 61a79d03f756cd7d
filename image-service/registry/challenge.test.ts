import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseChallenges } from './challenge.ts';

const plain = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

test('challenges as registries send them', () => {
  assert.deepEqual(
    plain(
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"',
    ),
    [
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:a/b:pull',
        },
      ],
    ],
  );
  assert.deepEqual(plain('Basic realm="a, \\"b\\" = c"'), [['basic', { realm: 'a, "b" = c' }]]);
  assert.deepEqual(plain('Basic realm=x, bEARER Realm = "y" , service=z'), [
    ['basic', { realm: 'x' }],
    ['bearer', { realm: 'y', service: 'z' }],
  ]);
  assert.deepEqual(plain('Negotiate, Basic'), [
    ['negotiate', {}],
    ['basic', {}],
  ]);
});

test('challenges as registries should not send them', () => {
  assert.deepEqual(plain('Bearer realm=https://auth.example:5001/token?a=b,service=x'), [
    ['bearer', { realm: 'https://auth.example:5001/token?a=b', service: 'x' }],
  ]);
  assert.deepEqual(plain('Bearer realm="https://a/token";service="x" scope="s"'), [
    ['bearer', { realm: 'https://a/token', service: 'x', scope: 's' }],
  ]);
  assert.deepEqual(plain('Negotiate YII==, ,Bearer realm="x"').at(-1), ['bearer', { realm: 'x' }]);
});

test('malformed challenges are dropped without an error', () => {
  assert.deepEqual(plain('Bearer realm="unclosed'), [['bearer', {}]]);
  assert.deepEqual(plain('=x'), []);
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseChallenges(text))));
});
