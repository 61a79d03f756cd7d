/** The tarball of `npm run dist`: the same bytes twice, and a node that runs on it without this repository. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { POD, TestNode } from '../harness/pods.ts';

const PROJECT = join(import.meta.dirname, '../..');
const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'dist-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const build = (output: string): string =>
  run(process.execPath, join(PROJECT, 'deploy/dist/main.ts'), '--output', join(directory, output)).trim();
const hash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

const tarball = build('one');
const elsewhere = join(directory, 'opt');
mkdirSync(elsewhere);
run('tar', 'xzf', tarball, '-C', elsewhere);
const [installed = ''] = globSync(`${elsewhere}/crisp-*`);
/** Runs its words where the repository is covered by an empty directory. */
const COVERED = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c'];
const cover = `mount -t tmpfs -o ro tmpfs '${PROJECT}' && cd /`;

test('the same input gives the same bytes', () => {
  assert.equal(hash(build('two')), hash(tarball));
});

test('all of it is of root, and nobody else may write to it', () => {
  const lines = run('tar', 'tvzf', tarball).trim().split('\n');
  assert.ok(lines.length > 20);
  assert.deepEqual(
    lines.filter((line) => !/^(d|-)rw[x-]r-[x-]r-[x-] 0\/0 .* crisp-/.test(line)),
    [],
  );
});

test('nothing in it names the repository', () => {
  const files = globSync(`${installed}/**/*.{js,json}`).concat(join(installed, 'bin/crisp'));
  assert.ok(files.length > 5);
  assert.deepEqual(
    files.filter((file) => readFileSync(file, 'utf8').includes(PROJECT)),
    [],
  );
});

test('the command line runs from a link and without the repository', () => {
  const script = `${cover} && ln -s '${installed}/bin/crisp' '${directory}/crisp' && '${directory}/crisp' version`;
  const [command = '', ...args] = [...COVERED, script];
  assert.match(run(command, ...args), /^crisp \d+\.\d+\.\d+ \(node v24\./);
});

test('a daemon of it pulls, makes a pod with a network, runs a container, and takes all away', async () => {
  // What the tests' own start would run is replaced: the first two words are Node and the repository's main.ts.
  const wrapper = [...COVERED, `${cover} && shift 2 && exec '${installed}/bin/crisp' "$@"`, 'sh'];
  await using node = await TestNode.start('dist', {
    wrapper,
    environment: { NODE_COMPILE_CACHE: join(directory, 'cache'), NODE_OPTIONS: '' },
  });
  const pod = await node.runPod({}, { network: POD });
  assert.equal((await node.output(pod, ['echo', 'hello'])).out, 'hello');
  assert.match(readFileSync(`/proc/${node.daemon.pid}/maps`, 'utf8'), new RegExp(`${installed}/lib/node`));
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  assert.deepEqual((await node.client.ListPodSandbox({})).items, []);
});
