/** .deb and .rpm of both architectures: what is in them, that two builds have the same bytes, and that the programs of arm64 run. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { ARCHITECTURES } from '../../deploy/dist/architectures.ts';
import { readLock } from '../../deploy/dist/npm-packages.ts';
import { buildPackages, run } from './packages.ts';

const PROJECT = join(import.meta.dirname, '../..');
const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'packages-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as { version: string };
const one = buildPackages(join(directory, 'one'));
const deb = (arch: string): string => join(directory, `one/crisp_${version}-1_${arch}.deb`);
const rpm = (arch: string): string => join(directory, `one/crisp-${version}-1.${arch}.rpm`);
const hash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** The .deb of an architecture, unpacked. */
function unpacked(arch: string): string {
  const root = join(directory, arch);
  if (!existsSync(root)) run('dpkg-deb', ['-x', deb(arch), root]);
  return root;
}

const modes = (listing: string): string[] => listing.trim().split('\n');

test('one script builds .deb and .rpm for both architectures; two builds have the same bytes', () => {
  assert.deepEqual(one, [deb('amd64'), rpm('x86_64'), deb('arm64'), rpm('aarch64')]);
  const other = {
    ...process.env,
    TZ: 'Asia/Tokyo',
    LC_ALL: 'C',
    LANG: 'C',
    HOME: directory,
    USER: 'builder',
  };
  const two = buildPackages(join(directory, 'two'), [], other);
  assert.deepEqual(two.map(hash), one.map(hash));
});

test('what cannot be built here is named with the remedy, and the others are built', () => {
  const main = join(PROJECT, 'deploy/packages/main.ts');
  const [output, programs] = [join(directory, 'three'), join(directory, 'programs')];
  mkdirSync(programs);
  // What dpkg-deb and the build start.
  for (const name of ['dpkg-deb', 'tar', 'rm', 'gcc', 'git'])
    symlinkSync(`/usr/bin/${name}`, join(programs, name));
  const build = (...args: string[]) =>
    spawnSync(process.execPath, [main, '--fast', '--output', output, ...args], {
      encoding: 'utf8',
      env: { ...process.env, PATH: programs },
    });
  const { status, stdout, stderr } = build('--arch', 'amd64');
  assert.equal(status, 1);
  assert.equal(stdout, `${join(output, `crisp_${version}-1_amd64.deb`)}\n`);
  assert.match(
    stderr,
    /^packages: rpm for x64: rpmbuild is not installed\nhint: Debian: apt-get install rpm$/m,
  );
  for (const [args, message] of [
    [['--arch', 'mips'], /mips is not an architecture that crisp is built for\nhint: one of x64, arm64/],
    [['--format', 'apk'], /apk is not a format\nhint: one of deb, rpm/],
  ] as const)
    assert.match(build(...args).stderr, message);
});

test('the time of all files is that of the commit, or SOURCE_DATE_EPOCH', () => {
  const commit = spawnSync('git', ['-C', PROJECT, '-c', 'safe.directory=*', 'log', '-1', '--format=%ct'], {
    encoding: 'utf8',
  }).stdout.trim();
  const date = process.env['SOURCE_DATE_EPOCH'] ?? commit;
  assert.match(date, /^\d+$/);
  const day = new Date(Number(date) * 1000).toISOString().slice(0, 16).replace('T', ' ');
  const environment = { ...process.env, TZ: 'UTC' };
  for (const line of modes(run('dpkg-deb', ['-c', deb('arm64')], environment)))
    assert.ok(line.includes(` ${day} `), line);
  assert.equal(run('rpm', ['-qp', '--qf', '%{BUILDTIME} %{BUILDHOST}', rpm('aarch64')]), `${date} localhost`);
  assert.deepEqual(
    [...new Set(modes(run('rpm', ['-qp', '--qf', '[%{FILEMTIMES}\n]', rpm('aarch64')])))],
    [date],
  );
});

test('all files are owned by root, who alone may write them; none is where an administrator puts files', () => {
  for (const { debian, rpm: name } of ARCHITECTURES) {
    for (const line of modes(run('dpkg-deb', ['-c', deb(debian)])))
      assert.match(
        line,
        /^([d-]rw[x-]r-[x-]r-[x-]|lrwxrwxrwx) root\/root .* \.\/(etc\/(crisp\/.*)?|usr\/(?!local\/).*)?$/,
      );
    const listed = run('rpm', [
      '-qp',
      '--qf',
      '[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]',
      rpm(name),
    ]);
    for (const line of modes(listed))
      assert.match(line, /^([d-]rw[x-]r-[x-]r-[x-]|lrwxrwxrwx) root root \/(etc\/crisp|usr\/(?!local\/))/);
    assert.doesNotMatch(listed, /\/etc\/(cni|crictl)/, 'others have files there');
  }
});

