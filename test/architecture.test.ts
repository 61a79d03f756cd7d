/** The layers: which folder may import which. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import test from 'node:test';

const PROJECT = join(import.meta.dirname, '..');

/** What each top folder may import besides itself, and `COMMON`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  api: [],
  linux: [],
  config: [],
  telemetry: [],
  core: [],
  'image-service': ['core', 'linux'],
  'pod-sandbox': ['core', 'linux'],
  'runtime-service': ['core', 'linux'],
  cri: ['api', 'telemetry', 'config', 'core', 'image-service', 'pod-sandbox', 'runtime-service'],
  nri: ['api', 'core', 'linux', 'pod-sandbox', 'runtime-service'],
  daemon: [
    'api',
    'cri',
    'nri',
    'telemetry',
    'config',
    'core',
    'image-service',
    'pod-sandbox',
    'runtime-service',
    'linux',
  ],
  cli: ['daemon', 'api', 'config'],
};
/** Import nothing, and may be imported by all. */
const COMMON = ['core/errors.ts', 'core/ids.ts'];
/** The formats of archives and of configuration files: pure, and used by the services and the command line. */
const FORMATS = /^core\/(tar|toml)\//;
/** Only linux/ touches the kernel; tests drive programs as they like. */
const KERNEL = /^(koffi|(node:)?child_process)$/;

/** Which folders of its own top folder a folder may import. */
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  'linux/ports': [],
  'linux/libc': [],
  'linux/systemd': ['linux/libc', 'linux/ports'],
  'linux/io': ['linux/libc', 'linux/ports'],
  'linux/fs': ['linux/libc', 'linux/ports'],
  'linux/process': ['linux/io', 'linux/libc', 'linux/ports'],
  'linux/namespace': ['linux/libc', 'linux/ports', 'linux/process'],
  'linux/mount': ['linux/libc', 'linux/namespace', 'linux/ports'],
  'linux/net': ['linux/libc', 'linux/namespace', 'linux/ports'],
  'linux/cgroup': ['linux/fs', 'linux/libc', 'linux/mount', 'linux/ports'],
  'linux/selinux': ['linux/fs', 'linux/libc', 'linux/ports'],
  'linux/worker': ['cgroup', 'io', 'libc', 'mount', 'namespace', 'net', 'ports', 'process'].map(
    (folder) => `linux/${folder}`,
  ),
  'core/model': ['core'],
  'core/tar': ['core'],
  'core/toml': ['core'],
  'pod-sandbox/network/cni': ['pod-sandbox'],
  'pod-sandbox/network/bridge': ['pod-sandbox', 'pod-sandbox/network/cni'],
  'pod-sandbox/network': ['pod-sandbox', 'pod-sandbox/network/bridge', 'pod-sandbox/network/cni'],
  'pod-sandbox/cgroup': ['pod-sandbox'],
  'pod-sandbox/namespaces': ['pod-sandbox'],
  'pod-sandbox/selinux': ['pod-sandbox'],
  'image-service/image': ['image-service'],
  'image-service/policy': ['image-service', 'image-service/image'],
  'image-service/registry': [
    'image-service',
    'image-service/image',
    'image-service/registry/config',
    'image-service/registry/credentials',
    'image-service/registry/http',
  ],
  'image-service/registry/credentials': [
    'image-service/image',
    'image-service/registry',
    'image-service/registry/config',
  ],
  'image-service/registry/http': ['image-service'],
  'image-service/download': [
    'image-service',
    'image-service/image',
    'image-service/registry',
    'image-service/registry/credentials',
    'image-service/registry/http',
  ],
  'image-service/registry/config': [
    'image-service',
    'image-service/image',
    'image-service/registry',
    'image-service/registry/http',
  ],
  'image-service/unpack': ['image-service', 'image-service/erofs'],
  'image-service/erofs': ['image-service', 'image-service/unpack'],
  'image-service/check': ['image-service', 'image-service/image', 'image-service/store'],
  'image-service/store': [
    'image-service',
    'image-service/erofs',
    'image-service/image',
    'image-service/registry',
  ],
  'runtime-service/oci-runtime': ['runtime-service'],
  'runtime-service/spec': ['runtime-service', 'runtime-service/oci-runtime'],
  'runtime-service/stats': ['runtime-service'],
  'runtime-service/files': ['runtime-service'],
  'runtime-service/limits': ['runtime-service', 'runtime-service/spec'],
  'runtime-service/hooks': ['runtime-service', 'runtime-service/spec'],
  'runtime-service/annotations': [
    'runtime-service',
    'runtime-service/hooks',
    'runtime-service/oci-runtime',
    'runtime-service/spec',
  ],
  'nri/messages': [],
  'nri/adjust': ['nri/adjust/parse', 'nri/messages'],
  'nri/adjust/parse': ['nri/adjust'],
};
/** Besides the ports: what needs no kernel object (errors, formats), and what a thread of a service calls by itself. */
const FACE_OF_LINUX = [
  'cgroup/huge-pages',
  'fs/at-syscalls',
  'fs/copy-attributes',
  'fs/descriptors-below',
  'fs/executable',
  'fs/files',
  'fs/in-root',
  'fs/lock',
  'fs/regular-file',
  'fs/remove-tree',
  'fs/uncached-file',
  'fs/uncached-writes',
  'io/fifo',
  'libc/decompress',
  'libc/errno',
  'libc/sha256',
  'libc/worker-thread',
  'net/ip-address',
  'process/identity',
  'process/program',
  'process/seccomp',
  'systemd/bus-name',
  'systemd/slice-names',
  'systemd/unit-properties',
].map((file) => `linux/${file}.ts`);

