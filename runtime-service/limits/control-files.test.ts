import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { checkControlFiles } from './control-files.ts';

test('a file that the group above lacks is refused, where that group has its controller', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'crisp-control-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'pod'));
  for (const name of ['memory.high', 'memory.max']) writeFileSync(join(root, 'pod', name), 'max');
  const cgroups = (version: 1 | 2) => ({
    version,
    read: (group: string, file: string) =>
      group === '/pod' && file === 'cgroup.controllers' ? 'cpu memory' : undefined,
    file: (group: string, name: string) => join(root, group, name),
  });
  const check = (key: string, version: 1 | 2 = 2, group = '/pod/container') =>
    checkControlFiles(cgroups(version), group, { unified: { 'memory.max': '1', [key]: '1' } });
  check('memory.high');
  check('cpuset.cpus');
  check('memory.none', 1);
  check('memory.none', 2, '/gone/container');
  assert.throws(
    () => check('memory.none'),
    (error) => hasCode(error, 'InvalidArgument') && /memory\.none/.test(error.message),
  );
});