test('both have the same files, but for the place of zsh and the changelog of Debian', () => {
  for (const { debian, rpm: name } of ARCHITECTURES) {
    const inDeb = modes(run('dpkg-deb', ['-c', deb(debian)]))
      .filter((line) => !line.startsWith('d'))
      .map((line) => / \.(\/\S+)/.exec(line)?.[1] ?? '')
      .filter((path) => path !== '/usr/share/doc/crisp/changelog.Debian.gz');
    const isFile = (line: string) => !line.startsWith('d');
    const inRpm = modes(run('rpm', ['-qp', '--qf', '[%{FILEMODES:perms}%{FILENAMES}\n]', rpm(name)]))
      .filter(isFile)
      .map((line) => line.slice(10));
    const plain = (paths: string[]) =>
      paths.map((path) => path.replace('vendor-completions', 'site-functions')).sort();
    assert.deepEqual(plain(inDeb), plain(inRpm));
    for (const wanted of [
      '/etc/crisp/crisp.toml',
      '/usr/bin/crisp',
      '/usr/lib/systemd/system/crisp.service',
      '/usr/lib/systemd/system/crisp.socket',
      '/usr/lib/tmpfiles.d/crisp.conf',
      '/usr/share/bash-completion/completions/crisp',
      '/usr/share/crisp/examples/99-crisp-bridge.conflist',
      '/usr/share/crisp/examples/crictl.yaml',
      '/usr/share/crisp/sbom.cdx.json',
      '/usr/share/doc/crisp/copyright',
      '/usr/share/fish/vendor_completions.d/crisp.fish',
      '/usr/share/man/man5/crisp.toml.5.gz',
      '/usr/share/man/man8/crisp.8.gz',
      '/usr/share/zsh/site-functions/_crisp',
    ])
      assert.ok(plain(inDeb).includes(wanted), wanted);
  }
});

test('the fields name what crisp needs and what is optional, and the one file of the administrator', () => {
  const field = (name: string) => run('dpkg-deb', ['-f', deb('arm64'), name]).trim();
  assert.equal(field('Architecture'), 'arm64');
  assert.match(field('Depends'), /conmon, crun \| runc, libc6 \(>= 2\.28\)/);
  assert.match(field('Recommends'), /containernetworking-plugins, iptables/);
  assert.ok(Number(field('Installed-Size')) > 100_000);
  assert.equal(run('dpkg-deb', ['-I', deb('arm64'), 'conffiles']).trim(), '/etc/crisp/crisp.toml');
  const query = (...args: string[]) => run('rpm', ['-qp', ...args, rpm('aarch64')]);
  assert.equal(query('--qf', '%{NAME} %{ARCH} %{LICENSE}'), 'crisp aarch64 Apache-2.0');
  assert.match(query('--requires'), /^conmon$/m);
  assert.match(query('--requires'), /^\(crun or runc\)$/m);
  assert.match(query('--recommends'), /^\(containernetworking-plugins or cni-plugins\)$/m);
  assert.equal(query('--configfiles').trim(), '/etc/crisp/crisp.toml');
  assert.match(query('--scripts'), /^posttrans scriptlet \(using \/bin\/sh\):$/m);
});