interface Import {
  readonly file: string;
  readonly top: string;
  readonly target: string;
}

/** With `lazy` also what `import()` loads when it is needed. Types are not loaded, but are a dependency as well. */
function imports(lazy = true): Import[] {
  const files = Object.keys(MAY_IMPORT).flatMap((top) =>
    globSync(`${top}/**/*.ts`, { cwd: PROJECT }).map((file) => ({ top, file })),
  );
  return importsOf(files, lazy);
}

function importsOf(files: readonly Pick<Import, 'file' | 'top'>[], lazy = true): Import[] {
  return files.flatMap(({ top, file }) => {
    const text = readFileSync(join(PROJECT, file), 'utf8');
    const found = text.matchAll(
      /(?:^|\s)(?:import|export)\b[^'";]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|^import\s+['"]([^'"]+)['"]/gm,
    );
    const wanted = [...found].filter(
      (match) => lazy || (match[2] === undefined && !/^\s*(import|export) type\b/.test(match[0])),
    );
    return wanted.map((match) => ({ file, top, target: (match[1] ?? match[2] ?? match[3]) as string }));
  });
}

const isTest = (file: string): boolean => file.endsWith('.test.ts');

test('imports go only down', () => {
  const wrong = imports().filter(({ file, top, target }) => {
    if (!target.startsWith('#')) return false;
    const path = target.slice(1);
    const [to = ''] = path.split('/');
    if (to === top || COMMON.includes(path) || FORMATS.test(path)) return false;
    return !(MAY_IMPORT[top]?.includes(to) || isTest(file));
  });
  assert.deepEqual(wrong, []);
});

