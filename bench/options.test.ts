import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { parseOptions } from './options.ts';

test('without options: both runtimes, the peer, at least thirty samples of each timed operation', () => {
  const options = parseOptions([]);
  assert.deepEqual(
    [options.peer, options.network, options.runtimes],
    ['containerd', 'exec', ['runc', 'crun']],
  );
  assert.ok(options.rounds * options.podsPerRound >= 30);
  assert.ok(options.rounds * options.restartsPerRound >= 30);
  assert.ok(options.pulls >= 30);
});

test('--only crisp and --profile leave the peer out', () => {
  assert.equal(parseOptions(['--only', 'crisp']).peer, 'none');
  assert.equal(parseOptions(['--profile']).peer, 'none');
});

test('pulls may be 0, rounds may not', () => {
  assert.equal(parseOptions(['--pulls', '0']).pulls, 0);
  assert.throws(() => parseOptions(['--rounds', '0']), /from 1 to 9999/);
});

test('all parts are measured unless some are chosen', () => {
  assert.deepEqual(parseOptions([]).parts, ['calls', 'full-node', 'idle', 'pulls', 'many-files', 'feel']);
  assert.deepEqual(parseOptions(['--part', 'many-files', '--part', 'feel']).parts, ['many-files', 'feel']);
});

test('crisp chooses the form of its layers unless it is given', () => {
  assert.equal(parseOptions([]).layers, 'auto');
  assert.equal(parseOptions(['--layers', 'directory']).layers, 'directory');
});

test('the peer has overlayfs unless its snapshotter is given', () => {
  assert.equal(parseOptions([]).snapshotter, 'overlayfs');
  assert.equal(parseOptions(['--snapshotter', 'erofs']).snapshotter, 'erofs');
});

test('invalid options are refused with the usage', () => {
  const invalid = [
    ['--peer', 'cri-o'],
    ['--only', 'containerd'],
    ['--only', 'crisp', '--peer', 'containerd'],
    ['--runtime', 'youki'],
    ['--network', 'auto'],
    ['--rounds', '0'],
    ['--rounds', 'many'],
    ['--part', 'pods'],
    ['--layers', 'squashfs'],
    ['--snapshotter', 'btrfs'],
    ['--only', 'crisp', '--snapshotter', 'erofs'],
    ['--slow'],
  ];
  for (const args of invalid)
    assert.throws(
      () => parseOptions(args),
      (error) =>
        error instanceof CrispError && error.code === 'InvalidArgument' && error.hint.startsWith('usage:'),
      args.join(' '),
    );
});
