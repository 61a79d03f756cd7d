import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { silentLog } from '#core/operation.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { securityOf } from '#test/fixtures/container-config.ts';
import type { ContainerDefaults } from '../options.ts';
import { AppArmor } from './apparmor.ts';
import { AppArmorKernel, configuredProfiles, profileNames } from './apparmor-kernel.ts';

test('names of loaded profiles', () => {
  const list = '/usr/sbin/named (enforce)\ncrisp-default (enforce)\na name (complain)\n\nhalf a li';
  assert.deepEqual([...profileNames(list)], ['/usr/sbin/named', 'crisp-default', 'a name']);
});

const directory = mkdtempSync(join(tmpdir(), 'apparmor-'));
after(() => rmSync(directory, { recursive: true }));

/** A kernel with these profiles; no other can be loaded. */
function kernelWith(...loaded: readonly string[]): AppArmor {
  const [enabled, profiles] = [join(directory, 'enabled'), join(directory, 'profiles')];
  writeFileSync(enabled, 'Y\n');
  writeFileSync(profiles, loaded.map((name) => `${name} (enforce)\n`).join(''));
  const processes = { run: () => Promise.reject(new Error('no parser here')) } as unknown as Processes;
  return new AppArmor(processes, silentLog, new AppArmorKernel({ enabled, loaded: profiles }));
}
const runtimeDefault = securityOf({ apparmor: { type: 'RuntimeDefault', localhostRef: '' } });

test('the configured profile is that of containers that name none', async () => {
  const apparmor = kernelWith('crisp-default', 'site');
  for (const security of [securityOf(), runtimeDefault]) {
    assert.equal(await apparmor.profileOf(security, ''), 'crisp-default');
    assert.equal(await apparmor.profileOf(security, 'crisp-default'), 'crisp-default');
    assert.equal(await apparmor.profileOf(security, 'site'), 'site');
    assert.equal(await apparmor.profileOf(security, 'unconfined'), 'unconfined');
  }
  const named = securityOf({ apparmor: { type: 'Localhost', localhostRef: 'crisp-default' } });
  assert.equal(await apparmor.profileOf(named, 'site'), 'crisp-default');
  const unconfined = securityOf({ apparmor: { type: 'Unconfined', localhostRef: '' } });
  assert.equal(await apparmor.profileOf(unconfined, 'site'), 'unconfined');
  assert.equal(await apparmor.profileOf(securityOf({ privileged: true }), 'site'), undefined);
});

test('a configured profile that is not loaded is refused by its option, and no container runs without it', async () => {
  const apparmor = kernelWith('site');
  const check = (all: string, own: string) =>
    apparmor.check(
      configuredProfiles({
        defaults: { apparmorProfile: all } as ContainerDefaults,
        handlers: { x: { path: 'x', options: [], allowedAnnotations: [], apparmorProfile: own } },
      }),
    );
  for (const name of ['site', '', 'crisp-default', 'unconfined']) check(name, name);
  assert.throws(() => check('gone', 'site'), /^CrispError: container\.apparmor_profile: /);
  assert.throws(() => check('site', 'gone'), {
    code: 'InvalidArgument',
    message: /^runtime\.handlers\.x\.apparmor_profile: .*"gone" is not loaded/,
  });
  for (const security of [securityOf(), runtimeDefault])
    await assert.rejects(apparmor.profileOf(security, 'gone'), {
      code: 'FailedPrecondition',
      message: /"gone"/,
    });
});

test('without AppArmor a configured profile means nothing, one that a pod names is refused', async () => {
  const none = join(directory, 'none');
  const processes = {} as Processes;
  const apparmor = new AppArmor(processes, silentLog, new AppArmorKernel({ enabled: none, loaded: none }));
  apparmor.check([{ option: 'container.apparmor_profile', profile: 'site' }]);
  assert.equal(await apparmor.profileOf(runtimeDefault, 'site'), undefined);
  const named = securityOf({ apparmor: { type: 'Localhost', localhostRef: 'site' } });
  await assert.rejects(apparmor.profileOf(named, ''), /the kernel has no AppArmor/);
});
