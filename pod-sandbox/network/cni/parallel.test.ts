import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parallelGroups, settleAll } from './parallel.ts';

const typesOf = (types: string, capabilities = {}): string => {
  const plugins = types.split(' ').map((type) => ({ type }));
  return parallelGroups(plugins, { capabilities })
    .map((group) => group.map(({ type }) => type).join('+'))
    .join(' ');
};

test('loopback and an idle portmap run with each other, every other plugin by itself and in its place', () => {
  assert.equal(typesOf('bridge portmap loopback'), 'bridge portmap+loopback');
  assert.equal(typesOf('loopback bridge firewall tuning portmap'), 'loopback bridge firewall tuning portmap');
  assert.equal(typesOf('portmap loopback bridge loopback'), 'portmap+loopback bridge loopback');
  assert.equal(typesOf('bridge bridge'), 'bridge bridge');
});

test('portmap that publishes ports keeps its turn', () => {
  const published = { portMappings: [{ hostPort: 1, containerPort: 1, protocol: 'tcp' }] };
  assert.equal(typesOf('bridge portmap loopback', published), 'bridge portmap loopback');
});

test('a failure waits for what runs beside it, and the first of the list is thrown', async () => {
  let ended = false;
  const slow = sleep(20).then(() => {
    ended = true;
    throw new Error('slow');
  });
  const fast = Promise.reject(new Error('fast'));
  await assert.rejects(settleAll([slow, fast]), /slow/);
  assert.equal(ended, true);
  assert.deepEqual(await settleAll([Promise.resolve(1), Promise.resolve(2)]), [1, 2]);
});
