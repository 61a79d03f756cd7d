/** Options of CRI-O: [crio.metrics], [crio.tracing], [crio.stats], [crio.nri]. */
import { listenAddress, onlyIf } from '../convert.ts';
import { nriOptions as nri } from '../nri.ts';
import { lacks, maps, moot, type Result, under } from '../option.ts';

const METRICS = ['crio', 'metrics'];
const TRACING = ['crio', 'tracing'];
const COLLECTORS = [
  'image_pulls_layer_size',
  'containers_events_dropped_total',
  'containers_oom_total',
  'processes_defunct',
  'operations_total',
  'operations_latency_seconds',
  'operations_latency_seconds_total',
  'operations_errors_total',
  'image_pulls_bytes_total',
  'image_pulls_skipped_bytes_total',
  'image_pulls_failure_total',
  'image_pulls_success_total',
  'image_layer_reuse_total',
  'containers_oom_count_total',
  'containers_seccomp_notifier_count_total',
  'resources_stalled_at_stage',
  'containers_stopped_monitor_count',
  'default_runtime',
];
const metered = (value: (around: { get(...keys: readonly string[]): unknown }) => Result) =>
  onlyIf(
    ({ get }) => get(...METRICS, 'enable_metrics') === true,
    'not in use: enable_metrics is off',
    (_value, around) => value(around),
  );
const address = metered(({ get }) => {
  const [host, port] = [get(...METRICS, 'metrics_host'), get(...METRICS, 'metrics_port')];
  return { set: [[['metrics', 'address'], listenAddress(host || '127.0.0.1', port)]] };
});

const tls = (key: string, option: string) =>
  maps(key, '', `metrics.${option}`, {
    convert: metered(({ get }) => ({ set: [[['metrics', option], get(...METRICS, key)]] })),
  });

export const metricsOptions = under(METRICS, [
  maps('enable_metrics', false, 'metrics.address', { convert: address }),
  maps('metrics_host', '127.0.0.1', 'metrics.address', { convert: address }),
  maps('metrics_port', 9090, 'metrics.address', { convert: address }),
  lacks('metrics_collectors', COLLECTORS, 'all metrics of crisp are always served, under their own names', {
    differs: 'metrics have other names: see docs/operators.md, Metrics',
  }),
  lacks('metrics_socket', '', 'metrics are served by TCP alone: set metrics.address to a loopback address'),
  tls('metrics_cert', 'tls_cert_file'),
  tls('metrics_key', 'tls_key_file'),
]);

export const tracingOptions = under(TRACING, [
  maps('enable_tracing', false, 'tracing.endpoint', {
    note: 'crisp sends OTLP by HTTP, usually port 4318 of the collector',
    convert: (value, { get }) =>
      value === true
        ? {
            cannot: `crisp sends OTLP by HTTP, and not by gRPC to ${get(...TRACING, 'tracing_endpoint')}: set tracing.endpoint to the collector's HTTP receiver, such as "http://127.0.0.1:4318"`,
          }
        : { same: 'off' },
  }),
  maps('tracing_endpoint', '127.0.0.1:4317', 'tracing.endpoint', {
    note: 'by hand: crisp sends OTLP by HTTP',
    convert: onlyIf(
      ({ get }) => get(...TRACING, 'enable_tracing') === true,
      'not in use: enable_tracing is off',
      () => ({ cannot: 'that is the gRPC receiver: name the one for HTTP in tracing.endpoint' }),
    ),
  }),
  maps('tracing_sampling_rate_per_million', 0, 'tracing.samples_per_million', {
    convert: onlyIf(
      ({ get }) => get(...TRACING, 'enable_tracing') === true,
      'not in use: enable_tracing is off',
      (value) => ({ set: [[['tracing', 'samples_per_million'], value]] }),
    ),
  }),
]);

const ON_REQUEST = 'stats are read from the cgroups on request';

export const statsOptions = under(
  ['crio', 'stats'],
  [
    moot('stats_collection_period', 0, ON_REQUEST),
    moot('collection_period', 0, ON_REQUEST),
    moot('included_pod_metrics', [], 'ListPodSandboxMetrics always has all metrics'),
  ],
);

export const nriOptions = under(
  ['crio', 'nri'],
  [
    maps('enable_nri', true, 'nri.enabled'),
    ...nri({
      socket: 'nri_listen',
      plugins: 'nri_plugin_dir',
      configurations: 'nri_plugin_config_dir',
      registration: 'nri_plugin_registration_timeout',
      request: 'nri_plugin_request_timeout',
      connections: 'nri_disable_connections',
      enable: 'default_validator.nri_enable_default_validator',
      reject: (what) => `default_validator.nri_validator_reject_${what}_adjustment`,
      rejected: ['oci_hook', 'runtime_default_seccomp', 'unconfined_seccomp', 'custom_seccomp', 'namespace'],
      required: 'default_validator.nri_validator_required_plugins',
      tolerate: 'default_validator.nri_validator_tolerate_missing_plugins_annotation',
    }),
  ],
);
