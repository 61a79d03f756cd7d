import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import fc from 'fast-check';
import { parse, stringify } from 'smol-toml';
import { CrispError } from '#core/errors.ts';
import { joinPath, locateKeys } from '#core/toml/locate.ts';
import { configDocument, describeConfig, loadConfig, overridesOf } from './index.ts';
import { distance, nearest } from './nearest.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-config-'));
after(() => rmSync(directory, { recursive: true }));

let files = 0;
const write = (text: string, name = `${files++}.toml`): string => {
  const file = join(directory, name);
  writeFileSync(file, text);
  return file;
};

const load = (text: string, flags: Record<string, string[]> = {}) =>
  loadConfig({ files: [write(text)], flags });

async function problems(text: string, flags: Record<string, string[]> = {}): Promise<string[]> {
  const error = await load(text, flags).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CrispError && error.code === 'InvalidArgument', `no error for ${text}`);
  return error.message.split('\n').map((line) => line.replace(/^\S*\/\d+\.toml/, 'FILE'));
}

test('without files the defaults apply', async () => {
  const { config } = await loadConfig({
    files: [join(directory, 'missing.toml')],
    dropIns: [join(directory, 'missing.d')],
  });
  assert.equal(config.socket, '/run/crisp/crisp.sock');
  assert.equal(config.socketMode, 0o660);
  assert.equal(config.log.level, 'info');
  assert.deepEqual(config.cni.binDirs, ['/opt/cni/bin', '/usr/lib/cni']);
  assert.equal(config.cni.timeout, 90_000);
  assert.equal(config.image.maxLayerSize, 64 * 2 ** 30);
  assert.deepEqual({ ...config.container.rlimits }, { nofile: '1024:524288' });
  assert.deepEqual(Object.keys(config.runtime.handlers), []);
});

test('a URL with a login is refused, and the login is in no message', async () => {
  const [refused] = await problems('[tracing]\nendpoint = "https://user:hu/sh@collector:4318/x"');
  assert.match(refused ?? '', /^FILE:2: tracing\.endpoint must be a URL without user and password/);
  assert.match(refused ?? '', /not "https:\/\/\*\*\*@collector:4318\/x"$/);
  for (const wrong of ['http://h:99999', 'http://', 'ftp://h', 'http://h x', 'h:4318', 'http://user@h'])
    assert.equal((await problems(`[tracing]\nendpoint = "${wrong}"`)).length, 1, wrong);
  for (const right of ['', 'http://127.0.0.1:4318', 'https://h/a?b=c@d', 'http://[::1]:4318/'])
    assert.equal((await load(`[tracing]\nendpoint = "${right}"`)).config.tracing.endpoint, right);
});

test('root and state are expanded in the defaults of other paths, not in values that the user set', async () => {
  const { config } = await load('state = "/tmp/s"\n[cni]\nconf_dir = "/{state}/x"', { root: ['/tmp/r'] });
  assert.equal(config.socket, '/tmp/s/crisp.sock');
  assert.equal(config.cni.confDir, '/{state}/x');
});

test('later files override earlier ones, tables merge, flags override files', async () => {
  const dropIns = join(directory, 'drop.d');
  mkdirSync(dropIns);
  const main = write(
    '[log]\nlevel = "debug"\nformat = "text"\n[runtime.handlers.a]\npath = "/a"\n[image]\npinned = ["x", "y"]',
  );
  write(
    '[log]\nlevel = "warn"\n[runtime.handlers.a]\nsandbox = "runtime"\n[runtime.handlers.b]',
    'drop.d/20-b.toml',
  );
  write(
    '[log]\nlevel = "error"\n[image]\npinned = ["z"]\n[container.rlimits]\nnproc = "10"',
    'drop.d/10-a.toml',
  );
  write('nonsense', 'drop.d/ignored.conf');
  const flags = {
    'image-pull-stall-timeout': ['5m'],
    'cni-bin-dirs': ['/p,/q', '/r'],
  };
  const { config, files: read } = await loadConfig({ files: [main], dropIns: [dropIns], flags });
  assert.equal(config.log.level, 'warn');
  assert.equal(config.log.format, 'text');
  assert.deepEqual(config.image.pinned, ['z']);
  assert.equal(config.runtime.handlers['a']?.path, '/a');
  assert.equal(config.runtime.handlers['a']?.sandbox, 'runtime');
  assert.equal(config.runtime.handlers['b']?.sandbox, 'pause');
  assert.deepEqual({ ...config.container.rlimits }, { nofile: '1024:524288', nproc: '10' });
  assert.equal(config.image.pullStallTimeout, 300_000);
  assert.deepEqual(config.cni.binDirs, ['/p', '/q', '/r']);
  assert.deepEqual(read.map((file) => file.slice(directory.length + 1)).slice(1), [
    'drop.d/10-a.toml',
    'drop.d/20-b.toml',
  ]);
});

