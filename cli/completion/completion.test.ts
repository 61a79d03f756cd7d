/** The scripts in the real shells, with a program in place of crisp that has two of everything. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { configReference } from '#config/index.ts';
import { commandTree } from '../command-tree.ts';
import { commands } from '../commands.ts';
import { completionScript } from '../completion.ts';
import { main } from '../main.ts';
import { candidatesOf, NONE, positionsOf } from './candidates.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-completion-'));
after(() => rmSync(directory, { recursive: true }));
const files = join(directory, 'files');
mkdirSync(join(files, 'sub'), { recursive: true });
writeFileSync(join(files, 'pod.json'), '');
const program = join(directory, 'crisp');
writeFileSync(
  program,
  `#!/bin/sh
echo "$*" >>'${directory}/calls'
case "$3" in
  images) printf 'example.org:5000/busybox:1\\tx\\nexample.org:5000/busybox:latest\\ty\\n' ;;
  *) printf '%s-1\\tns/a\\n%s-2\\tns/b: c\\n' "$3" "$3" ;;
esac
`,
);
chmodSync(program, 0o755);
const script = (shell: string): string => join(directory, shell === 'zsh' ? '_crisp' : `crisp.${shell}`);
for (const shell of ['bash', 'zsh', 'fish'])
  writeFileSync(script(shell), await completionScript(shell, commands));

const environment = {
  ...process.env,
  HOME: directory,
  PATH: `${directory}:${process.env['PATH']}`,
  LC_ALL: 'C.UTF-8',
};
const literal = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Runs a shell's text in the directory with files; what it prints, by lines. */
function runShell(shell: string, args: readonly string[], text: string): string[] {
  const { status, stdout, stderr, error } = spawnSync(shell, [...args, '-c', text], {
    cwd: files,
    env: environment,
    encoding: 'utf8',
  });
  if (error) throw error;
  assert.deepEqual([stderr, status], ['', 0], text);
  return stdout.split('\n').filter((line) => line !== '');
}

/** bash splits the line at = and : as well, which COMP_WORDS has here, too. */
function inBash(line: string): string[] {
  const words = line.split(/\s+|(?<=[=:])|(?=[=:])/);
  return runShell(
    'bash',
    ['--norc', '--noprofile'],
    `source ${literal(script('bash'))}
COMP_LINE=${literal(line)} COMP_POINT=${line.length} COMP_WORDS=(${words.map(literal).join(' ')}) COMP_CWORD=${words.length - 1}
_crisp crisp && printf '%s\\n' "\${COMPREPLY[@]}"`,
  );
}

/** Functions in place of those of zsh's line editor print the candidates; it would choose those that match. */
function inZsh(line: string): string[] {
  const words = line.split(/\s+/);
  const last = words.at(-1) ?? '';
  const all = runShell(
    'zsh',
    ['-f'],
    `compdef() { }
compadd() { shift; print -lr -- "$@" }
compset() { }
_files() { print -lr -- *(N) }
_describe() { [[ $1 == -o ]] && shift; for one in "\${(@P)2}"; do one=\${one//\\\\:/@colon@}; print -r -- "\${\${one%%:*}//@colon@/:}"; done }
source ${literal(script('zsh'))}
words=(${words.map(literal).join(' ')}) CURRENT=${words.length}
_crisp || true`,
  );
  const typed = last.startsWith('--') && last.includes('=') ? last.slice(last.indexOf('=') + 1) : last;
  return all.filter((one) => one.startsWith(typed));
}

const inFish = (line: string): string[] =>
  runShell('fish', ['--no-config'], `source ${literal(script('fish'))}; complete -C ${literal(line)}`).map(
    (one) => one.replace(/\t.*/, ''),
  );

const images = ['example.org:5000/busybox:1', 'example.org:5000/busybox:latest'];
/** What a line that ends at the cursor is completed by. */
const CASES: readonly (readonly [line: string, candidates: readonly string[]])[] = [
  ['crisp st', ['status']],
  ['crisp ctl po', ['pods', 'port-forward']],
  ['crisp ctl --runtime-endpoint /x rm', ['rm', 'rmi', 'rmp']],
  ['crisp config ', ['import']],
  ['crisp config import ', ['containerd', 'crio']],
  ['crisp config --log-l', ['--log-level']],
  ['crisp serve --log-level ', ['debug', 'error', 'info', 'warn']],
  ['crisp status --seccomp-default-profile ', ['pod.json', 'sub']],
  ['crisp ctl ps -o ', ['json', 'table', 'yaml']],
  ['crisp ctl -t 5s ps --sta', ['--state']],
  ['crisp ctl img --dig', ['--digests']],
  ['crisp ctl stop -t 3 ', ['containers-1', 'containers-2']],
  ['crisp ctl stop containers-1 containers-', ['containers-1', 'containers-2']],
  ['crisp ctl ps --pod ', ['pods-1', 'pods-2']],
  ['crisp ctl cp ', ['containers-1', 'containers-2', 'pod.json', 'pods-1', 'pods-2', 'sub']],
  ['crisp ctl create pods-1 po', ['pod.json']],
  ['crisp ctl inspecti ', images],
  ['crisp ctl port-forward pods-1 ', []],
  ['crisp ctl exec containers-1 ls -', []],
  ['crisp ctl run -- ', [...images, 'pod.json', 'sub'].sort()],
  ['crisp trace pods-', ['pods-1', 'pods-2']],
  ['crisp image import ', ['pod.json', 'sub']],
  ['crisp image export -o po', ['pod.json']],
  ['crisp help stat', ['status']],
  ['crisp ctl help stat', ['stats', 'statsp']],
  ['crisp completion ', ['bash', 'fish', 'zsh']],
  ['crisp completion --list p', ['pods']],
  ['crisp version x', []],
  ['crisp unknown ', []],
];
const SHELLS: readonly (readonly [shell: string, complete: (line: string) => string[]])[] = [
  ['bash', inBash],
  ['zsh', inZsh],
  ['fish', inFish],
];

