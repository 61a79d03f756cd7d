/** Images that are not what was written: the kernel refuses them or reports errors, and nothing waits for ever. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { rounds } from '../../crash/seed.ts';
import { type EntrySpec, makeTar } from '../../harness/tar.ts';
import { accessList, bytesOf } from './archives.ts';
import { Ground } from './forms.ts';
import { seed } from './layers.ts';

const PROGRAM = join(import.meta.dirname, 'damaged-images.ts');
const COUNT = rounds(120);
/** Far beyond what the slowest machine needs. */
const LIMIT_MS = 300_000;

/** Mostly metadata: names, attributes, maps of chunks, tails. */
const entries: EntrySpec[] = [
  { name: './', xattrs: { 'system.posix_acl_access': accessList([7, 5, 5, 7, 5]) } },
  ...Array.from({ length: 60 }, (_, n) => ({
    name: `d${n % 5}/e${n % 3}/file-${n}`,
    content: bytesOf(n * 100, n),
    xattrs: { [`user.${n % 7}`]: bytesOf(n, n), 'user.shared': Buffer.from('shared') },
  })),
  ...Array.from({ length: 400 }, (_, n) => ({ name: `many/${'n'.repeat(60)}${n}` })),
  { name: 'link', type: 'symlink', link: 't'.repeat(3000) },
  { name: 'hard', type: 'hardlink', link: 'd0/e0/file-30' },
  { name: 'holes', sparse: { size: 500_000, pieces: [[200_000, bytesOf(9000, 1)]] } },
  { name: 'tty', type: 'character', major: 5, minor: 1 },
];

test('damaged images, and images that change below a mount, give errors and no endless wait', async () => {
  await using ground = await Ground.make();
  const image = await ground.write(makeTar(entries));
  const place = join(ground.path, '../damaged');
  mkdirSync(place);
  console.log(`# seed ${seed}`);
  const arguments_ = [process.execPath, PROGRAM, image.path, place, String(seed), String(COUNT)];
  const child = spawn('unshare', ['--mount', '--propagation', 'private', ...arguments_], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const output = Promise.all([text(child.stdout), text(child.stderr)]);
  const limit = new AbortController();
  const code = await Promise.race([ended, sleep(LIMIT_MS, 'waits', { signal: limit.signal })]);
  limit.abort();
  child.kill('SIGKILL');
  const [stdout, stderr] = await output;
  assert.equal(code, 0, stderr);
  console.log(`# of ${COUNT} damaged images, and of three that changed below a mount: ${stdout.trim()}`);
  const counts = JSON.parse(stdout) as Readonly<Record<string, number>>;
  assert.equal(
    Object.values(counts).reduce((sum, one) => sum + one, 0),
    COUNT + 3,
  );
  assert.ok((counts['refused'] ?? 0) > 0);
});
