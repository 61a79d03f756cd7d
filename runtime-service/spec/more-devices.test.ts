import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { moreDevices, parseDevice } from './more-devices.ts';

test('a device is written as path, path in the container, permissions', () => {
  for (const [text, hostPath, containerPath, permissions] of [
    ['/dev/fuse', '/dev/fuse', '/dev/fuse', 'rwm'],
    ['/dev/a:/dev/b', '/dev/a', '/dev/b', 'rwm'],
    ['/dev/a:rw', '/dev/a', '/dev/a', 'rw'],
    ['/dev/a:/dev/b:r', '/dev/a', '/dev/b', 'r'],
  ] as const) {
    assert.deepEqual(parseDevice(text), { hostPath, containerPath, permissions }, text);
  }
  for (const text of [
    '',
    'fuse',
    '/dev/a:b',
    '/dev/a:/dev/b:x',
    '/dev/a:/dev/b:r:w',
    '/etc/../dev/a',
    '/etc/passwd',
  ])
    assert.equal(parseDevice(text), undefined, text);
});

test('of an annotation what is allowed, of the configuration all, of the request what comes first', () => {
  const options = { allowedDevices: ['/dev/fuse'], additionalDevices: ['/dev/zero:/dev/z:r', '/dev/null'] };
  const paths = (annotations: Record<string, string>, given = options) =>
    moreDevices(
      [{ hostPath: '/dev/full', containerPath: '/dev/null', permissions: 'r' }],
      annotations,
      given,
    ).map(({ hostPath, containerPath }) => `${hostPath}:${containerPath}`);
  const more = ['/dev/full:/dev/null', '/dev/zero:/dev/z'];
  assert.deepEqual(paths({}), more);
  for (const key of ['io.kubernetes.cri-o.Devices', 'devices.crio.io'])
    assert.deepEqual(paths({ [key]: '/dev/fuse:/dev/f:rw, ' }), [more[0], '/dev/fuse:/dev/f', more[1]]);
  const refuses = (text: string, words: RegExp, code: 'InvalidArgument' | 'FailedPrecondition') =>
    assert.throws(
      () => paths({ 'devices.crio.io': text }),
      (error) => hasCode(error, code) && words.test(error.message),
    );
  refuses('/dev/sda', /\/dev\/sda is not in container\.allowed_devices/, 'FailedPrecondition');
  refuses('/dev/../dev/fuse', /is no device/, 'InvalidArgument');
  assert.deepEqual(
    paths({ 'devices.crio.io': '/dev/sda' }, { ...options, allowedDevices: [] }),
    more,
    'not read',
  );
});
