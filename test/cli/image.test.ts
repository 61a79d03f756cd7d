/** The command `crisp image` against a daemon: export, import, and failures. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, TestNode, until } from '../harness/pods.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
// An export needs the blobs of layers.
const node = await TestNode.start('image', { extra: '[image]\nkeep_blobs = true' });
const socket = join(node.settings.directory, 'state/admin.sock');
const localDirectory = join(node.directory, 'local');
mkdirSync(localDirectory);
const file = (name: string): string => join(localDirectory, name);

interface Run {
  readonly code: number | null;
  readonly out: Buffer;
  readonly err: string;
}
function crisp(words: readonly string[], input?: Buffer): Run {
  const admin = ['--admin-socket', socket];
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'image', ...words, ...admin], {
    ...(input ? { input } : {}),
    maxBuffer: 1 << 28,
  });
  return { code: status, out: stdout, err: stderr.toString() };
}
const temporary = (): string[] => readdirSync(localDirectory).filter((name) => name.startsWith('.'));
const tagged = `${node.registry.host}/busybox:latest`;

test('the socket is accessible to root only', () => {
  assert.equal(statSync(socket).mode & 0o777, 0o600);
});

test('export to a file and to a pipe gives the same bytes; import reads both', async () => {
  const toFile = crisp(['export', tagged, '-o', file('one.tar')]);
  assert.deepEqual([toFile.code, toFile.err], [0, '']);
  const toPipe = crisp(['export', node.image, '--output', '-']);
  assert.ok(toPipe.out.equals(readFileSync(file('one.tar'))));
  await node.client.RemoveImage({ image: { image: node.image } });
  const fromPipe = crisp(['import', '-'], toPipe.out);
  assert.equal(fromPipe.out.toString(), `Imported ${tagged} (${node.image})\n`);
  const pod = await node.runPod();
  assert.equal((await node.output(pod, ['echo', 'it runs'])).out, 'it runs');
  const named = crisp(['import', file('one.tar'), '--name', 'example.com/other:2']);
  assert.equal(named.out.toString(), `Imported ${tagged}, example.com/other:2 (${node.image})\n`);
  assert.deepEqual(temporary(), []);
});

test('explain shows the endpoints of the daemon, in text and JSON, and what they answer', () => {
  const text = crisp(['explain', 'docker.io/library/busybox:1']).out.toString();
  assert.match(
    text,
    /^docker.io\/library\/busybox:1\n\n1\. https:\/\/registry-1\.docker\.io\/v2\/library\/busybox\/manifests\/1\n/,
  );
  assert.match(text, /\n {3}from {10}default\n/);
  const run = crisp(['explain', tagged, '--ping', '--output', 'json']);
  assert.deepEqual([run.code, run.err], [0, '']);
  const [image] = JSON.parse(run.out.toString()).images;
  const [endpoint] = image.endpoints;
  assert.equal(endpoint.url, `http://${node.registry.host}/v2/busybox/manifests/latest`);
  assert.match(endpoint.source, /crisp\.toml:\d+$/);
  assert.equal(endpoint.answer.status, 200);
  const wrong = crisp(['explain', 'UPPER']);
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /must be in lower case/);
});

test('a truncated archive, a missing one, a directory, an unknown image: clear errors, and no file', async () => {
  const whole = readFileSync(file('one.tar'));
  writeFileSync(file('cut.tar'), whole.subarray(0, whole.length / 2));
  const before = (await node.client.ListImages({})).images.length;
  for (const [words, code, text] of [
    [
      ['import', file('cut.tar')],
      1,
      /image archive: it ends within an entry(.|\n)*hint: create the archive again, and check that it was copied completely/,
    ],
    [['import', file('missing.tar')], 1, /missing.tar.*ENOENT/],
    [['import', localDirectory], 1, /it is a directory/],
    [['export', 'no/such:1', '-o', file('x.tar')], 1, /"no\/such:1" is not in the store/],
    [['export', tagged], 2, /--output is missing/],
    [['export', tagged, '-o', file('no/dir/x.tar')], 1, /write .*ENOENT/],
    [['exprot', tagged], 2, /did you mean export/],
  ] as const) {
    const run = crisp(words);
    assert.equal(run.code, code, run.err);
    assert.match(run.err, text);
  }
  assert.deepEqual([existsSync(file('x.tar')), temporary()], [false, []]);
  assert.equal((await node.client.ListImages({})).images.length, before);
});

test('a full disk: a clear error, no partial file, and an older file is kept', () => {
  const small = file('small');
  mkdirSync(small);
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'test-disk', small]).status, 0);
  try {
    writeFileSync(join(small, 'out.tar'), 'older');
    const run = crisp(['export', tagged, '-o', join(small, 'out.tar')]);
    assert.equal(run.code, 1);
    assert.match(run.err, /write .*ENOSPC(.|\n)*hint: free space/);
    assert.deepEqual(readdirSync(small), ['out.tar']);
    assert.equal(readFileSync(join(small, 'out.tar'), 'utf8'), 'older');
  } finally {
    spawnSync('umount', [small]);
  }
});

test('a blob that is damaged in the store: an error during the export, and no file', async () => {
  const blobs = join(node.settings.directory, 'root/images/content/blobs/sha256');
  const largest = readdirSync(blobs).sort(
    (a, b) => statSync(join(blobs, b)).size - statSync(join(blobs, a)).size,
  )[0];
  const path = join(blobs, largest ?? '');
  const good = readFileSync(path);
  const bad = Buffer.from(good);
  bad[bad.length - 1] = 255 - (bad.at(-1) ?? 0);
  writeFileSync(path, bad);
  const run = crisp(['export', tagged, '-o', file('bad.tar')]);
  writeFileSync(path, good);
  assert.equal(run.code, 1);
  assert.match(run.err, /is damaged in the store/);
  assert.deepEqual([existsSync(file('bad.tar')), temporary()], [false, []]);
});

test('a client that disconnects during an import leaves nothing in the store', async () => {
  const staging = join(node.settings.directory, 'root/images/staging');
  const whole = readFileSync(file('one.tar'));
  const client = connect(socket);
  await once(client, 'connect');
  client.write(`POST /v1/images/import HTTP/1.1\r\nhost: x\r\ncontent-length: ${whole.length}\r\n\r\n`);
  client.write(whole.subarray(0, whole.length / 2));
  await until('it is received', () => readdirSync(staging).length > 0);
  client.destroy();
  await until('it is removed', () => readdirSync(staging).length === 0);
  await until('it is logged', () =>
    /ImportImages.*the client closed the connection/.test(readFileSync(node.daemon.logFile, 'utf8')),
  );
});

test('a daemon that is not running', () => {
  const { status, stderr } = spawnSync(process.execPath, [
    MAIN,
    'image',
    'import',
    file('one.tar'),
    '--admin-socket',
    file('none.sock'),
  ]);
  assert.equal(status, 1);
  assert.match(
    stderr.toString(),
    /the daemon does not answer at .*none.sock(.|\n)*hint: check that crisp is running/,
  );
});

test('unknown requests are refused', async () => {
  const answer = async (head: string): Promise<string> => {
    const client = connect(socket);
    client.write(`${head}\r\nhost: x\r\nconnection: close\r\n\r\n`);
    let text = '';
    for await (const piece of client) text += piece;
    return text;
  };
  assert.match(await answer('GET /v1/images HTTP/1.1'), /^HTTP\/1.1 404 (.|\r|\n)*"code":"NotFound"/);
  assert.match(await answer('DELETE /v1/images/import HTTP/1.1'), /^HTTP\/1.1 404/);
  assert.match(await answer('GET /v1/images/export HTTP/1.1'), /^HTTP\/1.1 400(.|\r|\n)*no image was named/);
});

endsClean(node);
