/** Options of CRI-O: [crio], [crio.api]. */
import { listenAddress, onlyIf } from '../convert.ts';
import { lacks, manual, maps, moot, under } from '../option.ts';

const API = ['crio', 'api'];
const SOCKET =
  'crisp has a socket of its own, so that both can be installed; set containerRuntimeEndpoint of the kubelet to it';
const DIRECTORY = 'crisp keeps its files in a directory of its own; images are pulled again';
const WIPE = 'crisp finds out itself what a reboot or a crash has left, and undoes it at each start';

export const rootOptions = under(
  ['crio'],
  [
    manual('root', '/var/lib/containers/storage', 'root', DIRECTORY),
    manual('runroot', '/var/run/containers/storage', 'state', 'it should be on a tmpfs, and is not shared'),
    lacks(
      'imagestore',
      '',
      'images and writable layers are in one directory: choose root on the larger disk',
    ),
    lacks(
      'storage_driver',
      'overlay',
      'layers are EROFS images or directories (image.layers), mounted by overlay',
    ),
    lacks(
      'storage_option',
      [],
      'these are options of containers-storage: crisp mounts with what the kernel has, and needs no mount program',
    ),
    moot('log_dir', '/var/log/crio/pods', 'the kubelet names the log directory of each pod'),
    moot('version_file', '/var/run/crio/version', WIPE),
    moot('version_file_persist', '', WIPE),
    moot('clean_shutdown_file', '/var/lib/crio/clean.shutdown', WIPE),
    lacks('internal_wipe', true, `${WIPE}: this cannot be switched off`),
    lacks(
      'internal_repair',
      true,
      'an image with a layer that is missing or damaged is no longer listed, and so pulled again; `crisp check --images` compares contents',
    ),
    moot('file_locking', undefined, 'removed from CRI-O; crisp always locks its directories'),
    moot('file_locking_path', undefined, 'removed from CRI-O; crisp always locks its directories'),
  ],
);

const tls = (key: string, to: string) =>
  maps(key, '', to, {
    convert: onlyIf(
      ({ get }) => get(...API, 'stream_enable_tls') === true,
      'not in use: stream_enable_tls is off',
      (value) => ({ set: [[to.split('.'), value]] }),
    ),
  });

export const apiOptions = under(API, [
  manual('listen', '/var/run/crio/crio.sock', 'socket', SOCKET),
  maps('stream_address', '127.0.0.1', 'streaming.address', {
    convert: (value, { get }) => ({
      set: [
        [['streaming', 'address'], listenAddress(value || '127.0.0.1', get(...API, 'stream_port') || '0')],
      ],
    }),
  }),
  maps('stream_port', '0', 'streaming.address', {
    convert: (value, { get }) => ({
      set: [
        [['streaming', 'address'], listenAddress(get(...API, 'stream_address') || '127.0.0.1', value || '0')],
      ],
    }),
  }),
  maps('stream_enable_tls', false, 'streaming.tls_cert_file', {
    note: 'sessions are encrypted where a certificate is set',
    convert: (value, { get }) =>
      value === true && get(...API, 'stream_tls_cert') === ''
        ? { cannot: 'set streaming.tls_cert_file and streaming.tls_key_file' }
        : { same: 'sessions are encrypted where streaming.tls_cert_file is set' },
  }),
  tls('stream_tls_cert', 'streaming.tls_cert_file'),
  tls('stream_tls_key', 'streaming.tls_key_file'),
  tls('stream_tls_ca', 'streaming.tls_client_ca_file'),
  maps('stream_idle_timeout', '', 'streaming.idle_timeout', {
    convert: (value) =>
      value === '' ? { same: 'four hours for both' } : { set: [[['streaming', 'idle_timeout'], value]] },
  }),
  maps('tls_min_version', 'VersionTLS12', 'streaming.tls_min_version', {
    note: 'and metrics.tls_min_version; 1.2 is the lowest',
    convert: (value) => {
      if (value === 'VersionTLS12' || value === '') return { same: 'TLS 1.2 is the minimum for both' };
      if (value !== 'VersionTLS13') return { cannot: 'versions before TLS 1.2 are not supported' };
      return { set: ['streaming', 'metrics'].map((section) => [[section, 'tls_min_version'], '1.3']) };
    },
  }),
  lacks('tls_cipher_suites', [], "Node's default cipher suites are used"),
  lacks(
    'grpc_max_send_msg_size',
    83_886_080,
    'replies have at most 16 MiB, as the kubelet takes them; streamed lists have no limit',
  ),
  lacks('grpc_max_recv_msg_size', 83_886_080, 'requests of up to 80 MiB are accepted'),
]);
