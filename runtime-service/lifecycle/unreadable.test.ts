import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { newContainerId } from '#core/ids.ts';
import { silentLog } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import type { ContainerRecord } from '../container.ts';
import { Containers } from '../containers.ts';
import type { Context } from '../context.ts';
import { adoptUnreadable } from './unreadable.ts';

const root = mkdtempSync(join(tmpdir(), 'crisp-unreadable-'));
after(() => rmSync(root, { recursive: true }));

test("a cgroup by the spec's name is ended with it, unless another container has that name by now", async () => {
  const kernel = fakeKernel({ cgroupVersion: 2 });
  const containers = new Containers(join(root, 'containers'), kernel.files, silentLog);
  await kernel.cgroups.create('/pod/web');
  const id = newContainerId();
  const bundle = join(root, 'containers', id);
  mkdirSync(bundle, { recursive: true });
  writeFileSync(join(bundle, 'config.json'), JSON.stringify({ linux: { cgroupsPath: '/pod/web' } }));
  const context = {
    kernel,
    containers,
    log: silentLog,
    options: { root, state: root },
    leaks: { get: () => undefined },
    pods: { get: () => undefined },
  } as unknown as Context;
  const groups = async () => {
    const [adopted] = await adoptUnreadable(context, [], [id]);
    const intents = adopted?.intents.flatMap((intent) => (intent.kind === 'cgroup' ? [intent.path] : []));
    return { path: adopted?.cgroup.path, intents };
  };
  assert.deepEqual(await groups(), { path: '/pod/web', intents: ['/pod/web'] });
  const next = { id: newContainerId(), sandboxId: id, metadata: { name: 'web', attempt: 1 }, intents: [] };
  const cgroup = { oci: '/pod/web', path: '/pod/web' };
  containers.publish({ ...next, state: 'running', cgroup } as unknown as ContainerRecord);
  assert.deepEqual(await groups(), { path: `/${id}`, intents: [] });
  containers.publish({ ...next, state: 'exited', cgroup } as unknown as ContainerRecord);
  assert.deepEqual(await groups(), { path: '/pod/web', intents: ['/pod/web'] });
});
