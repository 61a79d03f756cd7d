/**
 * Opens a store, pulls an image as EROFS layers, mounts it, unmounts it, removes it: `image-victim.ts ROOT REFERENCE STEP PHASE`. Kills itself at
 * that step; without one it goes through. Prints each step that it has come to, at once.
 */
import { mkdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { operation, startService } from '../image-service/service.ts';
import { watchedKernel } from './image-steps.ts';

const [, , root = '', reference = '', step = '0', phase = ''] = process.argv;
const kernel = watchedKernel((at) => {
  writeSync(1, `${at.step} ${at.phase} ${at.what}\n`);
  if (at.step === Number(step) && at.phase === phase) process.kill(process.pid, 'SIGKILL');
});
const { service } = await startService(root, { layers: 'erofs' }, undefined, kernel);
const image = await service.pull({ reference }, operation('pull'));
const target = join(root, 'target');
mkdirSync(target, { recursive: true });
await service.rootfs.mountVolume({ image: image.id, target }, operation('mount'));
await service.rootfs.unmount(target);
await service.remove(reference, operation('remove'));
await service.collect();
await service.close();
