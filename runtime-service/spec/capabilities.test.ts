import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { securityOf } from '#test/fixtures/container-config.ts';
import { capabilitiesOf, capabilityNames, checkCapabilities } from './capabilities.ts';

const ALL = capabilityNames('1ffffffffff');
const USUAL = (
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL ' +
  'AUDIT_WRITE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);
const of = (changes: Parameters<typeof securityOf>[0] = {}, held: ReadonlySet<string> = ALL) =>
  capabilitiesOf(securityOf(changes), held, USUAL);
const DEFAULT = of();

test('the masks of /proc are read by number', () => {
  assert.equal(ALL.size, 41);
  assert.deepEqual([...capabilityNames('0')], []);
  assert.deepEqual([...capabilityNames('')], []);
  assert.deepEqual([...capabilityNames('0000000000000001\n')], ['CAP_CHOWN']);
  assert.deepEqual([...capabilityNames('21')], ['CAP_CHOWN', 'CAP_KILL']);
  assert.deepEqual([...capabilityNames('10000000000')], ['CAP_CHECKPOINT_RESTORE']);
  assert.deepEqual([...capabilityNames('200000')], ['CAP_SYS_ADMIN']);
  assert.deepEqual([...capabilityNames('20000000000')], []);
});

test('the numbers are those of the kernel’s header', {
  skip: header() ? false : 'no kernel header here',
}, () => {
  const defined = [...(header() ?? '').matchAll(/^#define (CAP_[A-Z_]+)\s+(\d+)$/gm)];
  assert.ok(defined.length >= 40);
  for (const [, name = '', number = ''] of defined) {
    assert.deepEqual([...capabilityNames((1n << BigInt(number)).toString(16))], [name]);
  }
});

function header(): string | undefined {
  try {
    return readFileSync('/usr/include/linux/capability.h', 'utf8');
  } catch {
    return undefined;
  }
}

test('nothing asked: the fourteen of the field', () => {
  assert.equal(DEFAULT.length, 14);
  for (const name of [
    'CAP_SYS_ADMIN',
    'CAP_NET_ADMIN',
    'CAP_SYS_PTRACE',
    'CAP_DAC_READ_SEARCH',
    'CAP_SYS_MODULE',
  ]) {
    assert.ok(!DEFAULT.includes(name), name);
  }
});

test('names come with and without CAP_, in any case', () => {
  for (const name of ['NET_ADMIN', 'CAP_NET_ADMIN', 'net_admin', 'Cap_Net_Admin']) {
    assert.ok(of({ addCapabilities: [name] }).includes('CAP_NET_ADMIN'), name);
  }
  assert.ok(!of({ dropCapabilities: ['net_raw'] }).includes('CAP_NET_RAW'));
});

test('ALL is added, then dropped, then single ones are added and dropped', () => {
  assert.equal(of({ addCapabilities: ['ALL'] }).length, 41);
  assert.deepEqual(of({ dropCapabilities: ['ALL'] }), []);
  assert.deepEqual(of({ addCapabilities: ['NET_BIND_SERVICE'], dropCapabilities: ['all'] }), [
    'CAP_NET_BIND_SERVICE',
  ]);
  assert.deepEqual(of({ addCapabilities: ['ALL'], dropCapabilities: ['ALL'] }), []);
  const allBut = of({ addCapabilities: ['ALL'], dropCapabilities: ['SYS_ADMIN'] });
  assert.equal(allBut.length, 40);
  assert.ok(!allBut.includes('CAP_SYS_ADMIN'));
  assert.ok(!of({ addCapabilities: ['SYS_TIME'], dropCapabilities: ['SYS_TIME'] }).includes('CAP_SYS_TIME'));
});

test('an unknown one is refused when added, and without effect when dropped', () => {
  const adding = (name: string) => () => of({ addCapabilities: [name] });
  for (const name of ['', 'FLY', 'CAP_', 'CAP_CAP_CHOWN', 'constructor']) {
    assert.throws(adding(name), (error) => hasCode(error, 'InvalidArgument'), name);
  }
  assert.deepEqual(of({ dropCapabilities: ['FLY'] }), DEFAULT);
});

test('crisp grants no capability that it lacks: defaults, ALL and privileged shrink, a named one is refused', () => {
  const held = new Set([...ALL].filter((name) => name !== 'CAP_SYS_RESOURCE' && name !== 'CAP_MKNOD'));
  assert.deepEqual(
    of({}, held),
    DEFAULT.filter((name) => name !== 'CAP_MKNOD'),
  );
  assert.equal(of({ addCapabilities: ['ALL'] }, held).length, 39);
  assert.equal(of({ privileged: true }, held).length, 39);
  assert.throws(
    () => of({ addCapabilities: ['SYS_RESOURCE'] }, held),
    (error) => hasCode(error, 'FailedPrecondition') && /CAP_SYS_RESOURCE/.test(error.message),
  );
});

test('privileged is all, whatever is dropped', () => {
  assert.equal(of({ privileged: true, dropCapabilities: ['ALL'] }).length, 41);
});

test('the defaults are configured; what is requested is added and dropped as from any', () => {
  const defaults = ['kill', 'CAP_CHOWN'];
  checkCapabilities('container.default_capabilities', defaults);
  assert.deepEqual(capabilitiesOf(securityOf(), ALL, defaults), ['CAP_CHOWN', 'CAP_KILL']);
  assert.deepEqual(capabilitiesOf(securityOf(), new Set(['CAP_KILL']), defaults), ['CAP_KILL']);
  const security = securityOf({ addCapabilities: ['MKNOD'], dropCapabilities: ['KILL'] });
  assert.deepEqual(capabilitiesOf(security, ALL, defaults), ['CAP_CHOWN', 'CAP_MKNOD']);
  assert.throws(
    () => checkCapabilities('container.default_capabilities', ['CHOWN', 'ALL']),
    (error) =>
      hasCode(error, 'InvalidArgument') && /^container\.default_capabilities: "ALL"/.test(error.message),
  );
});
