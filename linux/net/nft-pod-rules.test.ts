import assert from 'node:assert/strict';
import test from 'node:test';
import { commentOf, hostPortTable, MASQUERADE_TABLE, ownerOf, ruleOwnerOf } from './nft-pod-rules.ts';

test('the owner of a rule, unless its comment was cut', () => {
  const id = 'ab'.repeat(32);
  const removal = {} as never;
  const masquerade = (network: string) => ({
    table: MASQUERADE_TABLE,
    comment: commentOf({ network, id, interfaceName: 'eth0' }),
    owner: '',
    removal,
  });
  assert.deepEqual(ruleOwnerOf(masquerade('bridge')), { network: 'bridge', id });
  assert.equal(ruleOwnerOf(masquerade('a-longer-name')), undefined);
  const port = { table: hostPortTable(4), comment: id, removal };
  const owner = ownerOf({ family: 4, network: 'a-longer-name' });
  assert.deepEqual(ruleOwnerOf({ ...port, owner }), { network: 'a-longer-name', id });
  assert.equal(
    ruleOwnerOf({ ...port, owner: '' }),
    undefined,
    'those of the plugins do not tell the network',
  );
});
