import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { decode } from '#core/json-record.ts';
import type { Versioned } from '#core/record-store.ts';
import { migrateRecord } from './migrate.ts';
import { checkRecord } from './sandbox.ts';

const FIXTURE = join(import.meta.dirname, '../test/fixtures/sandbox-record-v1.json');

test('a record of version 1 is read with the names of today', () => {
  const old = decode(readFileSync(FIXTURE, 'utf8')) as Versioned;
  const record = migrateRecord(old);
  checkRecord(record);
  const { security, resources, overhead } = record.config.linux;
  assert.equal(record.version, 2);
  assert.deepEqual(security.seccomp, { type: 'RuntimeDefault', localhostRef: '' });
  assert.deepEqual(security.apparmor, { type: 'Localhost', localhostRef: 'crisp-test' });
  assert.deepEqual([resources?.memoryLimitBytes, resources?.memorySwapLimitBytes], [268435456n, 0n]);
  assert.equal(overhead, undefined);
  assert.equal(record.limits?.resources?.memoryLimitBytes, 134217728n);
  assert.equal(record.config.metadata.name, 'web-0');
});

test('what is not a record of version 1 is refused', () => {
  assert.throws(() => migrateRecord({ version: 0 }), /version 0/);
  assert.throws(() => migrateRecord({ version: 1 }), /config/);
});
