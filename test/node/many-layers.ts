/**
 * Run in the machine, from crisp's sources: `many-layers.ts COUNT DIRECTORY`. Mounts as many layers through loop devices, and an
 * overlay of them; prints what it has found, in JSON.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { silentLog } from '#core/operation.ts';
import { LayerMounts } from '#image-service/store/layer-mounts.ts';
import { probeImage } from '#image-service/store/probe-image.ts';
import { mounts } from '#linux/mount/mounts.ts';

const [, , count = '0', directory = ''] = process.argv;
const at = (...names: string[]) => join(directory, ...names);
for (const name of ['images', 'upper', 'work', 'merged']) mkdirSync(at(name), { recursive: true });
const layers = new LayerMounts({
  mounts,
  log: silentLog,
  directory: at('layers'),
  form: () => ({ form: 'erofs', by: 'loop' }),
});
const names = Array.from({ length: Number(count) }, (_, n) => `file-${n}`);
const lower = await Promise.all(
  names.map((name) => {
    const path = at('images', name);
    writeFileSync(path, probeImage(name, name));
    return layers.ensure(name, { path, bytes: 4096 });
  }),
);
const devices = new Set(
  mounts.below(at('layers')).flatMap(({ type, source }) => (type === 'erofs' ? [source] : [])),
);
const target = at('merged');
await mounts.overlay({ target, lower, upper: at('upper'), work: at('work'), volatile: true });
const isVolatile = /\bvolatile\b/.test(mounts.below(target)[0]?.options ?? '');
const shown = readdirSync(target).filter((name) => readFileSync(join(target, name), 'utf8') === name);
await mounts.unmount(target);
await layers.close(() => false);
console.log(
  JSON.stringify({
    shown: shown.length,
    isVolatile,
    devices: devices.size,
    left: mounts.below(directory).length,
  }),
);
