/** A .deb by dpkg-deb, which every Debian has. */
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, lutimesSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
import { script } from './scripts.ts';
import { paths } from './staging.ts';
import { runTool } from './tool.ts';

/** Without these no container starts; the versions of the libraries are those that Node is built against. */
const DEPENDS = ['conmon', 'crun | runc', 'libc6 (>= 2.28)', 'libgcc-s1', 'libstdc++6 (>= 5)'];
/** For networks that are configured to need them: masquerading, host ports, the plugins; `modprobe overlay`. */
const RECOMMENDS = ['containernetworking-plugins', 'iptables', 'kmod'];
const SUGGESTS = ['apparmor', 'criu'];
const SCRIPTS = ['preinst', 'postinst', 'prerm', 'postrm'] as const;

/** Builds the package; its path. */
export function buildDeb(architecture: Architecture, settings: PackageSettings): string {
  const { root, version, output, date, isFast } = settings;
  const full = `${packageVersion(version)}-${REVISION}`;
  const files = paths(root);
  const control = join(root, 'DEBIAN');
  const write = (name: string, content: string, mode = 0o644) => {
    writeFileSync(join(control, name), content);
    chmodSync(join(control, name), mode);
    lutimesSync(join(control, name), date, date);
  };
  mkdirSync(control);
  chmodSync(control, 0o755);
  write('control', controlFile(full, architecture, installedSize(root, files)));
  write('conffiles', '/etc/crisp/crisp.toml\n');
  write('md5sums', md5sums(root, files));
  for (const name of SCRIPTS) write(name, script(`deb-${name}`), 0o755);
  lutimesSync(control, date, date);
  const file = join(output, `crisp_${full}_${architecture.debian}.deb`);
  rmSync(file, { force: true });
  const compression = isFast ? ['-Zzstd', '-z1'] : ['-Zxz'];
  runTool('dpkg-deb', ['--root-owner-group', ...compression, '--build', root, file], date, 'dpkg');
  return file;
}

function controlFile(version: string, { debian }: Architecture, size: number): string {
  return [
    'Package: crisp',
    `Version: ${version}`,
    `Architecture: ${debian}`,
    `Maintainer: ${MAINTAINER}`,
    `Installed-Size: ${size}`,
    `Depends: ${DEPENDS.join(', ')}`,
    `Recommends: ${RECOMMENDS.join(', ')}`,
    `Suggests: ${SUGGESTS.join(', ')}`,
    'Section: admin',
    'Priority: optional',
    `Description: ${SUMMARY}`,
    ...wrapped(DESCRIPTION, 78).map((line) => ` ${line}`),
    '',
  ].join('\n');
}

/** In KiB: files rounded up, and one for anything else, as deb-substvars(5) has it. */
function installedSize(root: string, files: readonly string[]): number {
  const sizes = files.map((path) => {
    const stat = lstatSync(join(root, path));
    return stat.isFile() ? Math.ceil(stat.size / 1024) : 1;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

function md5sums(root: string, files: readonly string[]): string {
  const isListed = (path: string) => !path.startsWith('etc/') && lstatSync(join(root, path)).isFile();
  const sum = (path: string) =>
    createHash('md5')
      .update(readFileSync(join(root, path)))
      .digest('hex');
  return files
    .filter(isListed)
    .map((path) => `${sum(path)}  ${path}\n`)
    .join('');
}
