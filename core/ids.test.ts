import assert from 'node:assert/strict';
import test from 'node:test';
import { isDigest, isFullId, newContainerId, newSandboxId } from './ids.ts';

test('new ids have the full form and differ', () => {
  const ids = [newSandboxId(), newSandboxId(), newContainerId(), newContainerId()];
  assert.ok(ids.every(isFullId));
  assert.equal(new Set(ids).size, ids.length);
});

test('nothing but 64 lowercase hex digits is a full id', () => {
  const good = 'a1'.repeat(32);
  assert.ok(isFullId(good));
  for (const bad of [
    '',
    good.slice(1),
    `${good}0`,
    `${good}\n`,
    `\n${good}`,
    good.toUpperCase(),
    `g${good.slice(1)}`,
    `../${good.slice(3)}`,
  ]) {
    assert.ok(!isFullId(bad), JSON.stringify(bad));
  }
});

test('a digest is sha256 in full and nothing around it', () => {
  const good = `sha256:${'0f'.repeat(32)}`;
  assert.ok(isDigest(good));
  for (const bad of [
    '',
    good.slice(7),
    `${good}\n`,
    good.toUpperCase(),
    `sha512:${'0f'.repeat(64)}`,
    `x@${good}`,
  ]) {
    assert.ok(!isDigest(bad), JSON.stringify(bad));
  }
});
