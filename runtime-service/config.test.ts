import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { configOf, mountOf, resourcesOf, securityOf } from '#test/fixtures/container-config.ts';
import { validateConfig } from './config.ts';

type Changes = Parameters<typeof configOf>[0];

const accepted: Readonly<Record<string, Changes>> = {
  plain: {},
  'the longest name': { metadata: { name: 'n'.repeat(253), attempt: 4294967295 } },
  'the highest score': { resources: resourcesOf({ oomScoreAdj: 1000n }) },
  'the lowest score': { resources: resourcesOf({ oomScoreAdj: -1000n }) },
  'no log': { logPath: '' },
  'dots in a log’s name': { logPath: 'a/..b/c..log' },
  'a group with a user': { security: securityOf({ runAsUser: 0n, runAsGroup: 0n }) },
  'a group with a user by name': { security: securityOf({ runAsUsername: 'app', runAsGroup: 5n }) },
  'the largest id': { security: securityOf({ runAsUser: 4294967294n, supplementalGroups: [4294967294n] }) },
  'an image volume': { mounts: [mountOf({ image: 'models:1', hostPath: '', readonly: true })] },
  'a mount below the root by a relative name': { mounts: [mountOf({ containerPath: 'data' })] },
  'recursive read-only': { mounts: [mountOf({ readonly: true, recursiveReadOnly: true })] },
  'options of mounts': {
    mounts: [
      mountOf({ options: ['noexec', 'nodev', 'nosuid', 'noexec'] }),
      mountOf({ image: 'models:1', hostPath: '', readonly: true, options: ['noexec'] }),
    ],
  },
  'device permissions': { devices: [{ containerPath: '', hostPath: '/dev/null', permissions: 'rwm' }] },
  'an empty value': { envs: [{ key: 'A', value: '' }] },
  'a value with = and newline': { envs: [{ key: 'A.b-c', value: 'x=y\nz' }] },
  'a target': { security: securityOf({ pid: 'target', targetId: 'abc' }) },
};

const refused: Readonly<Record<string, readonly [Changes, RegExp]>> = {
  'no name': [{ metadata: { name: '', attempt: 0 } }, /metadata\.name is empty/],
  'a name too long': [{ metadata: { name: 'n'.repeat(254), attempt: 0 } }, /longer than 253/],
  'an image volume that is writable': [
    { mounts: [mountOf({ image: 'models:1', hostPath: '' })] },
    /not readonly/,
  ],
  'a NUL in the name': [{ metadata: { name: 'a\0', attempt: 0 } }, /NUL/],
  'a score out of range': [{ resources: resourcesOf({ oomScoreAdj: 1001n }) }, /oom_score_adj 1001/],
  'a score out of range, below': [{ resources: resourcesOf({ oomScoreAdj: -1001n }) }, /oom_score_adj -1001/],
  'no image': [{ image: '' }, /image\.image is empty/],
  'a log outside': [{ logPath: '../other/0.log' }, /log_path/],
  'a log outside, later': [{ logPath: 'a/../../0.log' }, /log_path/],
  'a mount over the root': [{ mounts: [mountOf({ containerPath: '//x/../.' })] }, /is the container's root/],
  'a relative directory': [{ workingDir: 'srv' }, /working_dir srv/],
  'an env without name': [{ envs: [{ key: '', value: 'x' }] }, /envs/],
  'an env with =': [{ envs: [{ key: 'A=B', value: 'x' }] }, /envs.*A=B/],
  'an env with NUL': [{ envs: [{ key: 'A', value: 'secret\0' }] }, /envs.*"A"/],
  'a group alone': [{ security: securityOf({ runAsGroup: 5n }) }, /run_as_group is set without/],
  'two users': [{ security: securityOf({ runAsUser: 1n, runAsUsername: 'app' }) }, /both set/],
  'a negative user': [{ security: securityOf({ runAsUser: -1n }) }, /id -1 is out of range/],
  'user 2^32-1, which means no change': [{ security: securityOf({ runAsUser: 4294967295n }) }, /4294967295/],
  'a group out of range': [
    { security: securityOf({ runAsUser: 1n, runAsGroup: 2n ** 40n }) },
    /out of range/,
  ],
  'an additional group out of range': [{ security: securityOf({ supplementalGroups: [1n, -5n] }) }, /id -5/],
  'a target without id': [{ security: securityOf({ pid: 'target' }) }, /target_id/],
  'no container path': [{ mounts: [mountOf({ containerPath: '' })] }, /container_path is empty/],
  'a relative host path': [{ mounts: [mountOf({ hostPath: 'srv' })] }, /host_path "srv"/],
  'no host path': [{ mounts: [mountOf({ hostPath: '' })] }, /host_path ""/],
  'host path and image': [
    { mounts: [mountOf({ image: 'models:1' })] },
    /\/data has a host_path and an image/,
  ],
  'rro without ro': [{ mounts: [mountOf({ recursiveReadOnly: true })] }, /not readonly/],
  'rro of an image volume without ro': [
    { mounts: [mountOf({ recursiveReadOnly: true, image: 'models:1', hostPath: '' })] },
    /not readonly/,
  ],
  'rro with propagation': [
    { mounts: [mountOf({ readonly: true, recursiveReadOnly: true, propagation: 'host-to-container' })] },
    /with propagation/,
  ],
  'an option that is not of the API': [
    { mounts: [mountOf({ options: ['noexec', 'exec'] })] },
    /mount_options of \/data has "exec"/,
  ],
  'an option of an image volume': [
    { mounts: [mountOf({ image: 'models:1', hostPath: '', readonly: true, options: ['rw'] })] },
    /mount_options of \/data has "rw"/,
  ],
  'an option with another': [{ mounts: [mountOf({ options: ['noexec,dev'] })] }, /has "noexec,dev"/],
  'odd permissions': [
    { devices: [{ containerPath: '', hostPath: '/dev/null', permissions: 'rx' }] },
    /permissions rx/,
  ],
  'a NUL in the command': [{ command: ['a\0b'] }, /NUL/],
  'a NUL in an argument': [{ args: ['\0'] }, /NUL/],
  'a NUL in a path': [{ mounts: [mountOf({ hostPath: '/a\0' })] }, /NUL/],
  'a NUL in the log path': [{ logPath: 'a\0' }, /NUL/],
  'a NUL in a device’s path': [
    { devices: [{ containerPath: '/dev/x\0', hostPath: '/dev/null', permissions: '' }] },
    /NUL/,
  ],
  'a NUL in a masked path': [{ security: securityOf({ maskedPaths: ['/proc/\0'] }) }, /NUL/],
  'a NUL in a read-only path': [{ security: securityOf({ readonlyPaths: ['/proc/\0'] }) }, /NUL/],
};

test('what a container can be made of passes', async (t) => {
  for (const [name, changes] of Object.entries(accepted)) {
    await t.test(name, () => validateConfig(configOf(changes)));
  }
});

test('what none can be made of is refused, with its field and a remedy', async (t) => {
  for (const [name, [changes, text]] of Object.entries(refused)) {
    await t.test(name, () => {
      assert.throws(
        () => validateConfig(configOf(changes)),
        (error) => hasCode(error, 'InvalidArgument') && text.test(error.message) && error.hint !== '',
      );
    });
  }
});

test('a refused variable does not show its value', () => {
  assert.throws(
    () => validateConfig(configOf({ envs: [{ key: 'TOKEN', value: 'hunter2\0' }] })),
    (error) => error instanceof Error && !error.message.includes('hunter2'),
  );
});
