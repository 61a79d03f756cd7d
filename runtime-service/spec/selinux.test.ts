import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { podOf, securityOf } from '#test/fixtures/container-config.ts';
import { containerLabels, volumeLabel } from './selinux.ts';

const DEFAULTS = {
  process: 'system_u:system_r:container_t:s0',
  files: 'system_u:object_r:container_file_t:s0',
  readonlyFiles: 'system_u:object_r:container_ro_file_t:s0',
  categoryRange: 1024,
  disableForHostNetwork: false,
};
const OF_POD = {
  process: 'system_u:system_r:container_t:s0:c1,c2',
  files: 'system_u:object_r:container_file_t:s0:c1,c2',
};
const NONE = { user: '', role: '', type: '', level: '' };
const pod = (changes: Parameters<typeof podOf>[0] = {}) => podOf({ selinux: OF_POD, ...changes });
/** A kernel that knows every context, and writes it in capitals to be told from what was asked. */
const kernel = { canonical: (context: string) => context.replace('other_t', 'OTHER_T') };
const labels = (
  security: Parameters<typeof securityOf>[0],
  of = pod(),
  defaults: typeof DEFAULTS | undefined = DEFAULTS,
) => containerLabels(securityOf(security), of, defaults, kernel);

test('a container has the labels of its pod, with the parts that it requests', () => {
  assert.deepEqual(labels({}), OF_POD);
  assert.deepEqual(labels({ selinux: NONE }), OF_POD);
  assert.deepEqual(labels({ selinux: { ...NONE, type: 'other_t' } }), {
    process: 'system_u:system_r:OTHER_T:s0:c1,c2',
    files: OF_POD.files,
  });
  assert.deepEqual(labels({ selinux: { ...NONE, user: 'u', level: 's0:c9' } }), {
    process: 'u:system_r:container_t:s0:c9',
    files: 'u:object_r:container_file_t:s0:c9',
  });
});

test('no label where SELinux is not in use, whatever is requested', () => {
  const selinux = { ...NONE, type: 'not a type' };
  assert.equal(containerLabels(securityOf({ selinux }), pod(), undefined, kernel), undefined);
});

test('privileged containers have no label of the process, those that share the node none', () => {
  assert.deepEqual(labels({ privileged: true }), { process: '', files: OF_POD.files });
  assert.equal(labels({}, pod({ pid: 'node' })), undefined);
  assert.equal(labels({}, pod({ ipc: 'node' })), undefined);
  assert.deepEqual(labels({}, pod({ network: 'node' })), OF_POD);
  assert.deepEqual(labels({}, pod({ network: 'node' }), { ...DEFAULTS, disableForHostNetwork: true }), {
    process: '',
    files: OF_POD.files,
  });
});

test('in a pod that was made without SELinux only what is requested counts', () => {
  assert.equal(labels({}, podOf()), undefined);
  assert.deepEqual(labels({ selinux: { ...NONE, level: 's0:c5,c6' } }, podOf()), {
    process: 'system_u:system_r:container_t:s0:c5,c6',
    files: 'system_u:object_r:container_file_t:s0:c5,c6',
  });
});

test('a label that is not valid, or that the policy does not have, is refused', () => {
  assert.throws(() => labels({ selinux: { ...NONE, type: 'a b"' } }), /^CrispError: selinux_options\.type/);
  const refusing = {
    canonical: () => {
      throw new Error('refused by the kernel');
    },
  };
  const ask = (selinux: typeof NONE) => containerLabels(securityOf({ selinux }), pod(), DEFAULTS, refusing);
  assert.throws(() => ask({ ...NONE, type: 'x_t' }), /refused by the kernel/);
  assert.deepEqual(ask(NONE), OF_POD);
  assert.throws(
    () => labels({ selinux: { ...NONE, level: 's0;' } }),
    (error) => hasCode(error, 'InvalidArgument'),
  );
});

test('volumes get the label of files, but for a process that may use all', () => {
  assert.equal(volumeLabel(undefined), undefined);
  assert.equal(volumeLabel(OF_POD), OF_POD.files);
  assert.equal(volumeLabel({ process: '', files: OF_POD.files }), OF_POD.files);
  assert.equal(volumeLabel({ process: OF_POD.process, files: '' }), undefined);
  assert.equal(volumeLabel(labels({ selinux: { ...NONE, type: 'spc_t' } })), undefined);
});
