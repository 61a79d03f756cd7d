import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { CrispError } from '#core/errors.ts';
import { Collected } from '#test/fixtures/terminal.ts';
import { UsageError } from '../command.ts';
import { main } from '../main.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-import-'));
after(() => rmSync(directory, { recursive: true }));

let files = 0;
function write(text: string, name = `${files++}/config.toml`): string {
  const file = join(directory, name);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
  return file;
}

async function run(...words: string[]): Promise<string> {
  const collected = new Collected();
  const { terminal } = collected;
  assert.equal(await main(['config', 'import', ...words], { terminal, signal: AbortSignal.abort() }), 0);
  return collected.out;
}

/** The settings and comments without those at the end. */
const settings = async (peer: string, text: string): Promise<string> => {
  const output = await run(peer, write(text));
  return output.split('# ---')[0]?.split('\n\n').slice(1).join('\n\n').trimEnd() ?? '';
};

async function refused(code: typeof CrispError, pattern: RegExp, ...words: string[]): Promise<void> {
  await assert.rejects(run(...words), (error) => {
    assert.ok(error instanceof code);
    assert.match(error.message, pattern);
    return true;
  });
}

test('the command has help, and refuses what is not a peer', async () => {
  assert.match(await run('--help'), /Usage: crisp config import crio\|containerd \[FILE\.\.\.\]/);
  await refused(UsageError, /'docker' is not crio or containerd/, 'docker');
  await refused(UsageError, /'__proto__' is not crio/, '__proto__');
  await refused(UsageError, /too few arguments/);
  await refused(
    UsageError,
    /--output must be one of toml, json, not 'yaml'/,
    'crio',
    '-o',
    'yaml',
    write(''),
  );
});

test('wrong files are refused with file and line, and nothing is printed', async () => {
  await refused(CrispError, /none: cannot be read \(ENOENT\)/, 'crio', join(directory, 'none'));
  await refused(CrispError, /config\.toml:2: not TOML/, 'crio', write('[crio]\nroot = /x'));
  await refused(
    CrispError,
    /config\.toml:2: crio\.root must be a string, not 3/,
    'crio',
    write('[crio]\nroot = 3'),
  );
  await refused(CrispError, /config\.toml:1: not a configuration of CRI-O/, 'crio', write('version = 2'));
  await refused(CrispError, /x\.json:3: not JSON/, 'crio', write('{\n"default": [],\n]}', 'x.json'));
  await refused(CrispError, /config\.toml:1: version must be 2, 3 or 4/, 'containerd', write('version = 9'));
  await refused(
    CrispError,
    /config\.toml:1: version 1 of the format/,
    'containerd',
    write('[plugins.cri]\nx = 1'),
  );
  await refused(CrispError, /gone\.toml: cannot be read/, 'containerd', write('imports = ["gone.toml"]'));
  await refused(
    CrispError,
    /config\.toml:2: imports must be a list/,
    'containerd',
    write('version = 2\nimports = "x"'),
  );
  const types = '[grpc]\nuid = "0"\n[debug]\nlevel = 1';
  await refused(
    CrispError,
    /:2: grpc\.uid must be a whole number, not "0"\n.*:4: debug\.level/,
    'containerd',
    write(types),
  );
});

test('a setting has the key, the value and the line that it comes from', async () => {
  const output = await settings('crio', '[crio.runtime]\n\nlog_level = "trace"');
  assert.match(
    output,
    /^\[log\]\n# crio\.runtime\.log_level = "trace" \(\S+config\.toml:3\): the nearest level of crisp is debug\nlevel = "debug"$/,
  );
});

