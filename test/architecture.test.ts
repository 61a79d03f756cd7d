/** The arrows of the house: which room may import which. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';

const PROJECT = join(import.meta.dirname, '..');

/** What each room may import besides itself; core/errors.ts and core/ids.ts are everybody's. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  api: [],
  linux: [],
  config: [],
  telemetry: [],
  core: ['linux'],
  'image-service': ['core', 'linux'],
  'pod-sandbox': ['core', 'linux'],
  'runtime-service': ['core', 'linux'],
  cri: ['api', 'telemetry', 'config', 'core', 'image-service', 'pod-sandbox', 'runtime-service'],
  daemon: [
    'api',
    'cri',
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
const EVERYBODYS = ['core/errors.ts', 'core/ids.ts'];
/** The format of archives: pure, and spoken by the services and the command line alike. */
const FORMATS = /^core\/tar\//;
/** Only linux/ touches the kernel; tests drive programs as they like. */
const KERNEL = /^(koffi|(node:)?child_process)$/;

interface Import {
  readonly file: string;
  readonly room: string;
  readonly target: string;
}

function imports(): Import[] {
  const files = Object.keys(MAY_IMPORT).flatMap((room) =>
    globSync(`${room}/**/*.ts`, { cwd: PROJECT }).map((file) => ({ room, file })),
  );
  return files.flatMap(({ room, file }) => {
    const text = readFileSync(join(PROJECT, file), 'utf8');
    const found = text.matchAll(
      /(?:^|\s)(?:import|export)\b[^'";]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|^import\s+['"]([^'"]+)['"]/gm,
    );
    return [...found].map((match) => ({ file, room, target: (match[1] ?? match[2] ?? match[3]) as string }));
  });
}

const isTest = (file: string): boolean => file.endsWith('.test.ts');

test('imports go only down', () => {
  const wrong = imports().filter(({ file, room, target }) => {
    if (!target.startsWith('#')) return false;
    const path = target.slice(1);
    const [to = ''] = path.split('/');
    if (to === room || EVERYBODYS.includes(path) || FORMATS.test(path)) return false;
    return !(MAY_IMPORT[room]?.includes(to) || isTest(file));
  });
  assert.deepEqual(wrong, []);
});

test('relative imports stay in their room', () => {
  const wrong = imports().filter(({ file, target }) => {
    if (!target.startsWith('.')) return false;
    const depth = file.split('/').length - 2;
    return (target.match(/\.\.\//g) ?? []).length > depth;
  });
  assert.deepEqual(wrong, []);
});

test('errors and ids import nothing of the project', () => {
  const wrong = imports().filter(({ file, target }) => EVERYBODYS.includes(file) && /^[#.]/.test(target));
  assert.deepEqual(wrong, []);
});

test('the format of archives stands on the errors alone', () => {
  const wrong = imports().filter(
    ({ file, target }) => FORMATS.test(file) && !isTest(file) && !/^(\.\/|\.\.\/errors\.ts$)/.test(target),
  );
  assert.deepEqual(wrong, []);
});

test('core uses the file part of linux alone', () => {
  const wrong = imports().filter(
    ({ file, room, target }) =>
      room === 'core' && target.startsWith('#linux') && target !== '#linux/ports/kernel.ts' && !isTest(file),
  );
  assert.deepEqual(wrong, []);
});

test('the daemon uses the admin part of api alone: CRI is cri/', () => {
  const wrong = imports().filter(
    ({ file, room, target }) =>
      room === 'daemon' && target.startsWith('#api') && !target.startsWith('#api/admin/') && !isTest(file),
  );
  assert.deepEqual(wrong, []);
});

test('only linux/ touches the kernel', () => {
  const wrong = imports().filter(
    ({ file, room, target }) =>
      room !== 'linux' && KERNEL.test(target) && !isTest(file) && file !== 'api/generate.ts',
  );
  assert.deepEqual(wrong, []);
});

test('there is no default export, no utils and no file beyond two screens', () => {
  const files = Object.keys(MAY_IMPORT).flatMap((room) => globSync(`${room}/**/*.ts`, { cwd: PROJECT }));
  const sources = files.filter((file) => !file.includes('/generated/') && !isTest(file));
  assert.deepEqual(
    sources.filter((file) => /(^|\/)(utils?|helpers?|common|misc|lib)(\.ts|\/)/.test(file)),
    [],
  );
  const long = sources.filter((file) => readFileSync(join(PROJECT, file), 'utf8').split('\n').length > 300);
  assert.deepEqual(long, []);
});

test('every room is described in ARCHITECTURE.md', () => {
  const text = readFileSync(join(PROJECT, 'ARCHITECTURE.md'), 'utf8');
  const rooms = [...Object.keys(MAY_IMPORT), 'deploy', 'test', 'docs'];
  assert.deepEqual(
    rooms.filter((room) => !text.includes(`${room}/`)),
    [],
  );
});
