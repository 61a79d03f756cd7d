/** What crisp needs of the kernel. */
import { describeError } from '#core/errors.ts';
import { type Check, failure, ok, type Result, warning } from './result.ts';

/** Whether a release such as `6.1.0-18-amd64` is this version or a later one. */
export function isAtLeast(release: string, major: number, minor: number): boolean {
  const [, a = '0', b = '0'] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return Number(a) > major || (Number(a) === major && Number(b) >= minor);
}

const LAYERS = 130;

export const kernelChecks: readonly Check[] = [
  {
    id: 'kernel',
    run({ release }) {
      // pidfd_getfd and openat2 are of 5.6, mount_setattr of 5.12.
      if (!isAtLeast(release, 5, 6))
        return failure(`Linux ${release}`, 'use Linux 5.12 or later, better 6.12');
      const lacking: string[] = [];
      if (!isAtLeast(release, 5, 12)) lacking.push('read-only and id-mapped mounts by mount_setattr (5.12)');
      if (!isAtLeast(release, 5, 19)) lacking.push('user namespaces of pods (5.19)');
      if (!isAtLeast(release, 6, 7)) lacking.push('images of more than some 200 layers (6.7)');
      if (lacking.length === 0) return ok(`Linux ${release}`);
      return warning(
        `Linux ${release} has no ${lacking.join(', ')}`,
        'use Linux 6.7 or later where that is needed',
      );
    },
  },
  {
    id: 'overlayfs',
    async run(node) {
      try {
        await node.tryOverlay(1);
      } catch (error) {
        const why = describeError(error);
        return failure(
          why,
          /ENODEV/.test(why)
            ? 'modprobe overlay, and name it in a file of /etc/modules-load.d'
            : 'put root on a local file system such as ext4 or xfs, which is not an overlay itself',
        );
      }
      try {
        await node.tryOverlay(LAYERS);
        return ok(`mounts; ${isAtLeast(node.release, 6, 7) ? 'up to 500' : 'about 200'} layers`);
      } catch (error) {
        return warning(`${LAYERS} layers are refused: ${describeError(error)}`, 'use Linux 6.7 or later');
      }
    },
  },
  {
    id: 'layers',
    async run(node) {
      const form = await node.layerForm();
      if (form.form === 'erofs') {
        const how = form.by === 'file' ? 'mounted from their files' : 'mounted through loop devices';
        return ok(`EROFS images, ${how}`);
      }
      if (node.config.image.layers === 'directory') return ok(`directories: ${form.reason}`);
      return warning(
        `directories: EROFS images cannot be mounted (${form.reason})`,
        'modprobe erofs loop, and name both in a file of /etc/modules-load.d; or use a kernel that has them',
      );
    },
  },
  {
    id: 'user-namespaces',
    async run(node) {
      const why = await node.whyNoIdMapping();
      if (why === undefined) return ok('pods can have them; the root directory can be id-mapped');
      const limit = node.text('/proc/sys/user/max_user_namespaces');
      return warning(
        `pods cannot have user namespaces: ${why}`,
        limit === '0'
          ? 'sysctl -w user.max_user_namespaces=65536, and in a file of /etc/sysctl.d'
          : 'use Linux 5.19 or later with root on ext4, xfs or btrfs, where pods are to have them',
      );
    },
  },
  { id: 'namespaces', run: namespaces },
  {
    id: 'seccomp',
    run(node) {
      const actions = node.text('/proc/sys/kernel/seccomp/actions_avail');
      if (actions === undefined)
        return failure('the kernel has no seccomp filters', 'use a kernel with CONFIG_SECCOMP_FILTER');
      return ok(
        node.hasSeccompLibrary ? 'filters, compiled by libseccomp' : 'filters, compiled by the OCI runtime',
      );
    },
  },
];

function namespaces(node: { exists(path: string): boolean }): Result {
  const kinds = ['mnt', 'net', 'pid', 'ipc', 'uts', 'cgroup', 'user'];
  const missing = kinds.filter((kind) => !node.exists(`/proc/self/ns/${kind}`));
  if (missing.length === 0) return ok(kinds.join(', '));
  const isOnlyUser = missing.every((kind) => kind === 'user');
  const found = `the kernel has no ${missing.join(', ')} namespaces`;
  const remedy =
    'use a kernel with CONFIG_NAMESPACES, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_USER_NS and the like';
  return isOnlyUser ? warning(found, remedy) : failure(found, remedy);
}
