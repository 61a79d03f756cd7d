/** Where crisp keeps its files. */
import { bytes } from '../format.ts';
import { type Check, failure, ok, warning } from './result.ts';

const TMPFS = 0x01021994;
const RAMFS = 0x858458f6;
/** Below these the kubelet would evict pods before any work. */
const MIN_FREE = 1n << 30n;
const MIN_INODES = 10_000n;
/** Which cannot be below an overlay's writable layer, or lose what is locked. */
const REMOTE = /^(nfs4?|cifs|smb3|9p|ceph|fuse.*|overlay)$/;

export const storageChecks: readonly Check[] = [
  {
    id: 'root',
    async run(node) {
      const { root } = node.config;
      const type = node.mountOf(root)?.type ?? 'unknown';
      const { available, inodes, inodesFree } = await node.statfs(root);
      const files = inodes === 0n ? 'inodes without limit' : `${inodesFree} inodes`;
      const found = `${root} on ${type}, ${bytes(available)} and ${files} free`;
      if (REMOTE.test(type))
        return failure(found, 'set root to a directory on a local disk with ext4, xfs or btrfs');
      if (type === 'tmpfs')
        return warning(found, 'set root to a directory on a disk: images are lost at each reboot');
      if (available < MIN_FREE || (inodes > 0n && inodesFree < MIN_INODES))
        return failure(found, 'free space or inodes there, or set root to a larger disk');
      return ok(found);
    },
  },
  {
    id: 'root-features',
    async run(node) {
      const { whyNoXattrs, hasEntryTypes, hasVerity } = await node.disk();
      if (whyNoXattrs !== undefined) {
        return failure(
          `trusted.* attributes of files are refused: ${whyNoXattrs}`,
          'set root to a directory on ext4, xfs or btrfs, and run crisp with CAP_SYS_ADMIN',
        );
      }
      if (!hasEntryTypes)
        return failure(
          'directories have no types of their entries (d_type)',
          'make the file system anew: mkfs.xfs -n ftype=1',
        );
      return ok(`trusted.* attributes, types of entries; fs-verity: ${hasVerity ? 'yes' : 'no'}`);
    },
  },
  {
    id: 'state',
    async run(node) {
      const { state } = node.config;
      const { type } = await node.statfs(state);
      const found = `${state} on ${node.mountOf(state)?.type ?? 'unknown'}`;
      if (type === TMPFS || type === RAMFS) return ok(found);
      return warning(
        `${found}: calls wait for its disk`,
        'set state to a directory on a tmpfs, such as /run/crisp',
      );
    },
  },
];
