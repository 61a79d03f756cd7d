/** How soon the second mirror is asked where the first one is down: connections refused, and packets that vanish. */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { startFront } from '../test/image-service/front.ts';
import { freePort } from '../test/image-service/registry.ts';
import { MIRRORED } from './registries.ts';
import { type BenchEnvironment, startSide } from './sides.ts';
import type { RowName, Samples, SideName } from './statistics.ts';

const PULL_MS = 300_000;
/** An address for documentation (RFC 5737): packets to it leave by a device, for a neighbour that does not exist. */
const HOLE = '198.51.100.9';
const DEVICE = 'crisp-hole';

/** In the bench's own network namespace, with which it ends. Throws Internal where the kernel refuses. */
export function createBlackHole(): void {
  const commands = [
    `link add ${DEVICE} type veth peer name ${DEVICE}-end`,
    `address add 198.51.100.1/24 dev ${DEVICE}`,
    `link set ${DEVICE} up`,
    `link set ${DEVICE}-end up`,
    `neighbour add ${HOLE} lladdr 02:00:00:00:00:09 dev ${DEVICE} nud permanent`,
  ];
  for (const command of commands) {
    const { status, stderr } = spawnSync('ip', command.split(' '), { encoding: 'utf8' });
    if (status !== 0) throw new CrispError('Internal', `ip ${command}: ${stderr.trim()}`);
  }
}

/** One sample of each row, of a new daemon: one that knows the mirror as down would not ask it first. */
export async function firstAnswers(
  environment: BenchEnvironment,
  name: SideName,
  samples: Samples,
): Promise<void> {
  const refused = `http://127.0.0.1:${await freePort()}`;
  await firstAnswer(environment, name, 'first answer, refused', refused, samples);
  await firstAnswer(environment, name, 'first answer, black hole', `http://${HOLE}`, samples);
}

async function firstAnswer(
  environment: BenchEnvironment,
  name: SideName,
  row: RowName,
  down: string,
  samples: Samples,
): Promise<void> {
  const answered = Promise.withResolvers<number>();
  await using front = await startFront(`http://${environment.registry}`, () => {
    answered.resolve(performance.now());
    return false;
  });
  const directory = `mirrors-${name}`;
  const side = await startSide({ ...environment, mirrors: [down, front.url] }, name, directory);
  const enough = new AbortController();
  try {
    const started = performance.now();
    const image = { image: `${MIRRORED}/bench/busybox:1` };
    const settings = { timeoutMs: PULL_MS, signal: enough.signal };
    const failed = side.server.client.PullImage({ image }, settings).then(() => answered.promise);
    samples.add(row, name, (await Promise.race([answered.promise, failed])) - started);
    // A peer may ask the first mirror again for each blob, half a minute each time: its pull need not end.
    if (name === 'crisp') await failed;
    else failed.catch(() => {});
  } finally {
    enough.abort();
    await side.server.stop();
    for (const path of [join('/run', directory), join(environment.directory, directory)])
      rmSync(path, { recursive: true, force: true });
  }
}