test('the checksums are right, the scripts are those of a POSIX shell, and nothing names the place of the build', () => {
  const root = unpacked('amd64');
  const control = join(directory, 'control');
  run('dpkg-deb', ['-e', deb('amd64'), control]);
  run('sh', ['-euc', `cd '${root}' && md5sum --quiet -c '${control}/md5sums'`]);
  const scripts = ['preinst', 'postinst', 'prerm', 'postrm'].map((name) => join(control, name));
  for (const script of [...scripts, join(root, 'usr/lib/crisp/purge')]) run('dash', ['-n', script]);
  const texts = globSync(
    ['usr/**/*', 'etc/**/*'].map((part) => `${root}/${part}`),
    { withFileTypes: true },
  )
    .filter((entry) => entry.isFile() && !/^(node|pause|koffi\.node)$|\.gz$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
  assert.ok(texts.length > 50);
  for (const file of [...texts, ...scripts]) {
    const text = readFileSync(file, 'utf8');
    assert.ok(!text.includes(PROJECT) && !text.includes(directory) && !/@[A-Z0-9_]+@/.test(text), file);
  }
});

test('the list of parts is CycloneDX, and has all that is bundled as package-lock.json pins it', async () => {
  const lock = readLock(PROJECT);
  for (const { debian, node } of ARCHITECTURES) {
    const root = unpacked(debian);
    const text = readFileSync(join(root, 'usr/share/crisp/sbom.cdx.json'), 'utf8');
    assert.equal(await new Validation.JsonStrictValidator(Spec.Spec1dot6.version).validate(text), null);
    const { components } = JSON.parse(text) as {
      components: {
        name: string;
        purl?: string;
        hashes?: { content: string }[];
        components?: { name: string }[];
      }[];
    };
    const pinned = [...lock].map(
      ([path, { version: at }]) => `${path.replace(/^.*node_modules\//, '')}@${at}`,
    );
    const parts = components.flatMap(({ purl }) =>
      purl ? [decodeURIComponent(purl).replace('pkg:npm/', '')] : [],
    );
    assert.deepEqual(
      parts.filter((part) => !pinned.includes(part)),
      [],
    );
    const licenses = globSync('*.txt', {
      cwd: join(root, 'usr/share/doc/crisp/LICENSES'),
      exclude: ['crisp.txt'],
    });
    assert.deepEqual(
      licenses.filter(
        (file) => !parts.some((part) => `${part.replace('/', '-').replace(/@[^@]+$/, '')}.txt` === file),
      ),
      [],
    );
    assert.ok(parts.some((part) => part.startsWith(`node-linux-${node}@`)));
    const of = (name: string) => components.find((component) => component.name === name);
    assert.ok(of(`node-linux-${node}`)?.components?.some(({ name }) => name === 'openssl'));
    assert.equal(of('crisp-pause')?.hashes?.[0]?.content, hash(join(root, 'usr/lib/crisp/lib/pause')));
    assert.equal(of('crisp-pause')?.components?.[0]?.name, 'glibc');
  }
});

test('each architecture has programs of its own', () => {
  for (const { debian, machine } of ARCHITECTURES)
    for (const file of ['node', 'pause', 'js/koffi.node']) {
      const header = readFileSync(join(unpacked(debian), 'usr/lib/crisp/lib', file)).subarray(0, 20);
      assert.deepEqual(
        [header.toString('latin1', 0, 4), header[4], header.readUInt16LE(18)],
        ['\x7fELF', 2, machine],
        `${debian}: ${file}`,
      );
    }
});

const emulator = 'qemu-aarch64-static';
const libraries = '/usr/aarch64-linux-gnu';
const lacking =
  process.arch === 'arm64'
    ? 'this machine is one'
    : existsSync(`/usr/bin/${emulator}`) && existsSync(`${libraries}/lib/libstdc++.so.6`)
      ? undefined
      : `${emulator} or ${libraries} is missing (sh bin/setup --emulator)`;

test('crisp and the pause program of arm64 run, emulated', { skip: lacking ?? false }, () => {
  const lib = join(unpacked('arm64'), 'usr/lib/crisp/lib');
  const emulated = (...args: string[]) => run(emulator, ['-L', libraries, ...args]);
  const crisp = (...args: string[]) =>
    emulated(join(lib, 'node'), '--v8-pool-size=1', join(lib, 'js/main.js'), ...args);
  assert.equal(crisp('version'), `crisp ${version} (node ${process.version})\n`);
  const { arch } = JSON.parse(emulated(join(lib, 'node'), '-p', 'JSON.stringify(process)')) as {
    arch: string;
  };
  assert.equal(arch, 'arm64');
  // Its standard input is at its end: crisp has given up.
  const pause = spawnSync(emulator, [join(lib, 'pause'), '0', '0'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  assert.match(pause.stdout, /^held \d+\n$/);
  assert.equal(pause.status, 0);
  // System calls through koffi, by the numbers of arm64: mounts an overlay, reads file systems, starts programs.
  const state = join(directory, 'state');
  for (const name of ['root', 'state']) mkdirSync(join(state, name), { recursive: true });
  const checked = spawnSync(
    emulator,
    [
      '-L',
      libraries,
      join(lib, 'node'),
      '--v8-pool-size=1',
      join(lib, 'js/main.js'),
      'check',
      '--output',
      'json',
      '--root',
      join(state, 'root'),
      '--state',
      join(state, 'state'),
    ],
    { encoding: 'utf8' },
  );
  const { checks } = JSON.parse(checked.stdout) as {
    checks: { id: string; found: string; status: string }[];
  };
  const found = (id: string) => checks.find((check) => check.id === id);
  for (const id of ['kernel', 'overlayfs', 'namespaces', 'oci-runtime', 'conmon', 'pause'])
    assert.equal(found(id)?.status, 'ok', JSON.stringify(found(id)));
  console.log(
    '# arm64: emulated by qemu-user: crisp version, the pause program, crisp check (system calls through koffi).',
  );
  console.log(
    '# arm64: not tried here: pods and containers, EROFS (fsopen(2) is not emulated), systemd, the seccomp filters.',
  );
});
