/** Options of CRI-O: [crio.image], [crio.network]. */
import { directories, directory, duration, offIsSame } from '../convert.ts';
import { type Convert, lacks, maps, moot, type Result, under } from '../option.ts';

const NO_PAUSE = 'no pause image is pulled: crisp has its own pause program';

/** A pattern has `*` at its end, or at both ends, which crisp does not have. */
function pinned(value: unknown): Result {
  const list = (value as readonly unknown[]).map(String);
  const wrong = list.filter((name) => name.slice(0, -1).includes('*'));
  const right = list.filter((name) => !name.slice(0, -1).includes('*'));
  if (wrong.length === 0)
    return { set: [[['image', 'pinned'], right]], note: 'names as listed, with host and tag' };
  return {
    set: [[['image', 'pinned'], right]],
    note: `without ${wrong.map((name) => JSON.stringify(name)).join(', ')}: a * may only be at the end; list such images by name`,
  };
}

export const imageOptions = under(
  ['crio', 'image'],
  [
    moot(
      'default_transport',
      'docker://',
      'images are pulled from registries; archives: `crisp image import`',
    ),
    maps('global_auth_file', '', 'image.auth_file'),
    lacks(
      'namespaced_auth_dir',
      '/etc/crio/auth',
      "credentials of a namespace come with each pull from the kubelet (imagePullSecrets, the kubelet's credential providers)",
      { differs: 'files of credentials by namespace are not read: use imagePullSecrets' },
    ),
    moot('pause_image', 'registry.k8s.io/pause:3.10.1', NO_PAUSE),
    moot('pause_image_auth_file', '', NO_PAUSE),
    moot('pause_command', '/pause', NO_PAUSE),
    maps('pinned_images', [], 'image.pinned', { convert: pinned, note: 'a * may only be at the end' }),
    maps('signature_policy', '', 'image.policy_file', {
      convert: (value) =>
        value === ''
          ? { same: 'the same here: /etc/containers/policy.json if it exists' }
          : { set: [[['image', 'policy_file'], value]] },
    }),
    lacks(
      'signature_policy_dir',
      '/etc/crio/policies',
      'there is one policy for all namespaces: put the scopes into image.policy_file',
      { differs: 'policies of single namespaces are not read: one policy is for all' },
    ),
    lacks(
      'image_volumes',
      'mkdir',
      "volumes of an image are directories of the container's own layer, as with mkdir: mount an emptyDir for others",
    ),
    moot(
      'insecure_registries',
      [],
      'without effect in CRI-O, too; insecure of registries.conf counts for both',
    ),
    moot(
      'registries',
      undefined,
      'removed from CRI-O; unqualified-search-registries of registries.conf counts',
    ),
    moot('big_files_temporary_dir', '', 'layers are unpacked while they arrive, without a file in between'),
    lacks('separate_pull_cgroup', '', 'pulls run in the cgroup of the daemon: limit that of its unit'),
    moot('auto_reload_registries', false, 'registries.conf and its drop-ins are read at each pull'),
    maps('pull_progress_timeout', '0s', 'image.pull_stall_timeout', {
      convert: duration({ cannot: '' }, 'image', 'pull_stall_timeout'),
      note: 'after it the transfer is retried, elsewhere if there is a mirror',
      differs: 'a transfer that receives nothing for 60 s is retried (image.pull_stall_timeout)',
    }),
    lacks('oci_artifact_mount_support', true, 'OCI artifacts are always mounted as image volumes'),
    maps('short_name_mode', 'enforcing', 'image.registries_conf', {
      convert: (value) =>
        value === 'enforcing'
          ? { cannot: '' }
          : { same: 'the same here, unless registries.conf has short-name-mode = "enforcing"' },
      note: 'short-name-mode of that file counts',
      differs:
        'an ambiguous name without a host is looked up in all hosts of unqualified-search-registries; short-name-mode = "enforcing" in registries.conf refuses it',
    }),
  ],
);

const PLUGIN_DIRS = ['crio', 'network', 'plugin_dirs'];
const PLUGIN_DIR = ['crio', 'network', 'plugin_dir'];

/** The deprecated directory comes after those of the list. */
const pluginDirectories: Convert = (_value, around) => {
  const single = around.get(...PLUGIN_DIR);
  const list = around.get(...PLUGIN_DIRS) as readonly unknown[];
  const all = single === '' || list.includes(single) ? list : [...list, single];
  return directories(['/opt/cni/bin'], 'the same here, and /usr/lib/cni', 'cni', 'bin_dirs')(all, around);
};

export const networkOptions = under(
  ['crio', 'network'],
  [
    maps('cni_default_network', '', 'cni.network'),
    maps('network_dir', '/etc/cni/net.d/', 'cni.conf_dir', { convert: directory('cni', 'conf_dir') }),
    maps('plugin_dirs', ['/opt/cni/bin/'], 'cni.bin_dirs', { convert: pluginDirectories }),
    maps('plugin_dir', '', 'cni.bin_dirs', {
      note: 'deprecated in CRI-O, which appends it to plugin_dirs',
      convert: (value, around) => (value === '' ? { same: 'none' } : pluginDirectories(value, around)),
    }),
    lacks(
      'cni_status_grace_period',
      '0s',
      'NetworkReady is false at the first STATUS of a plugin that is an error, and true at the next that is none: there is no grace period',
      {
        convert: offIsSame(
          'STATUS of plugins is called, without a grace period',
          'there is no grace period: NetworkReady is false at the first STATUS that is an error',
          '0s',
        ),
      },
    ),
  ],
);
