import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { Operation, silentLog } from '#core/operation.ts';
import type { OciSpec } from '../spec/oci.ts';
import type { Rlimit } from '../spec/process.ts';
import { type AnnotationHost, applyAnnotations } from './index.ts';
import { parseRlimits, rlimitKeys } from './rlimits.ts';

const [key = ''] = rlimitKeys('web');
const parse = (value: string) => parseRlimits({ key, value, allowed: true });

test('a list as the plugin of containerd takes it', () => {
  const limits = parse(`
- type: RLIMIT_NOFILE
  soft: 1024
  hard: 4096
- {type: rlimit_memlock, soft: 18446744073709551615, hard: 18446744073709551615}
- {type: nproc, soft: 0, hard: 1}
`);
  assert.deepEqual(limits, [
    { type: 'RLIMIT_NOFILE', soft: 1024n, hard: 4096n },
    { type: 'RLIMIT_MEMLOCK', soft: 2n ** 64n - 1n, hard: 2n ** 64n - 1n },
    { type: 'RLIMIT_NPROC', soft: 0n, hard: 1n },
  ]);
  assert.deepEqual(parse('[]'), []);
});

test('what is malformed is refused by the name of the annotation and the entry', () => {
  for (const [value, message] of [
    ['', /not a list/],
    ['{', /not YAML/],
    ['nofile=1:2', /not a list/],
    ['- 7', /entry 0 is not an object/],
    ['- {type: RLIMIT_NOFILE, soft: 1}', /hard undefined/],
    ['- {type: RLIMIT_NOFILE, soft: 2, hard: 1}', /soft 2 is above hard 1/],
    ['- {type: NOFILE, soft: -1, hard: 1}', /soft -1 is not a whole number/],
    ['- {type: NOFILE, soft: 1.5, hard: 2}', /soft 1.5/],
    ['- {type: NOFILE, soft: "1", hard: 2}', /soft 1 is not/],
    ['- {type: NOFILE, soft: 1, hard: 18446744073709551616}', /hard 18446744073709551616/],
    ['- {type: RLIMIT_X, soft: 1, hard: 1}', /type RLIMIT_X is no limit/],
    ['- {path: RLIMIT_NOFILE, soft: 1, hard: 1}', /"path", which is unknown/],
    [
      '- {type: nofile, soft: 1, hard: 1}\n- {type: NOFILE, soft: 1, hard: 1}',
      /RLIMIT_NOFILE is there twice/,
    ],
    ['- &a {type: nofile, soft: 1, hard: 1}\n- *a', /not YAML/],
    ['- {type: {toString: 1}, soft: 1, hard: 1}', /type \{ toString: 1n \} is no limit/],
    [`- ${'x'.repeat(5000)}`, /longer than/],
  ] as const)
    assert.throws(
      () => parse(value),
      (error) =>
        hasCode(error, 'InvalidArgument') && error.message.includes(key) && message.test(error.message),
      value,
    );
});

test('any text is limits or an error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        for (const { soft, hard } of parse(text)) assert.ok(soft <= hard);
      } catch (error) {
        assert.ok(error instanceof CrispError, String(error));
      }
    }),
  );
});

test('what is set is what the daemon may set', async () => {
  const spec = { process: { rlimits: [] as Rlimit[] }, linux: { resources: {} } };
  const annotations = { [key]: '- {type: nofile, soft: 512, hard: 4096}\n- {type: core, soft: 0, hard: 1}' };
  const clampRlimits = (wanted: readonly Rlimit[]) =>
    wanted.map(({ type, soft, hard }) => ({ type, soft, hard: hard > 1024n ? 1024n : hard }));
  const container = {
    config: { metadata: { name: 'web', attempt: 0 }, annotations: {} },
    pod: { annotations },
    allowed: ['ulimits.'],
  };
  const host = { blockio: new Map(), rdtClasses: [], runtime: {}, resources: {}, clampRlimits };
  await applyAnnotations(
    spec as unknown as OciSpec,
    container,
    host as unknown as AnnotationHost,
    new Operation('test', { log: silentLog }),
  );
  assert.deepEqual(spec.process.rlimits, [
    { type: 'RLIMIT_NOFILE', soft: 512n, hard: 1024n },
    { type: 'RLIMIT_CORE', soft: 0n, hard: 1n },
  ]);
});
