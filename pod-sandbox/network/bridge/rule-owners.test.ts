import assert from 'node:assert/strict';
import test from 'node:test';
import { ruleOwners } from './rule-owners.ts';

const [ONE, TWO] = ['1'.repeat(64), '2'.repeat(64)];

test('the pods of a network in a listing of rules', () => {
  const listing = [
    '-P POSTROUTING ACCEPT',
    `-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \\"net\\" id: \\"${ONE}\\"" -j CNI-1`,
    `-A CNI-1 -d 10.1.0.0/24 -m comment --comment "name: \\"net\\" id: \\"${ONE}\\"" -j ACCEPT`,
    `-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"net\\" id: \\"${TWO}\\"" -j CNI-DN-2`,
    `-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"net-2\\" id: \\"${'3'.repeat(64)}\\"" -j CNI-DN-3`,
    '-A POSTROUTING -m comment --comment "name: \\"net\\" id: \\"web\\"" -j CNI-4',
  ].join('\n');
  assert.deepEqual([...ruleOwners(listing, 'net')], [ONE, TWO]);
  assert.deepEqual([...ruleOwners('', 'net')], []);
});
