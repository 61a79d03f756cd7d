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
  assert.equal(record.version, 3);
  assert.deepEqual(security.seccomp, { type: 'RuntimeDefault', localhostRef: '' });
  assert.deepEqual(security.apparmor, { type: 'Localhost', localhostRef: 'crisp-test' });
  assert.deepEqual([resources?.memoryLimitBytes, resources?.memorySwapLimitBytes], [268435456n, 0n]);
  assert.equal(overhead, undefined);
  assert.equal(record.limits?.resources?.memoryLimitBytes, 134217728n);
  assert.equal(record.config.metadata.name, 'web-0');
});

test('the one attachment of version 2 becomes the first of a list, with all that its DEL needs', () => {
  const { attachments: _, ...rest } = migrateRecord(decode(readFileSync(FIXTURE, 'utf8')) as Versioned);
  const old = (attachment: unknown) => ({ ...rest, version: 2, attachment }) as unknown as Versioned;
  const attachment = {
    interfaceName: 'eth0',
    config: { name: 'a' },
    ips: ['10.1.0.5'],
    failedAdd: { begun: ['0'] },
  };
  assert.deepEqual(migrateRecord(old(attachment)).attachments, [attachment]);
  assert.ok(!('attachment' in migrateRecord(old(attachment))));
  const host = migrateRecord(old(undefined));
  checkRecord(host);
  assert.deepEqual([host.version, host.attachments], [3, []]);
});

test('a record of no known version is refused', () => {
  assert.throws(() => migrateRecord({ version: 0 }), /version 0/);
  assert.throws(() => migrateRecord({ version: 1 }), /config/);
});
