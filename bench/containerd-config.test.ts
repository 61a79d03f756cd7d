import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { parse } from 'smol-toml';
import { writeContainerdConfig } from './containerd-config.ts';
import type { Snapshotter } from './options.ts';
import { MIRRORED } from './registries.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-containerd-'));
test.after(() => rmSync(directory, { recursive: true }));

const OLD = 'containerd github.com/containerd/containerd 1.6.20~ds1';
const NEW = 'containerd github.com/containerd/containerd/v2 v2.3.4';
const REGISTRY = '127.0.0.1:5000';
const MIRRORS = ['http://127.0.0.1:1', 'http://127.0.0.1:2'];

interface Written {
  readonly version: number;
  readonly plugins: Readonly<Record<string, unknown>>;
}

const written = (version: string, snapshotter: Snapshotter = 'overlayfs'): Written => {
  const file = writeContainerdConfig(
    {
      runtime: 'crun',
      network: 'exec',
      crisp: '',
      directory,
      cgroup: '/bench',
      layers: 'auto',
      registry: REGISTRY,
      snapshotter,
      mirrors: MIRRORS,
    },
    { directory, state: join(directory, 'state'), confDir: join(directory, 'net.d') },
    version,
  );
  return JSON.parse(JSON.stringify(parse(readFileSync(file, 'utf8')))) as Written; // without null prototypes
};

test('a containerd before 2.1 gets version 2, with the mirrors in it', () => {
  const { version, plugins } = written(OLD);
  assert.equal(version, 2);
  const { registry } = plugins['io.containerd.grpc.v1.cri'] as {
    registry: { mirrors: Record<string, { endpoint: string[] }> };
  };
  assert.deepEqual(registry.mirrors[MIRRORED]?.endpoint, MIRRORS);
});

test('a later one gets version 3 and a file for each registry, whose endpoints keep their order', () => {
  const { version, plugins } = written(NEW);
  assert.equal(version, 3);
  const images = plugins['io.containerd.cri.v1.images'] as {
    snapshotter: string;
    registry: { config_path: string };
  };
  assert.equal(images.snapshotter, 'overlayfs');
  assert.equal(plugins['io.containerd.transfer.v1.local'], undefined);
  const hosts = (host: string) =>
    parse(readFileSync(join(images.registry.config_path, host, 'hosts.toml'), 'utf8'));
  assert.deepEqual(Object.keys(hosts(MIRRORED)['host'] ?? {}), MIRRORS);
  assert.equal(hosts(REGISTRY)['server'], `http://${REGISTRY}`);
});

test('EROFS layers are written by the differ for them, also by the transfer service', () => {
  const { plugins } = written(NEW, 'erofs');
  assert.equal((plugins['io.containerd.cri.v1.images'] as { snapshotter: string }).snapshotter, 'erofs');
  assert.deepEqual(plugins['io.containerd.service.v1.diff-service'], { default: ['erofs', 'walking'] });
  assert.deepEqual(plugins['io.containerd.transfer.v1.local'], {
    unpack_config: [{ platform: 'linux', snapshotter: 'erofs', differ: 'erofs' }],
  });
});
