import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { parse } from 'smol-toml';
import { writeCrioConfig } from './crio-config.ts';
import { MIRRORED } from './registries.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-crio-'));
test.after(() => rmSync(directory, { recursive: true }));

const REGISTRY = '127.0.0.1:5000';
const state = join(directory, 'state');
const programs = {
  crio: '/opt/bin/crio',
  pinns: '/opt/bin/pinns',
  conmon: '/usr/bin/conmon',
  runtime: '/usr/bin/crun',
};
const { argv, environment, socket } = writeCrioConfig(
  {
    runtime: 'crun',
    network: 'exec',
    crisp: '',
    directory,
    cgroup: '/bench',
    layers: 'auto',
    registry: REGISTRY,
    snapshotter: 'overlayfs',
    mirrors: ['http://127.0.0.1:1', 'http://127.0.0.1:2'],
  },
  { directory, state, confDir: join(directory, 'net.d') },
  programs,
);
const written = (file: string | undefined): Record<string, unknown> =>
  JSON.parse(JSON.stringify(parse(readFileSync(file ?? '', 'utf8')))) as Record<string, unknown>; // without null prototypes

test('it has the OCI runtime, the cgroup driver, the network and the programs of the bench', () => {
  const { crio } = written(argv[2]) as { crio: Record<string, Record<string, unknown>> };
  assert.deepEqual(crio['runtime']?.['runtimes'], {
    crun: {
      runtime_path: programs.runtime,
      runtime_root: join(state, 'crun'),
      runtime_type: 'oci',
      monitor_path: programs.conmon,
    },
  });
  const { default_runtime: runtime, cgroup_manager: driver, pinns_path: pinns } = crio['runtime'] ?? {};
  assert.deepEqual([runtime, driver, pinns], ['crun', 'cgroupfs', programs.pinns]);
  assert.deepEqual(crio['network'], {
    cni_default_network: 'bench',
    network_dir: join(directory, 'net.d'),
    plugin_dirs: ['/usr/lib/cni'],
  });
  assert.deepEqual(crio['metrics'], { enable_metrics: false });
  assert.deepEqual([crio['api']?.['listen'], crio['storage_driver']], [socket, 'overlay']);
});

test('every path in it is below the directory or the state of the side, or a program', () => {
  const known = [`${directory}/`, ...Object.values(programs), '/usr/lib/cni'];
  const paths = readFileSync(argv[2] ?? '', 'utf8').match(/"\/[^"]*"/g) ?? [];
  assert.ok(paths.length > 10);
  for (const path of paths)
    assert.ok(
      known.some((start) => path.startsWith(`"${start}`)),
      path,
    );
  for (const path of Object.values(environment)) assert.ok(path.startsWith(`${directory}/`), path);
});

test('registries are asked by plain HTTP, their mirrors in their order', () => {
  const { registry } = written(environment['CONTAINER_REGISTRIES_CONF']) as { registry: object[] };
  const insecure = true;
  assert.deepEqual(registry, [
    { prefix: REGISTRY, location: REGISTRY, insecure },
    {
      prefix: MIRRORED,
      location: MIRRORED,
      insecure,
      mirror: [
        { location: '127.0.0.1:1', insecure },
        { location: '127.0.0.1:2', insecure },
      ],
    },
  ]);
});
