/** `crisp ctl cp` against a daemon: what is kept, what is refused, and that no path escapes the container. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { makeTar } from '../harness/images.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const node = await TestNode.start('cp');
const localDirectory = join(node.directory, 'local');
mkdirSync(localDirectory);
const local = (name: string): string => join(localDirectory, name);
const pod = await node.runPod({ metadata: { name: 'web', uid: 'u', namespace: 'default', attempt: 0 } });
const id = await node.run(pod);
const sh = async (script: string): Promise<string> => {
  const { code, out, err } = await node.exec(id, ['sh', '-c', script]);
  assert.equal(code, 0, err);
  return out;
};
const cp = (...words: string[]) => {
  const endpoint = `unix://${node.daemon.socket}`;
  const run = spawnSync(process.execPath, [MAIN, 'ctl', '-r', endpoint, 'cp', ...words], {
    encoding: 'utf8',
  });
  return { code: run.status, text: `${run.stdout}${run.stderr}` };
};
const ok = (...words: string[]): void => assert.deepEqual(cp(...words), { code: 0, text: '' });
const fails = (text: RegExp, ...words: string[]): void => {
  const run = cp(...words);
  assert.notEqual(run.code, 0);
  assert.match(run.text, text);
};
const hidden = (): string[] => readdirSync(localDirectory).filter((name) => name.startsWith('.crisp'));

test('a tree is the same after copying in and out: modes, owners, links, times, unusual names', async () => {
  const tree = local('tree');
  mkdirSync(join(tree, 'deep/er'), { recursive: true });
  writeFileSync(join(tree, 'a'), 'a');
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, `deep/er/${'n'.repeat(120)} ü\n`), Buffer.alloc(700_001, 'x'));
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe])]), 'bytes');
  symlinkSync('/etc/passwd', join(tree, 'deep/link'));
  symlinkSync('nowhere', join(tree, 'dangling'));
  for (const command of ['chown -h 7:8 a deep/link', 'chmod 4711 a', 'chmod 700 deep', 'touch -d @1000 a'])
    assert.equal(spawnSync('sh', ['-c', command], { cwd: tree }).status, 0);
  ok(tree, `${id.slice(0, 12)}:/tmp`);
  assert.equal(
    await sh('stat -c "%a %u %g %Y" /tmp/tree/a; readlink /tmp/tree/deep/link'),
    '4711 7 8 1000\n/etc/passwd\n',
  );
  ok('web:/tmp/tree', local('back'));
  const listing = (directory: string) =>
    spawnSync(
      'sh',
      ['-c', 'find . -printf "%P %y %m %U %G %s %l\\n" | sort; find . -type f -exec sha256sum {} + | sort'],
      {
        cwd: directory,
        encoding: 'utf8',
      },
    ).stdout.replaceAll(/^(\S+ d \S+ \S+ \S+) \S+/gm, '$1');
  assert.equal(listing(local('back')), listing(tree));
  assert.ok(readdirSync(local('back'), { encoding: 'buffer' }).some((name) => name[0] === 0xff));
  assert.deepEqual(hidden(), []);
  assert.equal(await sh('ls -a /tmp | grep -c crisp || true'), '0\n');
});

test('targets: into a directory, to a new name, over a file, a symlink as a symlink', async () => {
  writeFileSync(local('one'), 'one');
  ok(local('one'), `${id}:/tmp/renamed`);
  ok(local('one'), `${id}:/tmp/`);
  assert.equal(await sh('cat /tmp/renamed /tmp/one'), 'oneone');
  writeFileSync(local('two'), 'two');
  await sh('ln -s /etc/passwd /tmp/points');
  ok(local('two'), `${id}:/tmp/points`);
  assert.equal(await sh('cat /tmp/points; head -c 4 /etc/passwd'), 'tworoot');
  await sh('ln -s /etc/passwd /tmp/again');
  ok(`${id}:/tmp/again`, local('again'));
  assert.equal(readlinkSync(local('again')), '/etc/passwd');
  ok(`${id}:/tmp/one`, localDirectory);
  ok(`${id}:/tmp/renamed`, local('two'));
  assert.equal(readFileSync(local('two'), 'utf8'), 'one');
});

test('no path escapes the container: symlinks and .. are resolved in its root', async () => {
  writeFileSync(local('marker'), 'the node’s own');
  const outside = join(localDirectory, 'marker');
  await sh(
    `ln -s / /tmp/root; ln -s ${localDirectory} /tmp/place; mkdir -p /tmp/in; ln -s ../../../../../../../../.. /tmp/up`,
  );
  fails(/ENOENT/, `${id}:${outside}`, local('x'));
  fails(/ENOENT/, `${id}:/tmp/place/marker`, local('x'));
  fails(/ENOENT/, `${id}:/../../../..${outside}`, local('x'));
  fails(/ENOENT/, `${id}:/tmp/up${outside}`, local('x'));
  fails(/ELOOP/, `${id}:/proc/1/root/etc/passwd`, local('x'));
  fails(/ENOENT/, local('marker'), `${id}:/tmp/place/written`);
  fails(/ENOENT/, local('marker'), `${id}:${localDirectory}/written`);
  ok(local('marker'), `${id}:/tmp/root/etc/written`);
  assert.equal(await sh('cat /etc/written'), 'the node’s own');
  assert.deepEqual(
    [existsSync(join(localDirectory, 'written')), existsSync('/etc/written'), existsSync(local('x'))],
    [false, false, false],
  );
});

/** Sends a raw archive. */
async function put(path: string, archive: Buffer): Promise<string> {
  const client = connect(join(node.settings.directory, 'state/admin.sock'));
  client.write(
    `PUT /v1/containers/${id}/files?path=${encodeURIComponent(path)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${archive.length}\r\n\r\n`,
  );
  client.write(archive);
  let text = '';
  for await (const piece of client) text += piece;
  return text;
}

