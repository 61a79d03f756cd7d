import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { requireRdtClass } from './rdt.ts';

const key = 'rdt.resources.beta.kubernetes.io/pod';

test('a class needs its name in the configuration, resctrl, its group, and a runtime that applies it', async () => {
  const resctrl = mkdtempSync(join(tmpdir(), 'crisp-resctrl-'));
  try {
    const check = (value: string, intelRdt: 'none' | 'classes' | 'all' = 'all') =>
      requireRdtClass(
        { from: key, value },
        ['gold'],
        { handler: 'crun', features: async () => ({ version: 'crun 1', intelRdt }) as never },
        resctrl,
      );
    const refused = (value: string, code: string, message: RegExp, intelRdt?: 'none') =>
      assert.rejects(
        check(value, intelRdt),
        (error) =>
          hasCode(error, code as 'InvalidArgument') &&
          error.message.includes(key) &&
          message.test(error.message),
      );
    await refused('silver', 'InvalidArgument', /"silver" is no RDT class/);
    await refused('../gold', 'InvalidArgument', /no RDT class/);
    await refused('gold', 'FailedPrecondition', /is not mounted/);
    writeFileSync(join(resctrl, 'schemata'), '');
    await refused('gold', 'FailedPrecondition', /gold does not exist/);
    mkdirSync(join(resctrl, 'gold'));
    writeFileSync(join(resctrl, 'gold/schemata'), '');
    await refused('gold', 'FailedPrecondition', /crun \(crun 1\) does not apply intelRdt/, 'none');
    await check('gold');
  } finally {
    rmSync(resctrl, { recursive: true });
  }
});