test('what a later file or a flag overrides is known by its places; equal values are no conflict', async () => {
  const dropIns = join(directory, 'conflict.d');
  mkdirSync(dropIns);
  const main = write('[log]\nlevel = "debug"\nformat = "text"\n[runtime.handlers.a]\npath = "/a"');
  const [one, two] = ['10-one.toml', '20-two.toml'].map((name) => join(dropIns, name));
  write(
    '[log]\nlevel = "warn"\nformat = "text"\n[runtime.handlers.a]\npath = "/b"',
    'conflict.d/10-one.toml',
  );
  write('[runtime.handlers.a]\nsandbox = "pause"\n[log]\nlevel = "debug"', 'conflict.d/20-two.toml');
  const loaded = await loadConfig({
    files: [main],
    dropIns: [dropIns],
    flags: { 'log-format': ['json'] },
  });
  assert.deepEqual(overridesOf(loaded), [
    { key: 'log.level', origin: `${two}:4`, overrides: [`${one}:2`] },
    { key: 'log.format', origin: '--log-format', overrides: [`${main}:3`, `${one}:3`] },
    { key: 'runtime.handlers.a.path', origin: `${one}:5`, overrides: [`${main}:5`] },
  ]);
  assert.ok(describeConfig(loaded).includes(`set by ${two}:4; overrides ${one}:2)\nlevel = "debug"`));
  const shown = configDocument(loaded).options;
  const of = (key: string) => shown.find((option) => option.key === key)?.overrides;
  assert.deepEqual([of('log.level'), of('root')], [[`${one}:2`], []]);
});

test('a typo is refused with its line and the closest name', async () => {
  assert.deepEqual(await problems('# x\n[log]\n\nlevle = "info"\n'), [
    'FILE:4: unknown option log.levle (did you mean log.level?)',
  ]);
  assert.deepEqual(await problems('[metric]\naddress = ""'), [
    'FILE:1: unknown option metric (did you mean metrics?)',
  ]);
  assert.match(
    (await problems('[log]\nzzzzzzzz = 1'))[0] ?? '',
    /^FILE:2: unknown option log.zzzzzzzz \(known: level, format\)$/,
  );
  assert.deepEqual(await problems('', { 'log-lvel': ['info'] }), [
    'unknown flag --log-lvel (did you mean --log-level?)',
  ]);
  assert.match(
    (await problems('runtime.handlers.x.pth = "a"'))[0] ?? '',
    /^FILE:1: .*did you mean runtime.handlers.x.path\?/,
  );
});

test('wrong types and ranges are refused, all in one error', async () => {
  const text = [
    'root = "relative"',
    'socket_mode = 660',
    '[log]',
    'level = "loud"',
    '[cni]',
    'timeout = "0s"',
    'bin_dirs = ["/a", 3]',
    '[image]',
    'unpack_workers = 17',
    'max_layer_size = "many"',
    'sync = "yes"',
    'registries = 1',
    '[metrics]',
    'address = "127.0.0.1:99999"',
    '[container.rlimits]',
    'nofile = "a:b"',
  ].join('\n');
  const found = await problems(text);
  assert.deepEqual(
    found.map((line) => Number(line.split(':')[1])),
    [1, 2, 4, 6, 7, 9, 10, 11, 12, 14, 16],
  );
  assert.equal(found[2], 'FILE:4: log.level must be one of "debug", "info", "warn", "error", not "loud"');
  assert.equal(
    found[3],
    'FILE:6: cni.timeout must be a duration such as "30s" or "2m", from "1s" to "1h", not "0s"',
  );
  assert.deepEqual(await problems('', { 'image-unpack-workers': ['x'] }), [
    '--image-unpack-workers: image.unpack_workers must be a whole number from 1 to 16, not "x"',
  ]);
});

test('what is not TOML is refused with its line', async () => {
  assert.match((await problems('root = "/x"\nstate = /y'))[0] ?? '', /^FILE:2: not TOML: /);
  assert.match((await problems('root = "/x"\nroot = "/y"'))[0] ?? '', /^FILE:2: not TOML: /);
});

