/** NRI is configured alike in both peers, under other names. */
import { directory, duration } from './convert.ts';
import { maps, type PeerOption } from './option.ts';

/** Of their validator what it refuses, by the middle of the option's name. */
const REJECTED = [
  'oci_hook',
  'runtime_default_seccomp',
  'unconfined_seccomp',
  'custom_seccomp',
  'namespace',
  'sysctl',
] as const;

interface Names {
  readonly socket: string;
  readonly plugins: string;
  readonly configurations: string;
  readonly registration: string;
  readonly request: string;
  readonly connections: string;
  readonly enable: string;
  /** Of what the validator refuses. */
  readonly reject: (what: string) => string;
  /** Of the above those that the peer has. */
  readonly rejected?: readonly string[];
  readonly required: string;
  readonly tolerate: string;
}

/** All but the switch. */
export const nriOptions = (names: Names): PeerOption[] => [
  maps(names.socket, '/var/run/nri/nri.sock', 'nri.socket'),
  maps(names.plugins, '/opt/nri/plugins', 'nri.plugin_dir', { convert: directory('nri', 'plugin_dir') }),
  maps(names.configurations, '/etc/nri/conf.d', 'nri.plugin_config_dir', {
    convert: directory('nri', 'plugin_config_dir'),
  }),
  maps(names.registration, '5s', 'nri.registration_timeout', {
    convert: duration({ same: 'the default' }, 'nri', 'registration_timeout'),
  }),
  maps(names.request, '2s', 'nri.request_timeout', {
    convert: duration({ same: 'the default' }, 'nri', 'request_timeout'),
  }),
  maps(names.connections, false, 'nri.disable_connections'),
  maps(names.enable, false, 'nri.default_validator.enable'),
  ...(names.rejected ?? REJECTED).map((what) =>
    maps(names.reject(what), false, `nri.default_validator.reject_${what}_adjustment`),
  ),
  maps(names.required, [], 'nri.default_validator.required_plugins'),
  maps(names.tolerate, '', 'nri.default_validator.tolerate_missing_plugins_annotation'),
];
