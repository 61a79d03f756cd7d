import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { RegistryFailure } from './failure.ts';
import { mayLogin, tokenServers } from './realm.ts';

const servers = (realm: string, origin: string) =>
  tokenServers(realm, origin, 'login').map(({ url, login }) => `${url.href}${login ? ' with login' : ''}`);

test('a login goes to https alone, unless the registry itself is by http', () => {
  assert.deepEqual(servers('https://a/token?x=1', 'https://h'), ['https://a/token?x=1 with login']);
  assert.deepEqual(servers('http://h/token', 'https://h'), ['https://h/token with login', 'http://h/token']);
  assert.deepEqual(servers('http://h:8080/t', 'https://h:5000'), [
    'https://h:8080/t with login',
    'http://h:8080/t',
  ]);
  assert.deepEqual(servers('http://other/t', 'https://h'), ['http://other/t']);
  assert.deepEqual(servers('http://other/t', 'http://h'), ['http://other/t with login']);
  assert.deepEqual(servers('/token', 'https://h:5000'), ['https://h:5000/token with login']);
  for (const wrong of ['', 'https://', 'ftp://h/', 'https://u:p@h/', 'http://[/'])
    assert.throws(() => servers(wrong, 'https://h'), RegistryFailure, wrong);
});

test('redirects keep the login within the origin and on https of the registry', () => {
  const [start] = tokenServers('https://a/token', 'https://h', '');
  const [, plain] = tokenServers('http://h:81/token', 'https://h:5000', '');
  assert.ok(start && plain);
  const may = (url: string, from = start) => mayLogin(new URL(url), from, 'https://h:5000');
  assert.deepEqual(
    [may('https://a/other'), may('https://a:444/'), may('http://a/'), may('https://h/t'), may('http://h/t')],
    [true, false, false, true, false],
  );
  assert.deepEqual([may('http://h:81/token', plain), may('https://h:5000/token', plain)], [false, true]);
});

test('any realm is http or https, and never brings a login from https to http', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.webUrl({ validSchemes: ['http', 'https', 'ftp'] })), (realm) => {
      try {
        return tokenServers(realm, 'https://h', '').every(
          ({ url, login }) => !login || url.protocol === 'https:',
        );
      } catch (error) {
        return error instanceof RegistryFailure;
      }
    }),
  );
});
