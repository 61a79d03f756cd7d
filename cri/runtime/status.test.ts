import assert from 'node:assert/strict';
import test from 'node:test';
import type { CriServices, TroubleFacts } from '../services.ts';
import { status } from './status.ts';

async function runtimeReady(...troubles: TroubleFacts[]) {
  const facts = { troubles: () => troubles, handlers: () => [], nri: () => ({ enabled: true }), config: {} };
  const pods = { networkStatus: () => ({ ready: true, reason: '', message: '' }), leaks: () => [] };
  const containers = { leaks: () => [] };
  const layers = {
    form: { form: 'directory', reason: 'by loop: refused' },
    stored: { erofs: 1, directory: 2 },
  };
  const images = { layers: () => layers };
  const answer = status({ pods, containers, images, facts } as unknown as CriServices);
  const reply = await answer({ verbose: true } as Parameters<typeof answer>[0]);
  const [condition] = reply.status?.conditions ?? [];
  const info = (key: string) => JSON.parse(reply.info?.[key] ?? '');
  assert.deepEqual(reply.features, {
    supplementalGroupsPolicy: true,
    userNamespacesHostNetwork: true,
    mountOptions: true,
  });
  assert.deepEqual(info('nri'), { enabled: true });
  return { condition, troubles: info('troubles'), layers: info('layers') };
}
const trouble = (reason: string, podsFail: boolean): TroubleFacts => ({
  reason,
  message: `${reason} happened`,
  hint: 'do this',
  podsFail,
});

test('the runtime is ready where nothing is wrong, and where what is wrong keeps no pod from being made', async () => {
  const ready = { type: 'RuntimeReady', status: true };
  assert.deepEqual((await runtimeReady()).condition, { ...ready, reason: '', message: '' });
  const seen = await runtimeReady(trouble('InotifyExhausted', false));
  const message = 'InotifyExhausted happened; do this';
  assert.deepEqual(seen.condition, { ...ready, reason: 'InotifyExhausted', message });
  assert.deepEqual(seen.troubles, [trouble('InotifyExhausted', false)]);
});

test('it is not ready where no pod can be made, with reason and remedy', async () => {
  const { condition } = await runtimeReady(
    trouble('CgroupsUnusable', true),
    trouble('InotifyExhausted', false),
  );
  assert.deepEqual([condition?.status, condition?.reason], [false, 'CgroupsUnusable']);
  assert.match(condition?.message ?? '', /^CgroupsUnusable happened; do this\n/);
});

test('the form of new layers is told with its reason, and how many of either form are stored', async () => {
  const { layers } = await runtimeReady();
  const stored = { erofs: 1, directory: 2 };
  assert.deepEqual(layers, { form: 'directory', reason: 'by loop: refused', stored });
});
