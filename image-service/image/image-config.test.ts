import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError } from '#core/errors.ts';
import { parseConfig } from './image-config.ts';

const parse = (value: unknown) => parseConfig(Buffer.from(JSON.stringify(value)), 'config');
const empty = {
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: '',
  user: '',
  stopSignal: undefined,
  volumes: [],
  labels: {},
};

test('fields that are missing or null, and fields that crisp does not know', () => {
  for (const config of [
    undefined,
    null,
    {},
    {
      Env: null,
      Entrypoint: null,
      Cmd: null,
      WorkingDir: null,
      User: null,
      StopSignal: null,
      Volumes: null,
      Labels: null,
      ExposedPorts: null,
      Healthcheck: null,
    },
    {
      ExposedPorts: { '80/tcp': {} },
      Healthcheck: { Test: ['CMD', 'true'], Interval: 30_000_000_000 },
      OnBuild: [],
      Shell: ['sh'],
      ArgsEscaped: true,
      Memory: 0,
      'x-unknown': { deep: [1] },
    },
  ])
    assert.deepEqual(parse({ config }).config, empty, JSON.stringify(config));
  for (const rootfs of [undefined, null, {}, { diff_ids: null }, { type: 'layers', diff_ids: [] }])
    assert.deepEqual(parse({ rootfs }).diffIds, []);
  const diffId = `sha256:${'a'.repeat(64)}`;
  assert.deepEqual(parse({ rootfs: { diff_ids: [diffId] } }).diffIds, [diffId]);
  assert.deepEqual(parse({}).platform, { os: '', architecture: '' });
});

test('values as images have them', () => {
  const { config } = parse({
    config: {
      User: '1000:2000',
      Volumes: { '/data': {}, '/log': null },
      Env: ['A=1', 'B='],
      Entrypoint: [''],
      Labels: { a: 'b', c: 7 },
      StopSignal: 'SIGQUIT',
    },
  });
  assert.deepEqual(
    [config.user, config.volumes, config.stopSignal],
    ['1000:2000', ['/data', '/log'], 'SIGQUIT'],
  );
  assert.deepEqual([config.env, config.entrypoint, config.labels], [['A=1', 'B='], [''], { a: 'b' }]);
});

test('half of a surrogate pair is U+FFFD, as clients in Go read it: replies hold UTF-8 alone', () => {
  const half = 'a\ud800b';
  const { config } = parse({
    config: { User: half, Env: [half], Labels: { [half]: half }, Volumes: { [half]: {} } },
  });
  const whole = 'a\ufffdb';
  assert.deepEqual(
    [config.user, config.env, config.labels, config.volumes],
    [whole, [whole], { [whole]: whole }, [whole]],
  );
});

test('a volume whose path holds a NUL is refused: no directory has that name', () => {
  assert.throws(() => parse({ config: { Volumes: { '/a\0b': {} } } }), /Volumes/);
});

test('a user of any length that has a name is taken, and none that would fill a list of images', () => {
  const user = `${'u'.repeat(511)}:${'g'.repeat(512)}`;
  assert.equal(parse({ config: { User: user } }).config.user, user);
  for (const long of [`${user}g`, 'ö'.repeat(513), 'x'.repeat(7 << 20)])
    assert.throws(() => parse({ config: { User: long } }), /config: User has \d+ bytes/);
});

test('any JSON is a config or refused with an error', () => {
  const value = fc.oneof(fc.jsonValue(), fc.array(fc.string()), fc.string());
  const keys = ['Env', 'Entrypoint', 'Cmd', 'User', 'WorkingDir', 'StopSignal', 'Volumes', 'Labels'] as const;
  const inner = fc.record(Object.fromEntries(keys.map((key) => [key, value])), { requiredKeys: [] });
  const rootfs = fc.oneof(fc.record({ diff_ids: value }), fc.jsonValue());
  const outer = fc.record(
    { config: fc.oneof(inner, fc.jsonValue()), rootfs, os: value, architecture: value },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(outer, fc.jsonValue()), (json) => {
      try {
        const { config } = parse(json);
        assert.ok([...config.env, ...config.entrypoint, ...config.cmd].every((s) => typeof s === 'string'));
      } catch (error) {
        assert.ok(error instanceof CrispError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