test('a file that the user named must exist', async () => {
  await assert.rejects(
    loadConfig({ requiredFiles: [join(directory, 'none.toml')] }),
    /none\.toml: cannot be read \(ENOENT\)/,
  );
  await assert.rejects(loadConfig({ files: [directory] }), /cannot be read \(EISDIR\)/);
});

test('names in tables may be those of Object.prototype', async () => {
  const { config } = await load(
    '[runtime.handlers.__proto__]\npath = "/p"\n[runtime.handlers.constructor]\npath = "/c"',
  );
  assert.deepEqual(Object.keys(config.runtime.handlers).sort(), ['__proto__', 'constructor']);
  assert.equal(Object.getPrototypeOf(config.runtime.handlers), null);
  assert.equal(config.runtime.handlers['toString'], undefined);
  assert.match((await problems('[toString]\nx = 1'))[0] ?? '', /unknown option toString/);
});

test('a limit of logs is none, or no less than what conmon writes at once', async () => {
  for (const [value, bytes] of [
    ['0', 0],
    ['"0"', 0],
    ['"8KiB"', 8192],
    ['8192', 8192],
  ] as const)
    assert.equal((await load(`[container]\nlog_size_max = ${value}`)).config.container.logSizeMax, bytes);
  assert.deepEqual(await problems('[container]\nlog_size_max = "8191B"'), [
    'FILE:2: container.log_size_max must be a size from "8KiB" on, or 0, not "8191B"',
  ]);
});

test('annotations that configure crun cannot be allowed', async () => {
  const handler = (prefix: string) => `[runtime.handlers.k]\nallowed_annotations = ["io.kata.", "${prefix}"]`;
  for (const prefix of ['run.oci', 'run.oci.', 'run.oci.hooks.stdout', '', 'a b', 'a,b'])
    assert.match((await problems(handler(prefix)))[0] ?? '', /allowed_annotations.*run\.oci/, prefix);
  const { config } = await load(handler('run.ocicle'));
  assert.deepEqual(config.runtime.handlers['k']?.allowedAnnotations, ['io.kata.', 'run.ocicle']);
});

