/** The files of a package, as they are below the root of a node. Those of .deb and .rpm are the same but for the place of zsh's. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { CrispError } from '#core/errors.ts';
import { MAINTAINER, packageVersion, REVISION } from './about.ts';
import { script } from './scripts.ts';

/** Where the daemon is started from: `scripts/running.sh` makes it. */
const STARTED = '/usr/lib/crisp/running/current/bin/crisp';
const EXAMPLES = [
  'crisp.toml',
  'cni/99-crisp-bridge.conflist',
  'crictl.yaml',
  'kubernetes/kubelet.yaml',
  'kubernetes/kubeadm.yaml',
];

/** In the format of Debian's policy. */
const COPYRIGHT = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: crisp

Files: *
Copyright: the authors of crisp
License: Apache-2.0
 The text is LICENSES/crisp.txt beside this file, on Debian also /usr/share/common-licenses/Apache-2.0.

Files: usr/lib/crisp/lib/node usr/lib/crisp/lib/js/*
Copyright: those of Node.js and of the bundled packages
License: as in LICENSES
 The texts are in LICENSES/ beside this file, one for Node.js and for each package; usr/share/crisp/sbom.cdx.json lists them.
`;

export type Format = 'deb' | 'rpm';

const ZSH: Readonly<Record<Format, string>> = {
  deb: 'usr/share/zsh/vendor-completions/_crisp',
  rpm: 'usr/share/zsh/site-functions/_crisp',
};

export interface StagingSettings {
  readonly project: string;
  /** The tree of the release, `deploy/dist/tree.ts`. */
  readonly tree: string;
  readonly format: Format;
  /** In seconds since the epoch: of all files. */
  readonly date: number;
}

/** Fills `root` from scratch. Throws Internal where the unit has another ExecStart than that which is replaced. */
export function stage(root: string, { project, tree, format, date }: StagingSettings): void {
  rmSync(root, { recursive: true, force: true });
  const write = (to: string, content: string | Uint8Array, mode = 0o644) =>
    put(join(root, to), content, mode);
  const copy = (from: string, to: string) => write(to, readFileSync(from));
  const deploy = join(project, 'deploy');
  const shared = (name: string) => join(tree, 'share', name);
  for (const part of ['bin', 'lib'])
    cpSync(join(tree, part), join(root, 'usr/lib/crisp', part), { recursive: true });
  write('usr/lib/crisp/build', `${buildName(tree)}\n`);
  write('usr/lib/crisp/purge', script('purge'), 0o755);
  link(root, 'usr/bin/crisp', 'usr/lib/crisp/bin/crisp');
  write('usr/lib/systemd/system/crisp.service', unit(readFileSync(shared('crisp.service'), 'utf8')));
  copy(shared('crisp.socket'), 'usr/lib/systemd/system/crisp.socket');
  copy(join(deploy, 'tmpfiles.conf'), 'usr/lib/tmpfiles.d/crisp.conf');
  copy(shared('crisp.toml'), 'etc/crisp/crisp.toml');
  mkdirSync(join(root, 'etc/crisp/crisp.toml.d'));
  for (const page of ['man8/crisp.8', 'man5/crisp.toml.5'])
    write(`usr/share/man/${page}.gz`, compressed(readFileSync(shared(`man/${page}`))));
  for (const file of ['bash-completion/completions/crisp', 'fish/vendor_completions.d/crisp.fish'])
    copy(shared(file), `usr/share/${file}`);
  copy(shared('zsh/site-functions/_crisp'), ZSH[format]);
  for (const file of EXAMPLES) copy(join(deploy, file), `usr/share/crisp/examples/${basename(file)}`);
  cpSync(shared('monitoring'), join(root, 'usr/share/crisp/monitoring'), { recursive: true });
  copy(shared('sbom.cdx.json'), 'usr/share/crisp/sbom.cdx.json');
  const documents = 'usr/share/doc/crisp';
  cpSync(join(tree, 'LICENSES'), join(root, documents, 'LICENSES'), { recursive: true });
  copy(join(tree, 'LICENSE'), `${documents}/LICENSES/crisp.txt`);
  write(`${documents}/copyright`, COPYRIGHT);
  if (format === 'deb')
    write(`${documents}/changelog.Debian.gz`, compressed(Buffer.from(debianChangelog(tree, date))));
  write(`${documents}/changelog.gz`, compressed(readFileSync(join(project, 'CHANGELOG.md'))));
  link(root, `${documents}/examples`, 'usr/share/crisp/examples');
  settle(root, date);
}

/** The paths below a directory, sorted, directories before what is in them. */
export function paths(root: string, below = ''): string[] {
  const names = readdirSync(join(root, below), { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  return names.flatMap((entry) => {
    const path = join(below, entry.name);
    return entry.isDirectory() ? [path, ...paths(root, path)] : [path];
  });
}

/** Of the version and of all that the daemon runs: another name is another build. */
function buildName(tree: string): string {
  const hash = createHash('sha256');
  for (const part of ['bin', 'lib'])
    for (const path of paths(join(tree, part))) {
      const file = join(tree, part, path);
      const stat = lstatSync(file);
      hash.update(`${part}/${path}\0${stat.mode}\0`);
      if (stat.isFile()) hash.update(readFileSync(file));
    }
  return `${versionOf(tree)}-${hash.digest('hex').slice(0, 12)}`;
}

function unit(text: string): string {
  const template = '@PREFIX@/bin/crisp';
  if (!text.includes(`ExecStart=${template}`))
    throw new CrispError('Internal', `crisp.service does not start ${template}`);
  return text.replaceAll(template, STARTED);
}

function debianChangelog(tree: string, date: number): string {
  const signed = new Date(date * 1000).toUTCString().replace('GMT', '+0000');
  const heading = `crisp (${packageVersion(versionOf(tree))}-${REVISION}) unstable; urgency=medium`;
  return `${heading}\n\n  * See changelog.gz.\n\n -- ${MAINTAINER}  ${signed}\n`;
}

function versionOf(tree: string): string {
  return (JSON.parse(readFileSync(join(tree, 'lib/package.json'), 'utf8')) as { version: string }).version;
}

/** Level 9, without a name and a time, as Debian wants it. */
const compressed = (content: Uint8Array): Buffer => gzipSync(content, { level: 9 });

function link(root: string, path: string, target: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  symlinkSync(relative(dirname(path), target), join(root, path));
}

function put(path: string, content: string | Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

/** One time, and modes that depend on nothing but whether a file is a program. */
function settle(root: string, date: number): void {
  for (const path of ['', ...paths(root)].reverse()) {
    const file = join(root, path);
    const stat = lstatSync(file);
    if (stat.isDirectory()) chmodSync(file, 0o755);
    else if (stat.isFile()) chmodSync(file, stat.mode & 0o111 ? 0o755 : 0o644);
    lutimesSync(file, date, date);
  }
}
