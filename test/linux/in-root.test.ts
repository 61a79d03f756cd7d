import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import { appendInRoot, mkdirInRoot, pathInRoot, readInRoot } from '#linux/fs/in-root.ts';
import { openRegular, readRegular } from '#linux/fs/regular-file.ts';
import { scratch } from './scratch.ts';

/**
 * A pipe whose other side waits to write 1 for the first that opens it, then 2 for the second, and so on. A process that opens
 * and closes it without reading loses what was meant for them.
 */
async function watchedPipe(t: TestContext, path: string): Promise<{ first: () => Promise<string> }> {
  execFileSync('mkfifo', [path]);
  const script = `trap '' PIPE; n=0; while n=$((n + 1)); do { echo $n > "$1"; } 2>/dev/null || true; done`;
  const writer = spawn('sh', ['-c', script, 'sh', path], { stdio: 'ignore' });
  t.after(() => writer.kill('SIGKILL'));
  // It is seen in the kernel's wait for a reader.
  while (!/fifo|partner|pipe/.test(readFileSync(`/proc/${writer.pid}/wchan`, 'latin1'))) await sleep(5);
  return {
    async first() {
      await using reader = await open(path, constants.O_RDONLY);
      const { buffer, bytesRead } = await reader.read(Buffer.alloc(64));
      return buffer.toString('latin1', 0, bytesRead).split('\n')[0] ?? '';
    },
  };
}

test('a file inside a root is appended to, also by a link that stays inside; nothing else is written or made', (t) => {
  const root = join(scratch(t), 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, '../outside'), 'outside');
  writeFileSync(join(root, 'inside'), 'a\n');
  symlinkSync('../../../../inside', join(root, 'etc/passwd'));
  symlinkSync('../../../outside', join(root, 'etc/away'));
  execFileSync('mkfifo', [join(root, 'etc/pipe')]);
  for (const path of ['etc/passwd', 'etc/away', 'etc/pipe', 'etc', 'none/at/all'])
    appendInRoot(root, path, 'b\n');
  assert.equal(readFileSync(join(root, 'inside'), 'utf8'), 'a\nb\n');
  assert.equal(readFileSync(join(root, '../outside'), 'utf8'), 'outside');
  assert.deepEqual(readdirSync(root).sort(), ['etc', 'inside']);
  appendInRoot(root, 'etc/passwd', 'c\n', ({ size }) => size === 4);
  assert.equal(readFileSync(join(root, 'inside'), 'utf8'), 'a\nb\n', 'nor where the caller says so');
});

test('what is no regular file inside a root is not opened, and refused by name', async (t) => {
  const root = scratch(t);
  mkdirSync(join(root, 'etc'));
  const pipe = await watchedPipe(t, join(root, 'etc/passwd'));
  symlinkSync('/etc/passwd', join(root, 'etc/group'));
  execFileSync('mknod', [join(root, 'etc/zero'), 'c', '1', '5']);
  for (const path of ['etc/passwd', 'etc/group', 'etc/zero']) {
    assert.throws(
      () => readInRoot(root, path, 100),
      (error) =>
        hasCode(error, 'InvalidArgument') && error.message.startsWith(`/${path} inside the root is a`),
    );
  }
  for (const path of ['etc', 'etc/none', 'etc/passwd/x'])
    assert.equal(readInRoot(root, path, 100), undefined, path);
  await sleep(20); // a writer that was woken by an open has found by now that there is no reader
  assert.equal(await pipe.first(), '1');
});

test('host files of clients: a pipe is not opened, a device not read, a large or growing one refused', async (t) => {
  const root = scratch(t);
  const path = join(root, 'pipe');
  const pipe = await watchedPipe(t, path);
  assert.equal(await openRegular(path), undefined);
  await assert.rejects(readRegular(path, 100), /pipe is not a regular file/);
  await assert.rejects(readRegular('/dev/zero', 100), /\/dev\/zero is not a regular file/);
  await sleep(20);
  assert.equal(await pipe.first(), '1');
  const file = join(root, 'file');
  writeFileSync(file, 'x'.repeat(100));
  assert.equal((await readRegular(file, 100)).length, 100);
  await assert.rejects(
    readRegular(file, 99),
    (error) => hasCode(error, 'FailedPrecondition') && /larger than 99 bytes/.test(error.message),
  );
  assert.match(
    (await readRegular('/proc/self/status', 1 << 20)).toString(),
    /^Name:/,
    'a file without a size',
  );
});

test('a file of an image is read whole or refused, not cut', (t) => {
  const root = scratch(t);
  writeFileSync(join(root, 'passwd'), 'app:x:1000:1000::/:');
  symlinkSync('/../../passwd', join(root, 'link'));
  assert.equal(readInRoot(root, 'link', 19)?.toString(), 'app:x:1000:1000::/:');
  assert.throws(
    () => readInRoot(root, 'passwd', 18),
    (error) => hasCode(error, 'InvalidArgument') && /\/passwd .*larger than 18 bytes/.test(error.message),
  );
});

test('a refusal that is not about the file does not make it a missing one', (t) => {
  const root = scratch(t);
  assert.throws(() => readInRoot(root, 'x'.repeat(300), 100), /ENAMETOOLONG/);
});

test('of a path that is too long no part is made; as deep as a path can be, it is', async (t) => {
  const root = scratch(t);
  const owner = { uid: 0, gid: 0 };
  await assert.rejects(mkdirInRoot(root, '/x'.repeat(2048), owner), /ENAMETOOLONG/);
  assert.deepEqual(readdirSync(root), []);
  const deep = '/y'.repeat(1900);
  assert.equal(await mkdirInRoot(root, `${deep}/a`, owner), join(root, `${deep}/a`));
  assert.deepEqual(readdirSync(join(root, deep)), ['a']);
});

test('directories are made inside the root, also where a link of it leads to nothing', async (t) => {
  const root = scratch(t);
  const owner = { uid: 1234, gid: 1235 };
  mkdirSync(join(root, 'var/deep'), { recursive: true });
  symlinkSync('/run', join(root, 'var/run'));
  symlinkSync('../../../../gone/../lock', join(root, 'var/deep/lock'));
  symlinkSync('b', join(root, 'a'));
  symlinkSync('a', join(root, 'b'));
  assert.equal(await mkdirInRoot(root, '/var/run/app/', owner), join(root, 'run/app'));
  assert.equal(await mkdirInRoot(root, '/var/deep/lock/x', owner), join(root, 'lock/x'));
  assert.equal(await mkdirInRoot(root, '/var/deep', owner), join(root, 'var/deep'));
  assert.equal(pathInRoot(root, '/var/run/app'), join(root, 'run/app'));
  await assert.rejects(mkdirInRoot(root, '/a/c', owner), /ELOOP/);
  writeFileSync(join(root, 'file'), '');
  await assert.rejects(mkdirInRoot(root, '/file/c', owner), /file.*ENOTDIR/);
  const before = openSync('/dev/null', 'r');
  closeSync(before);
  for (let n = 0; n < 8; n++) await assert.rejects(mkdirInRoot(root, '/a/c', owner));
  const after = openSync('/dev/null', 'r');
  closeSync(after);
  assert.equal(after, before, 'no descriptor stays open');
});
