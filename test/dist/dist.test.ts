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

/** Directories of an empty Debian in place of those of this machine, and an installation in them. */
const ON_A_NODE = `
mkdir -p '${directory}/local' && mount --bind '${directory}/local' /usr/local
for place in /etc /run /var/lib /var/cache; do mount -t tmpfs tmpfs $place; done
mkdir -p /usr/local/bin /usr/local/lib /usr/local/share/man /etc/systemd/system/multi-user.target.wants
all() { find /etc /run /usr/local /var/lib /var/cache | sort; }
all >'${directory}/before'
'${installed}/install' >/dev/null`;

test('an installation has manual pages and completions; its removal leaves nothing', () => {
  const script = `${ON_A_NODE} && '${installed}/install' >/dev/null && cd /usr/local/share
    for file in man/man8/crisp.8 man/man5/crisp.toml.5; do test -s $file && find $PWD/$file; done
    bash -c 'source bash-completion/completions/crisp; complete -p crisp'
    head -n 1 zsh/site-functions/_crisp; grep '^complete' fish/vendor_completions.d/crisp.fish
    /usr/local/lib/crisp/current/install --remove --purge >/dev/null
    all | diff '${directory}/before' - >&2
    page=/usr/local/share/man/man8/crisp.8
    mkdir -p \${page%/*} && echo "somebody else's" >$page
    '${installed}/install' >/dev/null && /usr/local/lib/crisp/current/install --remove --purge >/dev/null
    cat $page`;
  const [command = '', ...args] = [...COVERED, `set -e; ${script}`];
  assert.deepEqual(
    run(command, ...args)
      .trim()
      .split('\n'),
    [
      '/usr/local/share/man/man8/crisp.8',
      '/usr/local/share/man/man5/crisp.toml.5',
      'complete -F _crisp crisp',
      '#compdef crisp',
      "complete -c crisp -f -a '(__crisp)'",
      "somebody else's",
    ],
  );
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
