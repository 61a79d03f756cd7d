/** Types and lint: `npm run check` for the whole tree. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';

const PROJECT = join(import.meta.dirname, '..');

function check(program: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(join(PROJECT, 'node_modules/.bin', program), args, {
    cwd: PROJECT,
    encoding: 'utf8',
  });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
}

test('the types are right', () => check('tsc', '--noEmit'));

test('the linter and the formatter have nothing to say', () =>
  check('biome', 'check', '--error-on-warnings', '.'));
