import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { parseOptions } from './options.ts';

test('without options: both runtimes, the peer, at least thirty samples of each timed operation', () => {
  const options = parseOptions([]);
  assert.deepEqual(
    [options.peer, options.network, options.form, options.runtimes],
    ['containerd', 'exec', 'usual', ['runc', 'crun']],
  );
  assert.ok(options.rounds * options.podsPerRound >= 30);
  assert.ok(options.rounds * options.restartsPerRound >= 30);
  assert.ok(options.pulls >= 30);
});

test('--only crisp and --profile leave the peer out', () => {
  assert.equal(parseOptions(['--only', 'crisp']).peer, 'none');
  assert.equal(parseOptions(['--profile']).peer, 'none');
});

test('the peer is CRI-O where it is chosen, with the path of its program where that is given', () => {
  assert.deepEqual(
    [parseOptions(['--peer', 'crio'])].map(({ peer, crio }) => [peer, crio]),
    [['crio', undefined]],
  );
  assert.equal(parseOptions(['--peer', 'crio', '--crio', '/opt/crio']).crio, '/opt/crio');
});

test('a quick run has the calls with crun, unless others are chosen; a nightly one has everything', () => {
  const of = (...args: string[]) => {
    const { form, parts, runtimes } = parseOptions(args);
    return { form, parts, runtimes };
  };
  const { parts, runtimes } = parseOptions([]);
  assert.deepEqual(of('--quick'), { form: 'quick', parts: ['calls'], runtimes: ['crun'] });
  assert.deepEqual(of('--quick', '--part', 'pulls', '--runtime', 'runc'), {
    form: 'quick',
    parts: ['pulls'],
    runtimes: ['runc'],
  });
  assert.deepEqual(of('--nightly'), { form: 'nightly', parts, runtimes });
  assert.deepEqual(of('--nightly', '--part', 'idle').parts, ['idle']);
});

test('pulls may be 0, rounds may not', () => {
  assert.equal(parseOptions(['--pulls', '0']).pulls, 0);
  assert.throws(() => parseOptions(['--rounds', '0']), /from 1 to 9999/);
});

test('all parts are measured unless some are chosen', () => {
  const all = ['calls', 'full-node', 'idle', 'pulls', 'many-files', 'feel', 'nri'];
  assert.deepEqual(parseOptions([]).parts, all);
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
    ['--quick', '--nightly'],
    ['--nightly', '--rounds', '3'],
    ['--nightly', '--pulls', '3'],
    ['--nightly', '--profile'],
    ['--crio', '/opt/crio'],
    ['--peer', 'none', '--crio', '/opt/crio'],
    ['--peer', 'crio', '--crio', ''],
    ['--peer', 'crio', '--snapshotter', 'overlayfs'],
    ['--profile', '--peer', 'crio'],
  ];
  for (const args of invalid)
    assert.throws(
      () => parseOptions(args),
      (error) =>
        error instanceof CrispError && error.code === 'InvalidArgument' && error.hint.startsWith('usage:'),
      args.join(' '),
    );
});
