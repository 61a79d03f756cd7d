/** Options of containerd outside of plugins; [grpc], [ttrpc], [debug] and [metrics] are plugins in version 4. */
import { logLevel } from '../convert.ts';
import { type Convert, lacks, manual, maps, moot, type PeerOption, under } from '../option.ts';

const SOCKET =
  'crisp has a socket of its own, so that both can be installed; set containerRuntimeEndpoint of the kubelet to it';
const OWNER = 'the socket belongs to root; socket_mode sets its permissions';
const LOCAL = 'CRI is served on a unix socket alone';
const SHIMS = 'there are no shims: conmon and the OCI runtime are executed';
const PROXY =
  'there are no plugins of other processes: remote snapshotters (stargz, nydus, SOCI) are not supported';
const LAYERS =
  'layers are tar, uncompressed or by gzip or zstd: programs for others, or for encrypted ones, are not called';
/** The two of the default configuration decrypt. */
const layers: Convert = (_value, { names: [name = ''] }) =>
  name.startsWith('io.containerd.ocicrypt.')
    ? { same: 'for encrypted layers alone, which crisp refuses: push such images unencrypted' }
    : { cannot: LAYERS };
const UNIT = 'set it in the systemd unit of crisp';

export const topOptions: readonly PeerOption[] = [
  moot('version', undefined, 'the version of the format; versions 2, 3 and 4 are read'),
  manual(
    'root',
    '/var/lib/containerd',
    'root',
    'crisp keeps its files in a directory of its own; images are pulled again',
  ),
  manual('state', '/run/containerd', 'state', 'it should be on a tmpfs, and is not shared'),
  moot('temp', '', 'temporary files are in root, beside what they become'),
  lacks('plugin_dir', '', 'there are no plugins to load'),
  lacks('required_plugins', [], 'there are no plugins'),
  lacks('disabled_plugins', [], 'there are no plugins'),
  lacks('oom_score', 0, `${UNIT} (OOMScoreAdjust=)`),
  moot(
    'imports',
    undefined,
    'the files are read, in the order of containerd; see crisp.toml.d for files of crisp',
  ),
  lacks('cgroup.path', '', `${UNIT} (Slice=); cgroup.parent is that of pods without one`),
  ...under(
    ['proxy_plugins', '*'],
    ['type', 'address', 'platform', 'exports.*', 'capabilities'].map((key) => lacks(key, undefined, PROXY)),
  ),
  moot('timeouts.*', undefined, `they are for shims and the database of containerd; ${SHIMS}`),
  ...under(
    ['stream_processors', '*'],
    ['accepts', 'returns', 'path', 'args', 'env'].map((key) =>
      lacks(key, undefined, LAYERS, { convert: layers }),
    ),
  ),
];

export const serverOptions: readonly PeerOption[] = [
  ...under(
    ['grpc'],
    [
      manual('address', '/run/containerd/containerd.sock', 'socket', SOCKET),
      lacks('uid', 0, OWNER),
      lacks('gid', 0, OWNER),
      lacks('max_recv_message_size', 16_777_216, 'requests of up to 80 MiB are accepted'),
      lacks('max_send_message_size', 16_777_216, 'replies have at most 16 MiB, as the kubelet takes them'),
      lacks('tcp_address', '', LOCAL),
      lacks('tcp_tls_ca', '', LOCAL),
      lacks('tcp_tls_cert', '', LOCAL),
      lacks('tcp_tls_key', '', LOCAL),
      lacks('tcp_tls_common_name', '', LOCAL),
    ],
  ),
  ...under(['ttrpc'], [moot('address', '', SHIMS), moot('uid', 0, SHIMS), moot('gid', 0, SHIMS)]),
  ...under(
    ['debug'],
    [
      maps('level', '', 'log.level', { convert: logLevel }),
      maps('format', '', 'log.format', {
        convert: (value) => (value === '' ? { cannot: '' } : { set: [[['log', 'format'], value]] }),
        differs: 'log lines are JSON objects; log.format = "text" for human-readable text',
      }),
      lacks('log_trace_id', false, 'log lines have the id of their request'),
      lacks('address', '', 'there is no debug socket: SIGUSR1 logs the state, `crisp status` shows it'),
      lacks('uid', 0, 'there is no debug socket'),
      lacks('gid', 0, 'there is no debug socket'),
    ],
  ),
  ...under(
    ['metrics'],
    [
      maps('address', '', 'metrics.address', {
        note: 'the path is /metrics, not /v1/metrics, and metrics have other names (docs/operators.md)',
        convert: (value) => (value === '' ? { same: 'off' } : { set: [[['metrics', 'address'], value]] }),
      }),
      moot(
        'grpc_histogram',
        false,
        'the duration of each call is always a histogram, crisp_operation_seconds',
      ),
    ],
  ),
];