test('relative imports stay in their top folder', () => {
  const wrong = imports().filter(({ file, target }) => {
    if (!target.startsWith('.')) return false;
    const depth = file.split('/').length - 2;
    return (target.match(/\.\.\//g) ?? []).length > depth;
  });
  assert.deepEqual(wrong, []);
});

test('errors and ids import nothing of the project', () => {
  const wrong = imports().filter(({ file, target }) => COMMON.includes(file) && /^[#.]/.test(target));
  assert.deepEqual(wrong, []);
});

test('the formats of archives and of TOML stand on the errors alone', () => {
  const wrong = imports().filter(
    ({ file, target }) => FORMATS.test(file) && !isTest(file) && !/^(\.\/|\.\.\/errors\.ts$)/.test(target),
  );
  assert.deepEqual(wrong, []);
});

test('core imports nothing of linux', () => {
  const wrong = imports().filter(
    ({ file, top, target }) => top === 'core' && target.startsWith('#linux') && !isTest(file),
  );
  assert.deepEqual(wrong, []);
});

test('the folders of a top folder import only what is below them', () => {
  const wrong = imports().filter(({ file, target }) => {
    if (!/^[#.]/.test(target)) return false;
    const path = target.startsWith('#') ? target.slice(1) : join(dirname(file), target);
    const [from, to] = [dirname(file), dirname(path)];
    const below = FOLDERS[from];
    return (
      below !== undefined &&
      !isTest(file) &&
      from !== to &&
      path.split('/')[0] === file.split('/')[0] &&
      !below.includes(to)
    );
  });
  assert.deepEqual(wrong, []);
});

test('others see the ports of linux, and what their own threads need without a kernel', () => {
  const wrong = imports().filter(({ file, top, target }) => {
    const path = target.slice(1);
    if (!target.startsWith('#linux/') || top === 'linux' || top === 'daemon' || isTest(file)) return false;
    return !path.startsWith('linux/ports/') && !FACE_OF_LINUX.includes(path);
  });
  assert.deepEqual(wrong, []);
});

test('no file imports itself by way of others', () => {
  const graph = new Map<string, string[]>();
  for (const { file, target } of imports()) {
    if (!/^[#.]/.test(target)) continue;
    const path = target.startsWith('#') ? target.slice(1) : join(dirname(file), target);
    graph.set(file, [...(graph.get(file) ?? []), path]);
  }
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) circles.push([...way.slice(way.indexOf(file)), file].join(' -> '));
    if (done.has(file)) return;
    done.add(file);
    for (const next of graph.get(file) ?? []) visit(next, [...way, file]);
  };
  for (const file of graph.keys()) visit(file, []);
  assert.deepEqual(circles, []);
});

test('the daemon starts without what it needs later or never: HTTP clients, verifiers of signatures, a gRPC library', () => {
  const reached = new Set<string>(['daemon/main.ts']);
  const atStart = imports(false);
  for (const file of reached)
    for (const { target } of atStart.filter((one) => one.file === file))
      if (target.startsWith('#')) reached.add(target.slice(1));
      else reached.add(target.startsWith('.') ? join(dirname(file), target) : target);
  assert.ok(reached.has('image-service/open.ts') && reached.has('pino'));
  assert.deepEqual(
    // An import of node:http reads all its exports, and some of them load an HTTP client and HTTP/2: getBuiltinModule does not.
    [...reached].filter((name) =>
      /^(undici|@sigstore\/|@grpc\/|node:http2?$|image-service\/registry\/client\.ts)/.test(name),
    ),
    [],
  );
});

test('the daemon uses the admin part of api alone: CRI is cri/', () => {
  const wrong = imports().filter(
    ({ file, top, target }) =>
      top === 'daemon' && target.startsWith('#api') && !target.startsWith('#api/admin/') && !isTest(file),
  );
  assert.deepEqual(wrong, []);
});

test('only linux/ touches the kernel', () => {
  const wrong = imports().filter(
    ({ file, top, target }) =>
      top !== 'linux' && KERNEL.test(target) && !isTest(file) && file !== 'api/generate.ts',
  );
  assert.deepEqual(wrong, []);
});

test('there is no default export, no utils and no file beyond two screens', () => {
  const files = Object.keys(MAY_IMPORT).flatMap((top) => globSync(`${top}/**/*.ts`, { cwd: PROJECT }));
  const sources = files.filter((file) => !file.includes('/generated/') && !isTest(file));
  assert.deepEqual(
    sources.filter((file) => /(^|\/)(utils?|helpers?|common|misc|lib)(\.ts|\/)/.test(file)),
    [],
  );
  const long = sources.filter((file) => readFileSync(join(PROJECT, file), 'utf8').split('\n').length > 300);
  assert.deepEqual(long, []);
});

test('the cluster test knows Kubernetes alone: nothing of crisp but its errors, and its cases do not see how they are run', () => {
  const folder = 'deploy/cluster-test';
  const sources = globSync(`${folder}/**/*.ts`, { cwd: PROJECT }).filter((file) => !isTest(file));
  assert.ok(sources.length > 20);
  const wrong = importsOf(sources.map((file) => ({ top: 'deploy', file }))).filter(({ file, target }) => {
    if (target.startsWith('#')) return target !== '#core/errors.ts';
    if (KERNEL.test(target)) return true;
    if (!target.startsWith('.')) return false;
    const path = join(dirname(file), target);
    if (!path.startsWith(`${folder}/`)) return true;
    if (dirname(file) === `${folder}/cluster`) return dirname(path) !== dirname(file);
    return (
      dirname(file) === `${folder}/cases` && /^(main|run|options|select)\.ts$/.test(relative(folder, path))
    );
  });
  assert.deepEqual(wrong, []);
  const long = sources.filter((file) => readFileSync(join(PROJECT, file), 'utf8').split('\n').length > 300);
  assert.deepEqual(long, []);
});

test('every top folder is described in ARCHITECTURE.md', () => {
  const text = readFileSync(join(PROJECT, 'ARCHITECTURE.md'), 'utf8');
  const folders = [...Object.keys(MAY_IMPORT), 'deploy', 'test', 'docs'];
  assert.deepEqual(
    folders.filter((top) => !text.includes(`${top}/`)),
    [],
  );
});
