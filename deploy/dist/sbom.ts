/**
 * The parts of a release as CycloneDX JSON, made from package-lock.json and of what the bundle has in it. npm's own `npm sbom` lists
 * what is installed instead, has the time and a random number in it, and comes with a later npm than Debian 12's.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Contrib, Enums, Models, Serialize, Spec } from '@cyclonedx/cyclonedx-library';
import { CrispError } from '#core/errors.ts';
import type { Architecture } from './architectures.ts';
import type { Lock, Locked } from './npm-packages.ts';

export interface Release {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly architecture: Architecture;
  /** Seconds since the epoch. */
  readonly date: number;
  /** Directories of the npm packages in it, as package-lock.json has them. */
  readonly packages: readonly string[];
  /** Path of the pause program. */
  readonly pause: string;
  /** The C library in it. */
  readonly staticLibrary: string | undefined;
}

/** Of Node's `process.versions`: names of interfaces and data, not of parts. */
const NOT_PARTS = new Set(['node', 'modules', 'napi', 'unicode', 'cldr', 'tz']);
/** npm has checked the expressions of the packages; this only tells them from plain ids. */
const licenses = new Contrib.License.Factories.LicenseFactory((text) => / (OR|AND|WITH) /.test(text));
const { Application, Library } = Enums.ComponentType;

/** The same input gives the same text. */
export function sbom(release: Release, lock: Lock): string {
  const { version, license, architecture } = release;
  const bom = new Models.Bom();
  bom.metadata.timestamp = new Date(release.date * 1000);
  const crisp = new Models.Component(Application, release.name, {
    version,
    bomRef: release.name,
    purl: `pkg:generic/${release.name}@${encodeURIComponent(version)}?arch=${architecture.node}`,
  });
  crisp.licenses.add(licenses.makeFromString(license));
  bom.metadata.component = crisp;
  const parts = new Map(release.packages.map((path) => [path, npmComponent(path, found(lock, path))]));
  for (const [path, part] of parts) {
    bom.components.add(part);
    crisp.dependencies.add(part.bomRef);
    for (const name of dependenciesOf(found(lock, path))) {
      const other = parts.get(resolve(lock, path, name) ?? '');
      if (other) part.dependencies.add(other.bomRef);
    }
  }
  addNode(bom, crisp, architecture, lock);
  addPause(bom, crisp, release);
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return `${serializer.serialize(bom, { sortLists: true, space: 2 })}\n`;
}

function npmComponent(path: string, { version, integrity, license }: Locked): Models.Component {
  const name = path.replace(/^.*node_modules\//, '');
  const [scope, plain] = name.startsWith('@') ? name.split('/') : [undefined, name];
  const namespace = scope === undefined ? '' : `${encodeURIComponent(scope)}/`;
  const component = new Models.Component(Library, plain ?? name, {
    ...(scope === undefined ? {} : { group: scope }),
    version,
    bomRef: `${name}@${version}`,
    purl: `pkg:npm/${namespace}${plain}@${version}`,
  });
  if (license !== undefined) component.licenses.add(licenses.makeFromString(license));
  const digest = /^sha512-(.+)$/.exec(integrity ?? '')?.[1];
  if (digest !== undefined)
    component.hashes.set(Enums.HashAlgorithm['SHA-512'], Buffer.from(digest, 'base64').toString('hex'));
  return component;
}

/** Node by the names that scanners know it by, with the libraries in it. Throws FailedPrecondition where this is another Node. */
function addNode(bom: Models.Bom, crisp: Models.Component, { node: arch }: Architecture, lock: Lock): void {
  const path = `node_modules/node-linux-${arch}`;
  const component = npmComponent(path, found(lock, path));
  const { version = '' } = component;
  if (process.versions.node !== version)
    throw new CrispError(
      'FailedPrecondition',
      `this is Node ${process.versions.node}, the pinned one ${version}`,
      {
        hint: 'build with `npm run`, which uses the pinned one',
      },
    );
  component.type = Application;
  component.cpe = `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`;
  for (const [name, value] of Object.entries(process.versions)) {
    if (NOT_PARTS.has(name) || value === undefined) continue;
    const purl = `pkg:generic/${name}@${encodeURIComponent(value)}`;
    component.components.add(
      new Models.Component(Library, name, { version: value, bomRef: `node/${name}@${value}`, purl }),
    );
  }
  bom.components.add(component);
  crisp.dependencies.add(component.bomRef);
}

function addPause(bom: Models.Bom, crisp: Models.Component, release: Release): void {
  const pause = new Models.Component(Application, 'crisp-pause', {
    version: release.version,
    bomRef: 'crisp-pause',
  });
  pause.licenses.add(licenses.makeFromString(release.license));
  const digest = createHash('sha256').update(readFileSync(release.pause)).digest('hex');
  pause.hashes.set(Enums.HashAlgorithm['SHA-256'], digest);
  const { staticLibrary: glibc } = release;
  if (glibc !== undefined) {
    const library = new Models.Component(Library, 'glibc', {
      version: glibc,
      bomRef: `glibc@${glibc}`,
      purl: `pkg:generic/glibc@${glibc}`,
      cpe: `cpe:2.3:a:gnu:glibc:${glibc}:*:*:*:*:*:*:*`,
    });
    library.licenses.add(licenses.makeFromString('LGPL-2.1-or-later'));
    pause.components.add(library);
  }
  bom.components.add(pause);
  crisp.dependencies.add(pause.bomRef);
}

function found(lock: Lock, path: string): Locked {
  const locked = lock.get(path);
  if (locked) return locked;
  throw new CrispError('Internal', `package-lock.json has no ${path}`);
}

const dependenciesOf = ({ dependencies, optionalDependencies }: Locked): string[] =>
  Object.keys({ ...dependencies, ...optionalDependencies });

/** As Node resolves it: beside the package's own packages, then in each directory above. */
function resolve(lock: Lock, path: string, name: string): string | undefined {
  for (let at = path; ; at = dirname(dirname(at))) {
    const candidate = at === '.' ? `node_modules/${name}` : `${at}/node_modules/${name}`;
    if (lock.has(candidate)) return candidate;
    if (at === '.') return undefined;
  }
}
