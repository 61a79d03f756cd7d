import assert from 'node:assert/strict';
import test from 'node:test';
import { inPreferredOrder } from './ip-preference.ts';

test('the first of the family is the main address, the others keep their order', () => {
  const ips = ['fd00::1', '10.1.0.1', 'fd00::2', '10.1.0.2'];
  assert.deepEqual(inPreferredOrder(ips, 'cni'), ips);
  assert.deepEqual(inPreferredOrder(ips, 'ipv6'), ips);
  assert.deepEqual(inPreferredOrder(ips, 'ipv4'), ['10.1.0.1', 'fd00::1', 'fd00::2', '10.1.0.2']);
  assert.deepEqual(inPreferredOrder(['10.1.0.1'], 'ipv6'), ['10.1.0.1'], 'better than none');
  assert.deepEqual(inPreferredOrder([], 'ipv4'), []);
});
