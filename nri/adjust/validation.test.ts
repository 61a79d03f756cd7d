import assert from 'node:assert/strict';
import test from 'node:test';
import { nri } from '#api/nri/index.ts';
import { hasCode } from '#core/errors.ts';
import { answer, CONTAINER_ID, otherId, pod, received, record, spec } from '#test/fixtures/nri-messages.ts';
import { containerMessage, podMessage } from '../messages/index.ts';
import { fields } from './fields.ts';
import { CreateCollector, checkVerdict, validationRequest } from './index.ts';

const OTHER = otherId(7);

/** As a validator receives it, after these answers of 10-a, 20-b, and so on. */
function request(...answers: readonly nri.CreateContainerResponse[]): nri.ValidateContainerAdjustmentRequest {
  const container = containerMessage({ record, spec });
  const collector = new CreateCollector(container);
  const names = ['a', 'b', 'c'];
  for (const [at, one] of answers.entries()) collector.add(`${at + 1}0-${names[at]}`, one);
  return received(
    'ValidateContainerAdjustmentRequest',
    validationRequest({
      pod: podMessage(pod),
      container,
      outcome: collector.outcome(),
      plugins: answers.map((_, at) => ({ index: `${at + 1}0`, name: names[at] ?? '' })),
    }),
  );
}

const ownersOf = (message: nri.ValidateContainerAdjustmentRequest, id: string) => {
  const { simple, compound } = message.owners?.owners[id] ?? {};
  const entries = Object.entries(compound ?? {}).map(([field, { owners }]) => [field, { ...owners }]);
  return { simple: { ...simple }, compound: Object.fromEntries(entries) };
};

test('every field has the number of the wire', () => {
  const numbers = Object.values(fields).flatMap(({ number }) => (number === undefined ? [] : [number]));
  assert.deepEqual(
    numbers.toSorted((a, b) => a - b),
    Object.values(nri.Field).filter((number) => number !== 0),
  );
  const named = (['hooks', 'memory.kernelTcp', 'unified', 'rdt.schemata', 'netDevices'] as const).map(
    (field) => fields[field].number,
  );
  const { OciHooks, MemTCPLimit, CgroupsUnified, RdtSchemata, LinuxNetDevices } = nri.Field;
  assert.deepEqual(named, [OciHooks, MemTCPLimit, CgroupsUnified, RdtSchemata, LinuxNetDevices]);
});

test('the container as it was, all adjustments, updates, and whose they are', () => {
  const message = request(
    answer(
      {
        env: [{ key: 'A', value: '1' }, { key: '-MODE' }],
        hooks: { prestart: [{ path: '/a' }] },
        linux: {
          resources: { memory: { limit: { value: 2n ** 62n + 1n } } },
          rdt: { closId: { value: 'x' } },
        },
      },
      { update: [{ containerId: OTHER, linux: { resources: { unified: { 'memory.high': '1' } } } }] },
    ),
    answer({
      hooks: { poststop: [{ path: '/b' }] },
      env: [{ key: 'B', value: '2' }],
      linux: {
        rdt: { remove: true },
        namespaces: [{ type: '-uts' }],
        resources: { devices: [{ allow: true }] },
      },
    }),
    answer(undefined),
  );
  assert.equal(message.pod?.name, 'web-0');
  assert.deepEqual(message.container, received('Container', containerMessage({ record, spec })));
  assert.deepEqual(
    message.adjust?.env.map(({ key }) => key),
    ['-MODE', 'A', 'B'],
  );
  assert.equal(message.adjust?.linux?.resources?.memory?.limit?.value, 2n ** 62n + 1n);
  assert.equal(message.update[0]?.containerId, OTHER);
  assert.equal(message.update[0]?.linux?.resources?.unified['memory.high'], '1');
  assert.deepEqual(
    message.plugins.map(({ index, name }) => `${index}-${name}`),
    ['10-a', '20-b', '30-c'],
  );
  const { Env, Namespace, OciHooks, MemLimit, RdtClosID, RdtSchemata, RdtEnableMonitoring } = nri.Field;
  assert.deepEqual(ownersOf(message, CONTAINER_ID), {
    simple: {
      [OciHooks]: '10-a,20-b',
      [MemLimit]: '10-a',
      [RdtClosID]: '-20-b',
      [RdtSchemata]: '-20-b',
      [RdtEnableMonitoring]: '-20-b',
    },
    compound: { [Env]: { A: '10-a', MODE: '-10-a', B: '20-b' }, [Namespace]: { uts: '-20-b' } },
  });
  assert.deepEqual(ownersOf(message, OTHER), {
    simple: {},
    compound: { [nri.Field.CgroupsUnified]: { 'memory.high': '10-a' } },
  });
});

test('nothing adjusted: an empty adjustment without owners', () => {
  const message = request(answer(undefined));
  assert.deepEqual(ownersOf(message, CONTAINER_ID), { simple: {}, compound: {} });
  assert.deepEqual(message.adjust?.env, []);
  assert.deepEqual(message.update, []);
});

test('a verdict: none, one with a reason, one without', () => {
  checkVerdict('90-v', { reject: false, reason: 'fine' });
  for (const [reason, text] of [
    ['no \n hooks', /"no \\n hooks"$/],
    ['', /it gives no reason$/],
  ] as const) {
    assert.throws(
      () => checkVerdict('90-v', { reject: true, reason }),
      (error) =>
        hasCode(error, 'FailedPrecondition') &&
        error.message.startsWith('NRI plugin 90-v rejects') &&
        text.test(error.message) &&
        error.hint.includes('90-v'),
    );
  }
  assert.throws(
    () => checkVerdict('90-v', { reject: true, reason: 'x'.repeat(1_000_000) }),
    (error) => hasCode(error, 'FailedPrecondition') && error.message.length < 500,
  );
});
