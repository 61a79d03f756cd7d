/** Where the options of containerd's versions 2 and 4 are in version 3, as which the tables have them. */

export const CRI = 'io.containerd.grpc.v1.cri';
export const IMAGES = 'io.containerd.cri.v1.images';
export const RUNTIME = 'io.containerd.cri.v1.runtime';

const SERVER = new Set([
  'disable_tcp_service',
  'stream_server_address',
  'stream_server_port',
  'stream_idle_timeout',
  'enable_tls_streaming',
  'x509_key_pair_streaming',
]);
const OF_IMAGES = new Set([
  'registry',
  'image_decryption',
  'max_concurrent_downloads',
  'image_pull_progress_timeout',
  'image_pull_with_sync_fs',
  'stats_collect_period',
]);
const OF_SNAPSHOTS = new Set(['snapshotter', 'disable_snapshot_annotations', 'discard_unpacked_layers']);

/** Plugins with another name, or options that were none of a plugin before version 4. */
const RENAMED: Readonly<Record<string, readonly string[]>> = {
  'io.containerd.monitor.v1.cgroups': ['plugins', 'io.containerd.monitor.task.v1.cgroups'],
  'io.containerd.server.v1.grpc': ['grpc'],
  'io.containerd.server.v1.ttrpc': ['ttrpc'],
  'io.containerd.server.v1.debug': ['debug'],
  'io.containerd.server.v1.metrics': ['metrics'],
  'io.containerd.metrics.v1.grpc-prometheus': ['metrics'],
};

function criKeys(keys: readonly string[]): string[] {
  const [first = '', second = ''] = keys;
  if (SERVER.has(first)) return ['plugins', CRI, ...keys];
  if (first === 'sandbox_image') return ['plugins', IMAGES, 'pinned_images', 'sandbox'];
  if (OF_IMAGES.has(first)) return ['plugins', IMAGES, ...keys];
  if (first === 'containerd' && OF_SNAPSHOTS.has(second)) return ['plugins', IMAGES, second];
  return ['plugins', RUNTIME, ...keys];
}

/** The keys of an option in version 3. */
export function currentKeys(keys: readonly string[]): readonly string[] {
  const [top, plugin = '', ...rest] = keys;
  if (top !== 'plugins') return keys;
  if (plugin === CRI && rest.length > 0) return criKeys(rest);
  if (plugin === 'io.containerd.server.v1.grpc-tcp') {
    const [key = '', ...below] = rest;
    return ['grpc', key.endsWith('message_size') ? key : `tcp_${key}`, ...below];
  }
  const renamed = Object.hasOwn(RENAMED, plugin) ? RENAMED[plugin] : undefined;
  return renamed ? [...renamed, ...rest] : keys;
}
