import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parseBaseSpec, readBaseSpecs } from './base-spec.ts';

const parse = (spec: unknown) => parseBaseSpec('/base.json', JSON.stringify(spec));

test('the fields that are taken, of a spec with more', () => {
  const text = `{"ociVersion": "1.1.0", "root": {"path": "/x"}, "process": {"args": ["sh"], "cwd": "/", "env": ["A=b=c"],
    "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}],
    "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": ["CAP_BPF"]}},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
      {"destination": "/run", "type": "tmpfs"}, {"destination": "/cache/", "type": "tmpfs", "options": ["ro"]}],
    "hooks": {"createRuntime": [{"path": "/bin/h", "args": ["h"], "timeout": 3}], "poststop": null},
    "linux": {"sysctl": {"a": "b"}, "namespaces": [], "maskedPaths": ["/proc/kcore"]}}`;
  assert.deepEqual(parseBaseSpec('/base.json', text), {
    env: { A: 'b=c' },
    rlimits: [{ type: 'RLIMIT_CORE', soft: 0n, hard: 2n ** 64n - 1n }],
    capabilities: ['CAP_CHOWN'],
    mounts: [{ destination: '/cache', type: 'tmpfs', options: ['ro'] }],
    hooks: { createRuntime: [{ path: '/bin/h', args: ['h'], timeout: 3 }] },
  });
  assert.deepEqual(parse({}), { env: {}, rlimits: [], capabilities: undefined, mounts: [], hooks: {} });
});

for (const [spec, message] of [
  [[], /\/base\.json is not an object/],
  [{ process: { env: ['=x'] } }, /process: env has "=x"/],
  [{ process: { rlimits: [{ type: 'NOFILE', soft: 1, hard: 1 }] } }, /rlimits\[0\]: type is "NOFILE"/],
  [{ process: { rlimits: [{ type: 'RLIMIT_CORE', soft: 2, hard: 1 }] } }, /soft is above hard/],
  [{ process: { rlimits: [{ type: 'RLIMIT_CORE', soft: -1, hard: 1 }] } }, /soft is not a whole number/],
  [{ process: { capabilities: { bounding: ['CAP_ALL'] } } }, /bounding has "CAP_ALL"/],
  [{ mounts: [{}] }, /mounts\[0\]: destination is missing/],
  [{ mounts: [{ destination: '/a/..' }] }, /mounts\[0\]: destination/],
  [{ mounts: [{ destination: '/' }] }, /is the root/],
  [{ hooks: { poststop: [{ path: 'x' }] } }, /poststop\[0\]: path is "x"/],
] as const) {
  test(`refused: ${JSON.stringify(spec)}`, () => {
    assert.throws(
      () => parse(spec),
      (error) => hasCode(error, 'FailedPrecondition') && message.test(error.message),
    );
  });
}

test('an error begins with the option that names the file', async () => {
  const handler = { path: 'runc', options: [], allowedAnnotations: [] };
  await assert.rejects(
    readBaseSpecs({ baseRuntimeSpec: '' }, { a: handler, b: { ...handler, baseRuntimeSpec: '/none.json' } }),
    (error) =>
      hasCode(error, 'InvalidArgument') &&
      /^runtime\.handlers\.b\.base_runtime_spec: .*none\.json/.test(error.message),
  );
});
