import assert from 'node:assert/strict';
import test from 'node:test';
import { IdShift } from './id-shift.ts';

test('without a user namespace ids are the same', () => {
  const ids = new IdShift(undefined);
  assert.deepEqual(ids.toHost({ uid: 5, gid: 6 }), { uid: 5, gid: 6 });
  assert.deepEqual(ids.toContainer({ uid: 5, gid: 6 }), { uid: 5, gid: 6 });
});

test('ids are shifted by their mapping, both ways; one without a mapping is the overflow id', () => {
  const map = [{ containerId: 0, hostId: 100_000, length: 65_536 }];
  const ids = new IdShift({ uids: map, gids: [{ containerId: 10, hostId: 7, length: 1 }] });
  assert.deepEqual(ids.toHost({ uid: 0, gid: 10 }), { uid: 100_000, gid: 7 });
  assert.deepEqual(ids.toContainer({ uid: 165_535, gid: 7 }), { uid: 65_535, gid: 10 });
  assert.deepEqual(ids.toContainer({ uid: 0, gid: 8 }), { uid: 65_534, gid: 65_534 });
  assert.deepEqual(
    ids.toHost({ uid: 70_000, gid: 10 }),
    { uid: 165_534, gid: 7 },
    "the container's own overflow id",
  );
  assert.deepEqual(ids.toHost({ uid: 1, gid: 11 }), { uid: 100_001, gid: 65_534 });
});
