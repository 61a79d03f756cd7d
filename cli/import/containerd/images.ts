/** Options of containerd's CRI plugin for images. */
import { duration } from '../convert.ts';
import { lacks, maps, moot, type PeerOption, type Result, type Surroundings, under } from '../option.ts';
import { IMAGES } from './names.ts';
import { registryOptions } from './registry.ts';

const IN_IMAGES = ['plugins', IMAGES];
const LAZY = 'it is for snapshotters that load layers lazily: crisp fetches images as a whole';
const NO_PAUSE = 'no pause image is pulled: crisp has its own pause program';

function snapshotter(value: unknown): Result {
  if (value === 'overlayfs') return { same: 'layers are mounted by overlay; image.layers is their form' };
  if (value === 'erofs') return { set: [[['image', 'layers'], 'erofs']] };
  return {
    cannot:
      'layers are EROFS images or directories (image.layers), mounted by overlay: remote, block device, btrfs and zfs snapshotters have no counterpart',
  };
}

/** All but the sandbox's, in one list. */
function pinned(_value: unknown, { names: [name], below }: Surroundings): Result {
  if (name === 'sandbox') return { same: NO_PAUSE };
  const others = below(...IN_IMAGES, 'pinned_images').filter(([key]) => key !== 'sandbox');
  return { set: [[['image', 'pinned'], others.map(([, image]) => image)]] };
}

export const imageOptions: readonly PeerOption[] = under(IN_IMAGES, [
  maps('snapshotter', 'overlayfs', 'image.layers', {
    convert: snapshotter,
    note: '"overlayfs" is "auto", "erofs" the same',
  }),
  lacks('disable_snapshot_annotations', true, LAZY),
  maps('discard_unpacked_layers', false, 'image.keep_blobs', {
    note: 'the opposite: true is keep_blobs = false, the default',
    convert: (value) =>
      value === true ? { same: 'the same here: image.keep_blobs is off' } : { cannot: '' },
    differs:
      'compressed blobs of layers are not kept; image.keep_blobs = true keeps them for `crisp image export`',
  }),
  maps('pinned_images.*', undefined, 'image.pinned', {
    convert: pinned,
    note: 'all but the one of the sandbox',
  }),
  lacks('runtime_platforms.*.platform', undefined, 'there is one platform for all handlers: image.platform'),
  lacks(
    'runtime_platforms.*.snapshotter',
    undefined,
    'there is one form of layers for all handlers: image.layers',
  ),
  lacks('image_decryption.key_model', 'node', 'encrypted layers are refused: push such images unencrypted'),
  maps('max_concurrent_downloads', 3, 'image.concurrent_layers', { note: 'over all pulls' }),
  lacks(
    'concurrent_layer_fetch_buffer',
    0,
    'a layer is fetched by one request, and unpacked while it arrives',
  ),
  maps('image_pull_progress_timeout', '5m0s', 'image.pull_stall_timeout', {
    note: 'after it the transfer is retried, elsewhere if there is a mirror',
    convert: (value, around) =>
      value === '5m0s'
        ? { cannot: '' }
        : duration(
            { cannot: 'a transfer that receives nothing is always retried: choose image.pull_stall_timeout' },
            'image',
            'pull_stall_timeout',
          )(value, around),
    differs: 'a transfer that receives nothing for 60 s is retried (image.pull_stall_timeout)',
  }),
  moot('image_pull_with_sync_fs', false, 'an image that is listed is whole on the disk'),
  moot('stats_collect_period', 10, 'ImageFsInfo counts when it is asked'),
  moot('use_local_image_pull', false, 'crisp has one way to pull'),
  ...registryOptions,
]);
