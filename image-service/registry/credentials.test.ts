import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { credentialOf, credentialSource, hostOfAddress, type RegistryAuth } from './credentials.ts';

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

test('a host gets only its own credentials', () => {
  const file = new Map<string, RegistryAuth>([['mirror:5000', { username: 'm', password: 'm' }]]);
  const caller = { username: 'u', password: 'p' };
  const free = credentialSource('reg:5000', caller, file);
  assert.equal(free('reg:5000')?.kind, 'basic');
  assert.deepEqual(free('mirror:5000'), { kind: 'basic', username: 'm', password: 'm' });
  assert.equal(free('reg:5001'), undefined);
  const bound = credentialSource('reg:5000', { ...caller, serverAddress: 'https://other/v2/' }, file);
  assert.equal(bound('reg:5000'), undefined);
  assert.equal(bound('other')?.kind, 'basic');
  const hub = credentialSource(
    'docker.io',
    { ...caller, serverAddress: 'https://index.docker.io/v1/' },
    file,
  );
  assert.equal(hub('docker.io')?.kind, 'basic');
  assert.equal(hostOfAddress('HTTPS://Reg.Example:1/x'), 'reg.example:1');
});
