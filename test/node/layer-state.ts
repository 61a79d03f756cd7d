/** What the machine has of layers: their files, the mounts of those that are in use, and the loop devices that show these. */
import assert from 'node:assert/strict';
import { until, type VirtualNode } from './virtual-node.ts';

const IMAGES = '/var/lib/crisp/images';
export const LAYERS = `${IMAGES}/layers`;

/** `device file`, for each loop device that shows a layer. */
export const layerDevices = (node: VirtualNode): Promise<string[]> =>
  node.lines(`for file in /sys/block/loop*/loop/backing_file; do
    if [ -e "$file" ]; then device=\${file#/sys/block/}; echo "/dev/\${device%%/*} $(cat "$file")"; fi
  done | grep -F ${LAYERS} || true`);

export const layerMounts = (node: VirtualNode): Promise<string[]> =>
  node.lines(`grep -F ' /run/crisp/images/layers/' /proc/self/mountinfo || true`);

/** With all images go all their files, mounts and loop devices. Of pods there must be none. */
export async function removeImages(node: VirtualNode): Promise<void> {
  const { images } = await node.client.ListImages({});
  for (const { id } of images) await node.client.RemoveImage({ image: { image: id } });
  const files = ['layers', 'images', 'retired', 'staging', 'content/blobs/sha256'];
  let left: string[] = [];
  await until('the images are deleted', async () => {
    left = await node.lines(
      `cd ${IMAGES}; ls -d ${files.map((name) => `${name}/*`).join(' ')} 2>/dev/null || true`,
    );
    left.push(...(await layerMounts(node)), ...(await layerDevices(node)));
    return left.length === 0;
  }).catch((error) => assert.deepEqual(left, [], String(error)));
}