/** Why the shell is not tried here; false where it is. */
function absence(shell: string): string | false {
  return spawnSync(shell, ['-c', 'true']).error ? `${shell} is not installed` : false;
}

for (const [shell, complete] of SHELLS) {
  const absent = absence(shell);
  if (absent) console.log(`# SKIPPED: completions are not tried in ${shell}: ${absent}`);
  test(`${shell} completes`, { skip: absent }, () => {
    for (const [line, candidates] of CASES) {
      const found = complete(line).map((one) => one.replace(/\/$/, ''));
      assert.deepEqual(found.sort(), candidates, line);
    }
    assert.deepEqual(complete('crisp ').sort(), ['help', ...topCommands()].sort());
  });
}

const topCommands = (): string[] => commands.map(({ name }) => name).filter((name) => !name.includes(' '));

test('bash replaces only what it has split from a value or from the name of an image', () => {
  assert.deepEqual(inBash('crisp serve --log-level=w'), ['warn']);
  assert.deepEqual(
    inBash('crisp ctl rmi example.org:5000/busybox:l'),
    ['5000/busybox:latest'].map((one) => one.slice(-6)),
  );
});

test('fish completes a value behind =', { skip: absence('fish') }, () => {
  assert.deepEqual(inFish('crisp serve --log-level=w'), ['--log-level=warn']);
});

test('zsh finds the script as a completion function', { skip: absence('zsh') }, () => {
  const text = `fpath=(${literal(directory)} $fpath); autoload -U compinit; compinit -u -D; print $_comps[crisp]`;
  assert.deepEqual(runShell('zsh', ['-f'], text), ['_crisp']);
});

test('the endpoint of the line is that which is asked', () => {
  inBash('crisp ctl -r /x.sock stop ');
  const { stdout } = spawnSync('tail', ['-n', '1', join(directory, 'calls')], { encoding: 'utf8' });
  assert.equal(stdout, 'completion --list containers -r /x.sock\n');
});

test('every command, flag and option of the configuration is in each script', async () => {
  const tree = await commandTree(commands);
  const flags = [
    ...tree.flatMap(({ command }) => Object.keys(command.flags)),
    ...configReference().flatMap(({ options }) => options.flatMap(({ flag }) => flag ?? [])),
  ];
  assert.ok(flags.includes('cni-timeout'));
  for (const shell of ['bash', 'zsh', 'fish']) {
    const text = await completionScript(shell, commands);
    for (const { name } of tree) assert.ok(text.includes(`'${name}'`), `${shell}: ${name}`);
    for (const flag of flags) assert.match(text, new RegExp(`--${flag}\\b`), `${shell}: --${flag}`);
  }
});

test('without a daemon there is nothing, and no error; other shells are refused', async () => {
  let out = '';
  const terminal = {
    out: (text: string | Uint8Array) => {
      out += text;
    },
    err: () => assert.fail('an error is printed'),
    interactive: false,
  };
  const run = (...words: string[]) =>
    main(['completion', ...words], { terminal, signal: AbortSignal.any([]) });
  assert.equal(await run('--list', 'pods', '-r', join(directory, 'none.sock')), 0);
  assert.equal(out, '');
  await assert.rejects(run('csh'), /'csh' is not one of bash, zsh, fish/);
  for (const words of [[], ['bash', '--list', 'pods']]) await assert.rejects(run(...words), /name a shell/);
  await assert.rejects(run('--list', 'nodes'), /--list must be one of containers, pods, images/);
});

test('placeholders name what is completed', () => {
  assert.deepEqual(candidatesOf('text|json'), { ...NONE, words: ['text', 'json'] });
  assert.deepEqual(candidatesOf('FILE|-'), { ...NONE, files: true });
  assert.deepEqual(candidatesOf('[CONTAINER...]'), { ...NONE, objects: ['containers'] });
  assert.deepEqual(candidatesOf('POD-or-CONTAINER:PATH').objects, ['pods', 'containers']);
  for (const free of ['KEY=VALUE', 'SECONDS', 'HOST:CONTAINER[:ro]', '[ARG...]'])
    assert.deepEqual(candidatesOf(free), NONE, free);
  const usage = '[-i] [--output json] IMAGE [IMAGE...] --export FILE';
  const { places, repeats } = positionsOf({ usage, arity: [1, Infinity] });
  assert.deepEqual([places.map(({ objects }) => objects), repeats], [[['images'], ['images']], true]);
  assert.deepEqual(positionsOf({ usage: '[--images [--repair]] [OPTION...]', arity: [0, 0] }).places, []);
});
