import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { checkMountPoints } from './mount-sources.ts';

const source = mkdtempSync(join(tmpdir(), 'crisp-points-'));
after(() => rmSync(source, { recursive: true }));
mkdirSync(join(source, 'dir'));
writeFileSync(join(source, 'resolv.conf'), '');
symlinkSync('../run/hostname', join(source, 'hostname'));

const bind = (destination: string, access: string, from = source) => ({
  destination,
  type: 'bind',
  source: from,
  options: ['rbind', access],
});
const check = (...mounts: Parameters<typeof checkMountPoints>[0]) => checkMountPoints(mounts);
const refused = (error: unknown) =>
  hasCode(error, 'InvalidArgument') &&
  error.message.includes('mount /etc/hosts: the read-only mount /etc') &&
  error.message.endsWith('has nothing at hosts');

test('a mount below a read-only one needs its place there', async () => {
  const hosts = bind('/etc/hosts', 'rw', '/any');
  await assert.rejects(check(bind('/etc', 'ro'), hosts), refused);
  await assert.rejects(check(bind('/etc', 'rro'), hosts), refused);
  await check(bind('/etc', 'rw'), hosts);
  await check(bind('/etc', 'ro'), bind('/etc/resolv.conf', 'ro'), bind('/etc/dir', 'ro'));
  await check(bind('/etc', 'ro'), bind('/etc/hostname', 'ro'));
  await check(bind('/etc', 'ro'), bind('/etc/dir', 'rw'), bind('/etc/dir/made', 'rw'));
  await check(bind('/et', 'ro'), hosts);
  await assert.rejects(
    check(bind('/etc', 'ro'), bind('/etc/resolv.conf/x', 'ro')),
    /has nothing at resolv.conf/,
  );
});
