/** The tarball of `npm run dist`: reproducible, and a daemon from it runs without this repository. */
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
/** Runs a command while an empty directory is mounted over the repository. */
const COVERED = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c'];
const cover = `mount -t tmpfs -o ro tmpfs '${PROJECT}' && cd /`;

test('the same input gives the same bytes', () => {
  assert.equal(hash(build('two')), hash(tarball));
});

test('all files are owned by root, and only root may write to them', () => {
  const lines = run('tar', 'tvzf', tarball).trim().split('\n');
  assert.ok(lines.length > 20);
  assert.deepEqual(
    lines.filter((line) => !/^(d|-)rw[x-]r-[x-]r-[x-] 0\/0 .* crisp-/.test(line)),
    [],
  );
});

test('no file contains the path of the repository', () => {
  const files = globSync(`${installed}/**/*.{js,json}`).concat(join(installed, 'bin/crisp'));
  assert.ok(files.length > 5);
  assert.deepEqual(
    files.filter((file) => readFileSync(file, 'utf8').includes(PROJECT)),
    [],
  );
});

test('the command line runs from a symlink and without the repository', () => {
  const script = `${cover} && ln -s '${installed}/bin/crisp' '${directory}/crisp' && '${directory}/crisp' version`;
  const [command = '', ...args] = [...COVERED, script];
  assert.match(run(command, ...args), /^crisp \d+\.\d+\.\d+ \(node v24\./);
});

test('a daemon from it pulls, runs a pod with a network and a container, and removes all', async () => {
  // Replaces the command of the test harness: its first two arguments are Node and the repository's main.ts.
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
