/** A process that pulls and removes without end, to be killed: `crash-victim.ts ROOT HOST`. */
import { operation, startService } from './service.ts';

const [, , root = '', host = ''] = process.argv;
const { service } = await startService(root);
process.stdout.write('ready\n');
for (let n = 0; ; n++) {
  const names = [0, 1, 2].map((index) => `${host}/app${(index + n) % 3}:v1`);
  await Promise.all(names.map((reference) => service.pull({ reference }, operation('pull'))));
  await service.remove(names[n % 2] ?? '', operation('remove'));
}
