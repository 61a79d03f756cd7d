/** An .rpm by rpmbuild (of Debian's package rpm, or of a distribution with rpm). */
import { lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Architecture } from '../dist/architectures.ts';
import {
  DESCRIPTION,
  MAINTAINER,
  type PackageSettings,
  packageVersion,
  REVISION,
  SUMMARY,
  wrapped,
} from './about.ts';
import { type ScriptName, scriptBody } from './scripts.ts';
import { paths } from './staging.ts';
import { runTool } from './tool.ts';

/** Without these no container starts. Libraries by their names, which all distributions have; the versions are those of Node's build. */
const REQUIRES = [
  ...['conmon', '(crun or runc)', 'diffutils'],
  ...['libc.so.6(GLIBC_2.28)(64bit)', 'libstdc++.so.6(GLIBCXX_3.4.21)(64bit)', 'libgcc_s.so.1()(64bit)'],
];
const RECOMMENDS = ['(containernetworking-plugins or cni-plugins)', 'iptables', 'kmod'];
const SCRIPTLETS = ['pre', 'post', 'posttrans', 'preun', 'postun'] as const;
/** Of every distribution. Those of shells, which may not be installed, belong to this package too. */
const SHARED_DIRECTORIES =
  /^(etc|usr|usr\/(bin|lib|lib\/systemd|lib\/systemd\/system|lib\/tmpfiles\.d|share|share\/doc|share\/man|share\/man\/man\d))$/;

/** Same input, same bytes: no time of the build, no name of the machine, no programs that change files. */
const MACROS: Readonly<Record<string, string>> = {
  _buildhost: 'localhost',
  use_source_date_epoch_as_buildtime: '1',
  clamp_mtime_to_source_date_epoch: '1',
  source_date_epoch_from_changelog: '0',
  __os_install_post: '%{nil}',
  debug_package: '%{nil}',
  _build_id_links: 'none',
  _build_name_fmt: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
  optflags: '%{nil}',
};

/** Builds the package; its path. */
export function buildRpm({ rpm }: Architecture, settings: PackageSettings): string {
  const { root, version, output, date, isFast } = settings;
  const full = packageVersion(version);
  const work = mkdtempSync(join(output, '.rpm-'));
  try {
    const spec = join(work, 'crisp.spec');
    writeFileSync(spec, specFile(root, full));
    for (const name of ['BUILD', 'RPMS']) mkdirSync(join(work, name));
    const macros = {
      ...MACROS,
      _topdir: work,
      _tmppath: work,
      _rpmdir: join(work, 'RPMS'),
      _binary_payload: isFast ? 'w1.zstdio' : 'w12.zstdio',
    };
    const defines = Object.entries(macros).flatMap(([name, value]) => ['--define', `${name} ${value}`]);
    const target = ['--target', `${rpm}-linux`, '--buildroot', join(work, 'root')];
    runTool('rpmbuild', ['-bb', '--noclean', ...target, ...defines, spec], date, 'rpm');
    const name = `crisp-${full}-${REVISION}.${rpm}.rpm`;
    renameSync(join(work, 'RPMS', name), join(output, name));
    return join(output, name);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function specFile(root: string, version: string): string {
  const scriptlet = (name: (typeof SCRIPTLETS)[number]) => {
    const body = scriptBody(`rpm-${name}` satisfies ScriptName).replaceAll('%', '%%');
    return `%${name}\n${body}`;
  };
  return [
    'Name: crisp',
    `Version: ${version}`,
    `Release: ${REVISION}`,
    `Summary: ${SUMMARY}`,
    'License: Apache-2.0',
    `Packager: ${MAINTAINER}`,
    'AutoReqProv: no',
    ...REQUIRES.map((one) => `Requires: ${one}`),
    ...RECOMMENDS.map((one) => `Recommends: ${one}`),
    '%description',
    ...wrapped(DESCRIPTION, 78),
    '%install',
    `rm -rf "%{buildroot}" && cp -al "${root}" "%{buildroot}"`,
    ...SCRIPTLETS.map(scriptlet),
    '%files',
    ...paths(root).flatMap((path) => fileLine(root, path)),
    '',
  ].join('\n');
}

function fileLine(root: string, path: string): string[] {
  const stat = lstatSync(join(root, path));
  const name = `"/${path}"`;
  if (stat.isDirectory()) return SHARED_DIRECTORIES.test(path) ? [] : [`%dir %attr(0755,root,root) ${name}`];
  if (stat.isSymbolicLink()) return [name];
  const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
  return [`${kindOf(path)}%attr(${mode},root,root) ${name}`];
}

function kindOf(path: string): string {
  if (path.startsWith('etc/')) return '%config(noreplace) ';
  if (/\/(copyright$|LICENSES\/)/.test(path)) return '%license ';
  return /\/(doc|man)\//.test(path) ? '%doc ' : '';
}
