/**
 * A process that pulls and removes without end, to be killed: `crash-victim.ts ROOT HOST auto|directory`. It writes a byte as each
 * stage ends, at once, so that the test knows its progress however slow the machine is.
 */
import { writeSync } from 'node:fs';
import { Operation } from '#core/operation.ts';
import { startService } from './service.ts';

const [, , root = '', host = '', form] = process.argv;
const traced = (name: string): Operation => new Operation(name, { onStage: () => void writeSync(1, '.') });
const { service } = await startService(root, { layers: form === 'directory' ? form : 'auto' });
for (let n = 0; ; n++) {
  const apps = [0, 1, 2].map((index) => `${host}/app${(index + n) % 3}:v1`);
  const names = [...apps.slice(0, n % 3), `${host}/artifact:v1`, ...apps.slice(n % 3)];
  await Promise.all(names.map((reference) => service.pull({ reference }, traced('pull'))));
  await service.remove(names[n % 3] ?? '', traced('remove'));
}