test('annotations of CRI-O: what crisp acts upon or passes is allowed, for the others it is said what is in their place', async () => {
  const list = (...names: string[]) =>
    `[crio.runtime.runtimes.crun]\nallowed_annotations = ${JSON.stringify(names)}`;
  const output = await run(
    'crio',
    write(
      list(
        'shm-size.crio.io',
        'umask.crio.io',
        'io.containers.trace-syscall',
        'example.com/',
        'devices.crio.io',
      ),
    ),
  );
  assert.match(
    output,
    /\nallowed_annotations = \["shm-size\.crio\.io", "io\.containers\.trace-syscall", "example\.com\/"\]\n/,
  );
  assert.match(output, /umask\.crio\.io: umask in the command/);
  assert.match(output, /devices\.crio\.io: container\.allowed_devices: /);
  const none = await run('crio', write(list('irq-load-balancing.crio.io', 'run.oci.')));
  assert.match(none, /# Nothing is to be set\.\n/);
  assert.match(none, /irq-load-balancing\.crio\.io: crisp does not change .*run\.oci\.: never passed/);
  const all = await run('crio', write(list('io.kubernetes.cri-o.')));
  assert.match(all, /\nallowed_annotations = \["io\.kubernetes\.cri-o\."\]\n/);
  assert.match(all, /userns-mode\.crio\.io: hostUsers: false/);
});

test('AppArmor: switched off by either peer is unconfined, the default is that of crisp', async () => {
  const off = /\[container\]\n# [^\n]+\napparmor_profile = "unconfined"$/;
  assert.match(await settings('crio', '[crio.runtime]\napparmor_profile = "unconfined"'), off);
  const runtime = 'plugins."io.containerd.cri.v1.runtime"';
  assert.match(await settings('containerd', `${runtime}.disable_apparmor = true`), off);
  for (const text of [
    await run('crio', write('[crio.runtime]\napparmor_profile = "crio-default"')),
    await run('containerd', write(`${runtime}.disable_apparmor = false`)),
  ])
    assert.match(text, /# Nothing is to be set\.\n/);
});

test('a value that crisp does not take is not set, with the reason', async () => {
  const output = await run(
    'containerd',
    write('plugins."io.containerd.cri.v1.images".max_concurrent_downloads = 40'),
  );
  assert.match(output, /# Nothing is to be set\.\n/);
  assert.match(output, /= 40 \(.*\): crisp's image\.concurrent_layers must be a whole number from 1 to 16\n/);
});

test('one option of crisp for two values of the peer: the first counts, the second is named', async () => {
  const output = await run(
    'crio',
    write('[crio.runtime]\nconmon = "/a"\n[crio.runtime.runtimes.crun]\nmonitor_path = "/b"'),
  );
  assert.match(output, /\[conmon\]\n# .*\npath = "\/a"\n/);
  assert.match(
    output,
    /monitor_path = "\/b" .*: crisp has one conmon\.path, which \S+:2 has set to another value\n/,
  );
});

test('imports of containerd: later values count, but empty ones and lists outside of plugins', async () => {
  const main = write(
    'version = 3\nimports = ["b.toml"]\ndisabled_plugins = ["a.b"]\n[debug]\nlevel = "warn"',
    'm/a.toml',
  );
  write('version = 3\ndisabled_plugins = ["c.d"]\n[debug]\nlevel = ""\nformat = "text"', 'm/b.toml');
  const output = await run('containerd', main);
  assert.match(output, /\nlevel = "warn"\n/);
  assert.match(output, /debug\.level = "" .*: an empty value does not replace that of \S+a\.toml:5\n/);
  assert.match(output, /disabled_plugins = \["a\.b"\][^\n]*: there are no plugins\n/);
  assert.match(output, /disabled_plugins = \["c\.d"\][^\n]*: there are no plugins\n/);
});

test('files of containerd that import each other are read once', async () => {
  const main = write('imports = ["two.toml", "*.toml"]', 'ring/one.toml');
  write('imports = ["one.toml"]', 'ring/two.toml');
  assert.match(await run('containerd', main), /containerd: \S+one\.toml, \S+two\.toml\n# 2 keys/);
});

test('names, values and files cannot leave their comment', async () => {
  const file = write(
    '[crio.runtime]\n"a\\nlevel = \\"x\\"" = "b\\nc"\n"https://u:hunter2@h" = "x\\u007f"',
    'a\nb.conf',
  );
  const output = await run('crio', file);
  assert.doesNotMatch(output, /^(?!#|$)/m);
  assert.doesNotMatch(output, /hunter2/);
  assert.match(output, /a\\x0ab\.conf/);
});

test('what may be a misspelt secret is not shown', async () => {
  const certs = join(directory, 'certs.d');
  const typo = '[host."https://m.example".headers]\nAuthorization = "Bearer HIDDEN1"\n';
  const nested = '[host."https://n.example".header]\nAuthorization = { x = "HIDDEN2" }\n';
  write(`server = "https://docker.io"\n${typo}${nested}`, 'certs.d/docker.io/hosts.toml');
  const path = `[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "${certs}"\n`;
  const file = write(`version = 3\n${path}`);
  for (const output of [await run('containerd', file), await run('containerd', '-o', 'json', file)]) {
    assert.match(output, /Authorization/);
    assert.doesNotMatch(output, /HIDDEN/);
  }
});

test('tables that are nested without end are refused with their line', async () => {
  const deep = `version = 2\n${Array.from({ length: 20_000 }, () => 'a').join('.')} = 1\n`;
  await refused(CrispError, /config\.toml:2: tables are nested too deeply/, 'containerd', write(deep));
});