test('the printed configuration has no password of a proxy', async () => {
  for (const address of [
    'http://user:hunter2@proxy:3128',
    'user:hunter2@proxy:3128',
    'http://u:hunter2@@p:1',
  ]) {
    const text = describeConfig(await load(`[image.proxy]\nhttps = "${address}"`));
    assert.doesNotMatch(text, /hunter2/);
    assert.match(text, /# https = "(http:\/\/)?u(ser)?:\*\*\*@p/);
  }
  assert.match(
    describeConfig(await load('[image.proxy]\nhttps = "http://proxy:1"')),
    /\nhttps = "http:\/\/proxy:1"/,
  );
});

test('the printed configuration has no password of a mirror, which is refused later', async () => {
  const text = describeConfig(
    await load(
      '[image.registries."a.example"]\nmirrors = ["b.example", "https://user:hunter2@c.example/v2", "d:1/x"]',
    ),
  );
  assert.doesNotMatch(text, /hunter2/);
  assert.match(text, /mirrors = \["b.example", "https:\/\/user:\*\*\*@c.example\/v2", "d:1\/x"\]/);
});

test('the printed configuration loads to the same values and names their origins', async () => {
  const first = await load(
    '[runtime.handlers.kata]\npath = "/k"\noptions = { "a.b" = "c" }\n[image.registries."docker.io"]\nmirrors = ["m\\"x"]',
    {
      'cni-timeout': ['2m'],
      'socket-mode': ['600'],
    },
  );
  const text = describeConfig(first);
  assert.match(text, /set by \/.*\.toml:2\)\npath = "\/k"/);
  assert.match(text, /set by --cni-timeout\)\ntimeout = "2m"/);
  assert.match(text, /\n# level = "info"/);
  assert.deepEqual((await load(text)).config, first.config);
  const uncommented = describeConfig(await loadConfig({})).replaceAll(/^# (?=\[|[a-z_]+ = )/gm, '');
  const defaults = parse(uncommented) as { runtime: { handlers: Record<string, object> } };
  assert.deepEqual(Object.keys(defaults.runtime.handlers['NAME'] ?? {}).sort(), [
    'additional_devices',
    'allowed_annotations',
    'apparmor_profile',
    'base_runtime_spec',
    'cgroup_writable',
    'cni_conf_dir',
    'cni_max_networks',
    'default_capabilities',
    'default_env',
    'options',
    'path',
    'privileged_without_host_devices',
    'privileged_without_host_devices_all_devices_allowed',
    'rlimits',
    'sandbox',
    'seccomp_profile',
  ]);
  await load(uncommented);
});

test('lines of keys are found in every form of TOML', () => {
  const lines = locateKeys(
    [
      'a = """',
      '[not.a.table]',
      'b = 1',
      '"""', // 1-4
      "b.c = '''x",
      "y = 2'''", // 5-6
      '[ d . "e.f" ]',
      'g = [ # comment ] [',
      '  1, { h = "]", i = 2 },',
      '  3',
      ']', // 7-11
      '[[j]]',
      'k = { l = 1, "m n" = [',
      ' 2 ] }',
      '[[j]]',
      'k = "#" # x', // 12-16
    ].join('\n'),
  );
  const expected: [string[], number][] = [
    [['a'], 1],
    [['b'], 5],
    [['b', 'c'], 5],
    [['d', 'e.f'], 7],
    [['d', 'e.f', 'g'], 8],
    [['d', 'e.f', 'g', '1'], 9],
    [['d', 'e.f', 'g', '1', 'i'], 9],
    [['d', 'e.f', 'g', '2'], 10],
    [['j', '0'], 12],
    [['j', '0', 'k', 'l'], 13],
    [['j', '0', 'k', 'm n', '0'], 14],
    [['j', '1'], 15],
    [['j', '1', 'k'], 16],
  ];
  for (const [keys, line] of expected) assert.equal(lines.get(joinPath(keys)), line, keys.join('.'));
  assert.equal(lines.has('y'), false);
  assert.equal(lines.has(joinPath(['not', 'a', 'table'])), false);
});

test('each key of any TOML document is found', () => {
  const key = fc
    .oneof(fc.stringMatching(/^[a-z_-]{1,4}$/), fc.string({ unit: 'grapheme', maxLength: 4 }))
    .filter((text) => text !== '__proto__');
  const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.string(), { maxLength: 3 }));
  const { tree } = fc.letrec((tie) => ({
    tree: fc.dictionary(
      key,
      fc.oneof({ depthSize: 'small' }, leaf, tie('tree'), fc.array(tie('tree'), { maxLength: 2 })),
      { maxKeys: 4 },
    ),
  }));
  const paths = (value: unknown, keys: string[]): string[][] => {
    if (typeof value !== 'object' || value === null) return [keys];
    return [
      ...(keys.length > 0 ? [keys] : []),
      ...Object.entries(value).flatMap(([name, item]) => paths(item, [...keys, name])),
    ];
  };
  fc.assert(
    fc.property(tree, (value) => {
      const text = stringify(value);
      const found = locateKeys(text);
      for (const keys of paths(parse(text), [])) {
        const isEmptyParent = !found.has(joinPath(keys));
        if (isEmptyParent)
          assert.ok(
            [...found.keys()].some((other) => other.startsWith(`${joinPath(keys)}\0`)),
            keys.join('.'),
          );
      }
    }),
    { numRuns: 500 },
  );
});

test('durations and sizes are parsed as they were printed', () => {
  fc.assert(fc.property(fc.nat(), (ms) => assert.equal(parseDuration(formatDuration(ms)), ms)));
  fc.assert(fc.property(fc.nat(), (bytes) => assert.equal(parseSize(formatSize(bytes)), bytes)));
  assert.equal(parseDuration('1h30m'), 5_400_000);
  assert.equal(parseDuration('1.5s'), 1500);
  assert.equal(parseDuration('7d'), 604_800_000);
  assert.equal(parseSize('4MiB'), 4_194_304);
  assert.equal(parseSize('10 GB'), 1e10);
  for (const text of ['', '5', 's', '-1s', '1 s', '1w']) assert.equal(parseDuration(text), undefined, text);
  for (const text of ['', '-1', '1 m', 'MiB', '1e3']) assert.equal(parseSize(text), undefined, text);
});

test('the closest word is found, and none where none is close', () => {
  assert.equal(distance('kitten', 'sitting'), 3);
  assert.equal(distance('levle', 'level'), 1);
  assert.equal(nearest('crate', ['start', 'create', 'stop']), 'create');
  assert.equal(nearest('xyz', ['start', 'create']), undefined);
});
