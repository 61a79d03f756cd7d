import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { CrispError } from '#core/errors.ts';
import { CertificateWatch } from './certificate-watch.ts';

const base = mkdtempSync(join(tmpdir(), 'certificates-'));
after(() => rmSync(base, { recursive: true }));

/** Files of text in the place of certificates: `bad` is one that cannot be used. */
async function stand(name: string) {
  const directory = join(base, name);
  mkdirSync(directory);
  const paths = [join(directory, 'cert'), join(directory, 'key')];
  const used: string[] = [];
  const logged: string[] = [];
  const note = (fields: object, message: string) =>
    void logged.push(`${message} ${(fields as { error?: string }).error ?? ''}`.trim());
  const log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const read = () => {
    const [cert = '', key = ''] = paths.map((path) => readFileSync(path, 'utf8'));
    if (cert !== key) throw new CrispError('InvalidArgument', `${key} is not the key of ${cert}`);
    return { cert, key, minVersion: 'TLSv1.2' } as const;
  };
  const write = (cert: string, key = cert) => {
    writeFileSync(join(directory, 'cert'), cert);
    writeFileSync(join(directory, 'key'), key);
  };
  const open = async () => {
    const watch = new CertificateWatch({
      section: 'metrics',
      paths,
      read,
      changed: ({ cert }) => used.push(cert),
      inotify: { watch: () => undefined }, // the limit of the node is reached
      log,
    });
    after(() => watch[Symbol.dispose]());
    await settled(() => used.length > 0 || logged.length > 0);
    return watch;
  };
  return { directory, used, logged, write, open };
}

async function settled(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 1));
}

test('what is found first is used without a word, a renewed one is logged', async () => {
  const { used, logged, write, open } = await stand('renewed');
  write('one');
  const watch = await open();
  await watch.check();
  assert.deepEqual([used, logged], [['one'], []]);
  write('second');
  await watch.check();
  await watch.check();
  assert.deepEqual(used, ['one', 'second']);
  assert.deepEqual(logged, ['TLS files have changed: new connections use them']);
});

test('one that cannot be used is said once, and the one before stays', async () => {
  const { used, logged, write, open } = await stand('broken');
  write('one');
  const watch = await open();
  for (const key of ['x', 'x', 'yy']) {
    write('two', key);
    await watch.check();
  }
  assert.deepEqual(used, ['one']);
  const words = 'TLS files cannot be used: those that were read before are';
  assert.deepEqual(logged, [`${words} x is not the key of two`, `${words} yy is not the key of two`]);
  write('two');
  await watch.check();
  assert.deepEqual(used, ['one', 'two']);
});

test('files that are written again with the same content are no change', async () => {
  const { directory, used, logged, write, open } = await stand('same');
  write('one');
  const watch = await open();
  writeFileSync(join(directory, 'new'), 'one');
  renameSync(join(directory, 'new'), join(directory, 'cert'));
  await watch.check();
  assert.deepEqual([used, logged], [['one'], []]);
});

test('a directory that is replaced behind a link, as the kubelet does with secrets', async () => {
  const { directory, used, open } = await stand('linked');
  for (const name of ['a', 'b']) {
    mkdirSync(join(directory, name));
    for (const part of ['cert', 'key']) writeFileSync(join(directory, name, part), name);
  }
  symlinkSync('a', join(directory, '..data'));
  for (const part of ['cert', 'key']) symlinkSync(`..data/${part}`, join(directory, part));
  const watch = await open();
  symlinkSync('b', join(directory, '..new'));
  renameSync(join(directory, '..new'), join(directory, '..data'));
  await watch.check();
  assert.deepEqual(used, ['a', 'b']);
});
