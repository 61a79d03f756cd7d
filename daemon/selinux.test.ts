import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { FakeSelinux } from '#linux/fake/selinux.ts';
import { selinuxDefaults } from './selinux.ts';

const options = (mode: 'auto' | 'on' | 'off') => ({
  mode,
  categoryRange: 512,
  disableForHostNetwork: true,
});

function lines() {
  const messages: string[] = [];
  const add = (fields: object, message: string) => void messages.push(`${message} ${JSON.stringify(fields)}`);
  return { messages, log: { info: add, warn: add } };
}

const enabled = (): FakeSelinux => {
  const selinux = new FakeSelinux();
  selinux.isOn = { enforcing: true, own: 'system_u:system_r:unconfined_service_t:s0' };
  return selinux;
};
const refusal = (pattern: RegExp) => (error: unknown) =>
  hasCode(error, 'FailedPrecondition') && pattern.test(error.message);

test('with SELinux the contexts of the policy are what labels are made of', async () => {
  for (const mode of ['auto', 'on'] as const) {
    const { messages, log } = lines();
    assert.deepEqual(await selinuxDefaults(options(mode), enabled(), log), {
      process: 'system_u:system_r:container_t:s0',
      files: 'system_u:object_r:container_file_t:s0',
      readonlyFiles: 'system_u:object_r:container_ro_file_t:s0',
      categoryRange: 512,
      disableForHostNetwork: true,
    });
    assert.match(messages.join(), /^pods get SELinux labels .*"enforcing":true.*container_t/);
  }
});

test('off: the node is not asked', async () => {
  const { messages, log } = lines();
  assert.equal(await selinuxDefaults(options('off'), enabled(), log), undefined);
  assert.deepEqual(messages, []);
});

test('without SELinux there are no labels, and where they are demanded no daemon', async () => {
  const { messages, log } = lines();
  assert.equal(await selinuxDefaults(options('auto'), new FakeSelinux(), log), undefined);
  assert.deepEqual(messages, []);
  await assert.rejects(
    selinuxDefaults(options('on'), new FakeSelinux(), log),
    refusal(/^selinux\.mode: SELinux is not enabled/),
  );
});

test('a policy without containers, or whose module is not loaded: logged, and refused where labels are demanded', async () => {
  const without = enabled();
  without.contexts = new Map([['process', 'system_u:system_r:container_t:s0']]);
  const unloaded = enabled();
  unloaded.unknownTypes.add('container_file_t');
  for (const [selinux, pattern] of [
    [without, /has no contexts for containers/],
    [unloaded, /no context system_u:object_r:container_file_t:s0/],
  ] as const) {
    const { messages, log } = lines();
    assert.equal(await selinuxDefaults(options('auto'), selinux, log), undefined);
    assert.match(messages.join(), pattern);
    await assert.rejects(selinuxDefaults(options('on'), selinux, log), refusal(pattern));
  }
});

test('a policy without a label of its own for read-only files: that of files', async () => {
  const selinux = enabled();
  selinux.contexts.delete('ro_file');
  const found = await selinuxDefaults(options('auto'), selinux, lines().log);
  assert.equal(found?.readonlyFiles, found?.files);
});
