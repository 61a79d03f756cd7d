import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { type Log, silentLog } from '#core/operation.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { defaultLinux } from './config.ts';
import { shmSize } from './shm-size.ts';

const OLD = 'io.kubernetes.cri-o.ShmSize';
const MIB = 2 ** 20;
const of = (annotations: Record<string, string>, allowed: readonly string[] = [OLD], log: Log = silentLog) =>
  shmSize(sampleConfig({ annotations }), allowed, log);

test('the size of the annotation, of the newer name first', () => {
  assert.equal(of({}), undefined);
  assert.equal(of({ [OLD]: '256Mi' }), 256 * MIB);
  assert.equal(of({ [OLD]: '1Gi', 'shm-size.crio.io': '2Gi' }), 2048 * MIB);
  assert.equal(of({ 'shm-size.crio.io': '4096' }), 4096);
});

test('a malformed size is refused by the name of the annotation, 0 too: it would be no limit', () => {
  for (const value of ['', '0', '1', '64 MB', '-1Mi', '2Pi', '1e30', '12Mx'])
    assert.throws(
      () => of({ [OLD]: value }),
      (error) =>
        hasCode(error, 'InvalidArgument') &&
        error.message.includes(OLD) &&
        error.message.includes(`"${value}"`),
    );
});

test('one that is not allowed is ignored, even a malformed one, and logged; so is one of a pod with the IPC of the node', () => {
  const seen: object[] = [];
  const log: Log = { ...silentLog, info: (fields) => seen.push(fields) };
  assert.equal(of({ [OLD]: 'x' }, [], log), undefined);
  assert.equal(of({ [OLD]: '1Gi' }, ['io.kubernetes.cri-o.Devices'], log), undefined);
  assert.equal(seen.length, 2);
  const { security } = defaultLinux;
  const namespaces = { ...security.namespaces, ipc: 'node' } as const;
  const linux = { ...defaultLinux, security: { ...security, namespaces } };
  assert.equal(shmSize(sampleConfig({ annotations: { [OLD]: '1Gi' }, linux }), [OLD], log), undefined);
  assert.equal(seen.length, 3);
});