test('hostile and truncated archives write nothing outside, and no partial file', async () => {
  await sh('mkdir /tmp/h; ln -s /etc /tmp/h/etc');
  const content = 'x';
  for (const [entries, text] of [
    [[{ name: '../../evil', content }], /must be relative/],
    [[{ name: '/evil', content }], /must be relative/],
    [
      [
        { name: 'a', content },
        { name: 'b', content },
      ],
      /more than one top entry/,
    ],
    [
      [{ name: 'd/' }, { name: 'd/l', type: 'symlink', link: '/etc' }, { name: 'd/l/evil', content }],
      /ELOOP/,
    ],
    [[{ name: 'etc/evil', content }], /ELOOP/],
    [[{ name: 'p', type: 'fifo' }], /fifo/],
    [[{ name: 'h', type: 'hardlink', link: 'etc/passwd' }], /hardlink/],
  ] as const) {
    const reply = await put('/tmp/h', makeTar(entries));
    assert.match(reply, /^HTTP\/1.1 (400|500|501)/);
    assert.match(reply, text);
  }
  const whole = makeTar([{ name: 'big', content: Buffer.alloc(100_000, 'b') }]);
  assert.match(await put('/tmp/h', whole.subarray(0, 50_000)), /ends within an entry/);
  assert.match(await put('/tmp/h', whole.subarray(0, whole.length - 1024)), /is truncated/);
  assert.equal(await sh('find / -xdev -name "*evil*"; find / -xdev -name ".crisp*"'), '');
  assert.ok(!existsSync('/evil') && !existsSync('/etc/evil'));
});

test('symlinks swapped while a tree is read never escape the container', async () => {
  writeFileSync(local('secret'), 'SECRET of the node');
  mkdirSync(local('secrets'));
  writeFileSync(join(local('secrets'), 'file'), 'SECRET of the node');
  // In the container the name is by turns a directory with a harmless file and a link to the node's path.
  const swap = `mkdir -p /tmp/s/a /tmp/s/b; echo fine > /tmp/s/a/file; ln -s ${local('secrets')} /tmp/s/l; cd /tmp/s; \
    while :; do mv a x; mv l a; mv a l; mv x a; done`;
  const swapper = await node.run(pod, { command: ['sh', '-c', swap] });
  await until('it swaps', async () => (await node.exec(swapper, ['test', '-e', '/tmp/s'])).code === 0);
  for (let n = 0; n < 3; n++) {
    const out = local(`swapped-${n}`);
    cp(`${swapper}:/tmp/s`, out);
    cp(`${swapper}:/tmp/s/a/file`, `${out}-file`);
    const text = spawnSync(
      'grep',
      ['-r', 'SECRET', localDirectory, '--include=swapped*', '--include=file', '--exclude-dir=secrets'],
      { encoding: 'utf8' },
    ).stdout;
    assert.equal(text, '');
  }
  await node.remove(swapper);
});

test('missing files and containers that are not running are errors', async () => {
  fails(/open \/no\/such in the container: ENOENT/, `${id}:/no/such`, local('x'));
  fails(/no running container matches "none"/, 'none:/etc', local('x'));
  fails(/one of the two must be/, local('one'), local('x'));
  fails(/one of the two must be/, 'web:/a', 'web:/b');
  fails(/no-such.*ENOENT/, local('no-such'), `${id}:/tmp`);
  fails(/does not end in a name/, `${id}:/`, local('x'));
  fails(/device, a pipe or a socket/, `${id}:/dev/null`, local('x'));
  fails(/open directory \/nowhere\/ in the container: ENOENT/, local('one'), `${id}:/nowhere/x`);
  fails(/exists: move it away/, `${id}:/tmp/tree`, local(''));
  assert.deepEqual([existsSync(local('x')), hidden()], [false, []]);
  const second = await node.run(pod);
  fails(/matches several containers/, 'web:/etc/passwd', local('x'));
  await node.stop(second, 0);
  fails(/no running container/, `${second}:/etc/passwd`, local('x'));
  await node.remove(second);
  const readonly = await node.run(pod, { security: { readonlyRootfs: true } });
  fails(/EROFS/, local('one'), `${readonly}:/etc`);
  await node.remove(readonly);
});

test('only root may connect', async () => {
  const script = `require('net').connect(${JSON.stringify(join(node.settings.directory, 'state/admin.sock'))}).on('error', (e) => console.log(e.code))`;
  const child = spawn(process.execPath, ['-e', script], { uid: 65534, gid: 65534, cwd: '/' });
  let text = '';
  child.stdout.on('data', (piece) => {
    text += piece;
  });
  await once(child, 'close');
  assert.match(text, /EACCES/);
  assert.equal(lstatSync(join(node.settings.directory, 'state/admin.sock')).uid, 0);
});

endsClean(node);
