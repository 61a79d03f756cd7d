import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { hasCode } from '#core/errors.ts';
import { credentialOf, hostOfAddress, type RegistryAuth } from './credentials.ts';

const encoded = (text: string) => Buffer.from(text).toString('base64');

test('the forms of AuthConfig', () => {
  const basic = { kind: 'basic', username: 'u', password: 'p:w' };
  assert.deepEqual(credentialOf({ username: 'u', password: 'p:w' }), basic);
  assert.deepEqual(credentialOf({ auth: encoded('u:p:w') }), basic);
  assert.deepEqual(credentialOf({ auth: encoded('u:p:w\0\0\0') }), basic);
  assert.deepEqual(credentialOf({ username: 'u', identityToken: 't' }), {
    kind: 'refresh',
    token: 't',
    username: 'u',
  });
  assert.deepEqual(credentialOf({ username: 'u', registryToken: 't' }), { kind: 'bearer', token: 't' });
  assert.equal(credentialOf({}), undefined);
  assert.equal(credentialOf({ username: '', auth: '', identityToken: '', registryToken: '' }), undefined);
});

test('malformed ones are refused without disclosing the secret', () => {
  const wrong: RegistryAuth[] = [
    { auth: 'hunter2!' },
    { auth: encoded('hunter2') },
    { registryToken: 'hunter2\r\nx: y' },
  ];
  for (const auth of wrong) {
    assert.throws(
      () => credentialOf(auth),
      (error) => hasCode(error, 'InvalidArgument') && !error.message.includes('hunter2'),
    );
  }
});

test('auth in the forms that tools write', () => {
  const long = 'u:'.padEnd(120, 'p');
  const wrapped = encoded(long).replace(/(.{76})/g, '$1\n');
  const pair = { kind: 'basic', username: 'u', password: long.slice(2) };
  assert.match(wrapped, /\n/);
  assert.deepEqual(credentialOf({ auth: wrapped }), pair);
  assert.deepEqual(credentialOf({ auth: `${wrapped.replaceAll('\n', '\r\n')}\r\n` }), pair);
  assert.deepEqual(credentialOf({ auth: `${encoded(long)}\0\n` }), pair);
  assert.deepEqual(credentialOf({ auth: encoded(`${long}\n`) }), pair);
  const odd = 'u:??>>~~';
  const urlSafe = Buffer.from(odd).toString('base64url');
  assert.match(urlSafe, /[-_]/);
  assert.deepEqual(credentialOf({ auth: urlSafe }), { kind: 'basic', username: 'u', password: '??>>~~' });
});

test('any AuthConfig is read or refused by name, without its secret', () => {
  const text = fc.oneof(fc.string(), fc.base64String(), fc.constant(''));
  const record = fc.record(
    { username: text, password: text, auth: text, identityToken: text, registryToken: text },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(record, (auth) => {
      try {
        const credential = credentialOf(auth as RegistryAuth);
        return credential === undefined || typeof credential.kind === 'string';
      } catch (error) {
        const secrets = [auth.auth, auth.registryToken].filter((one) => (one ?? '').length > 12);
        return (
          hasCode(error, 'InvalidArgument') && secrets.every((one) => !error.message.includes(one ?? ''))
        );
      }
    }),
  );
});

test('hosts of server addresses', () => {
  for (const [address, host] of [
    ['HTTPS://Reg.Example:1/x', 'reg.example:1'],
    ['reg.example:443', 'reg.example'],
    ['https://reg.example:443/v2/', 'reg.example'],
    ['http://reg.example:80', 'reg.example'],
    ['reg.example:80', 'reg.example:80'],
    ['https://index.docker.io/v1/', 'docker.io'],
    ['registry-1.docker.io', 'docker.io'],
    ['https://user:secret@reg.example/', 'reg.example'],
    ['[::1]:5000', '[::1]:5000'],
    [' reg.example\n', 'reg.example'],
  ] as const)
    assert.equal(hostOfAddress(address), host);
});
