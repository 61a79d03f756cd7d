import assert from 'node:assert/strict';
import test from 'node:test';
import {
  commentOf,
  hostPortTable,
  MASQUERADE_TABLE,
  ownerOf,
  ownerOfMasquerade,
  ruleOwnerOf,
} from './nft-pod-rules.ts';

test('the owner of a rule, unless its comment was cut', () => {
  const id = 'ab'.repeat(32);
  const removal = {} as never;
  const masquerade = (network: string) => ({
    table: MASQUERADE_TABLE,
    comment: commentOf({ network, id, interfaceName: 'eth0' }),
    owner: '',
    removal,
  });
  assert.deepEqual(ruleOwnerOf(masquerade('bridge')), { network: 'bridge', id, interfaceName: 'eth0' });
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

test('crisp notes the id beside a comment that was cut, as far as the kernel has room', () => {
  const id = 'ab'.repeat(32);
  const pod = { id, interfaceName: 'eth0', family: 6, address: 'fd00::2', prefixLength: 64 } as const;
  for (const [length, isNoted] of [
    [9, true],
    [49, true],
    [50, false],
    [100, false],
  ] as const) {
    const network = 'n'.repeat(length);
    const named = { ...pod, network, masquerade: true, ports: [], snat: false };
    const [comment, owner] = [commentOf(named), ownerOfMasquerade(named)];
    assert.ok(comment.length + owner.length + 6 <= 256, 'NFT_USERDATA_MAXLEN');
    const rule = { table: MASQUERADE_TABLE, comment, owner, removal: {} as never };
    // A comment has the interface as far as the name leaves room for it, of which another pod's rules are not.
    const found = { network, id, interfaceName: 'eth0' };
    assert.deepEqual(ruleOwnerOf(rule), isNoted ? found : undefined, `${length}`);
  }
});
