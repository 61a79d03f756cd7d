import assert from 'node:assert/strict';
import test from 'node:test';
import type { CoreV1Event, V1Pod } from '@kubernetes/client-node';
import { describePod, eventLines, lastWarning } from './states.ts';

test('a pod in one line: phase, conditions with a message, containers', () => {
  const pod: V1Pod = {
    status: {
      phase: 'Pending',
      conditions: [
        { type: 'PodScheduled', status: 'True' },
        { type: 'Ready', status: 'False', message: 'containers with unready status: [main]' },
      ],
      containerStatuses: [
        {
          name: 'main',
          image: '',
          imageID: '',
          ready: false,
          restartCount: 2,
          state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 20s' } },
        },
      ],
      initContainerStatuses: [
        {
          name: 'first',
          image: '',
          imageID: '',
          ready: true,
          restartCount: 0,
          state: { terminated: { exitCode: 7, reason: 'Error' } },
        },
      ],
    },
  };
  assert.equal(
    describePod('a', pod),
    'the pod a is Pending; Ready: containers with unready status: [main]; first terminated Error (exit code 7); main waiting CrashLoopBackOff (back-off 20s), 2 restarts',
  );
  assert.equal(describePod('a', undefined), 'the pod a does not exist');
});

const event = (name: string, reason: string, time: string, more: object = {}): CoreV1Event =>
  ({
    metadata: { creationTimestamp: time },
    involvedObject: { kind: 'Pod', name },
    reason,
    type: 'Normal',
    message: `${reason} happened`,
    ...more,
  }) as unknown as CoreV1Event;

test('events of the objects that are asked for, oldest first, whichever of their times they have', () => {
  const events = [
    event('a', 'Second', '2026-01-01T00:00:00Z', {
      lastTimestamp: '2026-01-01T00:00:05Z',
      count: 3,
      type: 'Warning',
    }),
    event('b', 'Other', '2026-01-01T00:00:00Z'),
    event('a', 'First', '2026-01-01T00:00:01Z'),
    event('a', 'Third', '2026-01-01T00:00:00Z', {
      eventTime: '2026-01-01T00:00:09.123456Z',
      message: undefined,
    }),
  ];
  assert.deepEqual(
    eventLines(events, (name, kind) => name === 'a' && kind === 'Pod'),
    [
      'Normal First pod/a: First happened',
      'Warning Second (3×) pod/a: Second happened',
      'Normal Third pod/a: ',
    ],
  );
  assert.equal(lastWarning(events, 'a'), 'Warning Second (3×) pod/a: Second happened');
  assert.equal(lastWarning(events, 'b'), undefined);
});
