/** A node that lacks the OCI runtime or conmon: it gets no pods, says what to install, and goes on when that is there. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { EXITED, endsClean, TestNode, until } from '../harness/pods.ts';
import { freePort } from '../image-service/registry.ts';

const metrics = `127.0.0.1:${await freePort()}`;
let programs = '';
const node = await TestNode.start('programs', {
  metrics,
  configure: (directory) => {
    programs = join(directory, 'programs');
    mkdirSync(programs, { recursive: true });
    symlinkSync('/usr/sbin/runc', join(programs, 'runtime'));
    symlinkSync('/usr/bin/conmon', join(programs, 'conmon'));
    return [
      '[runtime]',
      'default = "own"',
      `[runtime.handlers.own]\npath = ${JSON.stringify(join(programs, 'runtime'))}`,
      `[conmon]\npath = ${JSON.stringify(join(programs, 'conmon'))}`,
    ].join('\n');
  },
});
const get = async (path: string) => {
  const response = await fetch(`http://${metrics}${path}`);
  return { status: response.status, body: await response.text() };
};
const away = (name: string): void => renameSync(join(programs, name), join(programs, `${name}.away`));
const back = (name: string): void => renameSync(join(programs, `${name}.away`), join(programs, name));
const ready = async () => {
  const { status } = await node.client.Status({});
  const {
    status: isReady,
    reason,
    message,
  } = status?.conditions.find(({ type }) => type === 'RuntimeReady') ?? {};
  return { isReady, reason, message: message ?? '' };
};

for (const [program, wanted, hint] of [
  [
    'runtime',
    'RuntimeMissing',
    /programs\/runtime .*apt-get install (crun|runc); or .*\[runtime\.handlers\]/,
  ],
  ['conmon', 'MonitorMissing', /programs\/conmon .*correct conmon\.path, or apt-get install conmon/],
] as const) {
  test(`without the program at its path the node gets no pods: ${wanted}; it goes away with the program back`, async () => {
    away(program);
    if (program === 'conmon') process.kill(node.daemon.pid, 'SIGHUP'); // the other is found to be gone by itself
    await until('it is reported', async () => !(await ready()).isReady);
    const { reason, message } = await ready();
    assert.equal(reason, wanted);
    assert.match(message, hint);
    const [health, text] = [await get('/healthz'), await get('/metrics')];
    assert.equal(health.status, 503);
    assert.match(health.body, hint);
    assert.match(text.body, new RegExp(`crisp_troubles\\{reason="${wanted}",pods_fail="true"\\} 1`));
    await node.restart('stop');
    assert.equal((await ready()).reason, wanted, 'from the start on');
    back(program);
    await until('it is ready', async () => (await ready()).isReady);
    assert.equal((await get('/healthz')).status, 200);
    const pod = await node.runPod();
    const container = await node.run(pod, { command: ['true'] });
    assert.equal((await node.exited(container)).state, EXITED);
    const log = readFileSync(node.daemon.logFile, 'utf8');
    assert.match(log, new RegExp(`"level":"error".*"reason":"${wanted}".*"hint":`));
  });
}

endsClean(node);
