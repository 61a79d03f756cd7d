/** The Node Resource Interface: programs that adjust pods and containers. */
import { duration, flag, list, path, section, text } from './option.ts';
import { atStart, reloadableSection } from './reloadable.ts';

/** The kubelet gives a call two minutes. */
const wait = { min: '10ms', max: '1m' };

const rejects = (what: string) => flag(false, `Refuse a container in which a plugin ${what}.`);

export const nri = reloadableSection(
  'NRI (Node Resource Interface): plugins that adjust pods and containers while they are made.',
  {
    enabled: atStart(flag(true, 'Serve the socket, and start the plugins in plugin_dir.')),
    socket: atStart(path('/var/run/nri/nri.sock', 'The socket to which plugins connect; for root only.')),
    disable_connections: atStart(
      flag(false, 'Do not serve the socket: only the plugins in plugin_dir are used.'),
    ),
    plugin_dir: atStart(
      path(
        '/opt/nri/plugins',
        'Directory of plugins that crisp starts itself: executable files named NN-NAME, in the order of their two digits.',
      ),
    ),
    plugin_config_dir: atStart(
      path(
        '/etc/nri/conf.d',
        'Directory of their configuration: NN-NAME.conf, else NAME.conf, passed on unread.',
      ),
    ),
    registration_timeout: duration(
      '5s',
      wait,
      'How long a plugin that has connected or was started may take to register, and then to take in what is on the node.',
    ),
    request_timeout: duration(
      '2s',
      wait,
      'How long a plugin may take for one event. One that takes longer is disconnected, and the pod goes on without it.',
    ),
    default_validator: section('What plugins may not do, checked by crisp itself.', {
      enable: flag(false, 'Check the adjustments of all plugins before a container is made.'),
      reject_oci_hook_adjustment: rejects('adds OCI hooks'),
      reject_runtime_default_seccomp_adjustment: rejects('changes the system call filter RuntimeDefault'),
      reject_unconfined_seccomp_adjustment: rejects('adds a system call filter where the pod asks for none'),
      reject_custom_seccomp_adjustment: rejects('changes a system call filter of the pod (Localhost)'),
      reject_namespace_adjustment: rejects('changes namespaces'),
      reject_sysctl_adjustment: rejects('changes sysctls'),
      required_plugins: list(
        [],
        'Names of plugins without which no container is made; with any the validator is on. More in the annotation required-plugins.noderesource.dev of a pod.',
        text('', '', {
          pattern: /^[A-Za-z0-9_.+-]{1,128}$/,
          expected: 'the name of a plugin, without its digits',
        }),
      ),
      tolerate_missing_plugins_annotation: text(
        '',
        'Annotation of pods that need no required plugins where its value is "true"; empty: none.',
        { pattern: /^[^\s,]{0,317}$/, expected: 'the key of an annotation, or ""' },
      ),
    }),
  },
);
