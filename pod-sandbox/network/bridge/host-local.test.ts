import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { allocateAddresses, releaseAddresses } from './host-local.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-addresses-'));
after(() => rmSync(directory, { recursive: true }));

const pod = { id: 'a'.repeat(64), interfaceName: 'eth0' };
const soon = () => AbortSignal.timeout(10_000);

/** Leaves these files with their contents, gives the pod's addresses back; the addresses that are still taken. */
async function stillTaken(
  files: Readonly<Record<string, string>>,
  known: readonly string[] | undefined,
): Promise<string[]> {
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  await releaseAddresses(directory, known, pod, soon());
  return readdirSync(directory)
    .filter((name) => /^\d/.test(name))
    .sort();
}

test("a pod's addresses are released, and no others", async () => {
  const files = {
    '10.0.0.2': `${pod.id}\r\neth0`,
    '10.0.0.3': pod.id,
    '10.0.0.4': `${'b'.repeat(64)}\r\neth0`,
    '10.0.0.5': `${pod.id}\r\nnet1`,
  };
  assert.deepEqual(await stillTaken(files, undefined), ['10.0.0.4', '10.0.0.5']);
  assert.deepEqual(await stillTaken(files, ['10.0.0.2']), ['10.0.0.3', '10.0.0.4', '10.0.0.5']);
});

test('an address whose file a power cut has emptied is released', async () => {
  const files = { '10.0.0.2': '', '10.0.0.3': '', '10.0.0.4': 'another', 'last_reserved_ip.0': '' };
  assert.ok(!(await stillTaken(files, ['10.0.0.2'])).includes('10.0.0.2'));
  assert.ok(!(await stillTaken(files, undefined)).includes('10.0.0.3'));
  assert.ok(readdirSync(directory).includes('last_reserved_ip.0'));
});

test('an address whose file a power cut has emptied is assigned again when no other is free', async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'crisp-addresses-'));
  t.after(() => rmSync(place, { recursive: true }));
  const range = {
    family: 4,
    prefixLength: 29,
    first: 0x0a000001n,
    last: 0x0a000004n,
    gateway: 0x0a000001n,
  } as const;
  writeFileSync(join(place, '10.0.0.2'), 'another');
  writeFileSync(join(place, '10.0.0.3'), '');
  const take = () => allocateAddresses(place, [range], pod, soon());
  assert.deepEqual(await take(), ['10.0.0.4']);
  assert.deepEqual(await take(), ['10.0.0.3']);
  await assert.rejects(take(), /no address from 10.0.0.1 to 10.0.0.4 is free/);
});
