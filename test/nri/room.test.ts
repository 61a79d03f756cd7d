/** Plugins in the room: how they come, in which order they are asked, and how they go. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import test from 'node:test';
import { nri } from '#api/nri/index.ts';
import { hasCode } from '#core/errors.ts';
import { type Method, TestPlugin } from './plugin.ts';
import { noValidator, openRoom, operation, type Room } from './room.ts';

const { Event } = nri;

/** Registered, synchronised and active: it gets the next event. */
async function join(
  room: Room,
  index: string,
  name: string,
  events: readonly number[] = [],
): Promise<TestPlugin> {
  const plugin = await TestPlugin.start(room.socket, { index, name, events });
  await active(room, `${index}-${name}`);
  return plugin;
}

async function active(room: Room, id: string): Promise<void> {
  for (;;) {
    if (room.nri.plugins().some((one) => one.state === 'active' && `${one.index}-${one.name}` === id)) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('without a plugin nothing is asked, and nothing is read', async () => {
  await using room = await openRoom();
  const { containers, pods } = room.nri;
  const pod = room.daemon.addPod();
  const container = room.daemon.addContainer(pod);
  assert.deepEqual([containers.listening, containers.wants('stopped')], [false, false]);
  assert.equal(await containers.create(container, operation()), undefined);
  await containers.start(container, operation());
  await pods.run(pod, operation());
  containers.stopped(container);
  assert.deepEqual(room.nri.plugins(), []);
});

test('a plugin is configured, told of all pods and containers, and gets all events by name', async () => {
  await using room = await openRoom();
  const { nri: opened, daemon } = room;
  const pod = daemon.addPod('first');
  const before = daemon.addContainer(pod, 'before');
  await using plugin = await join(room, '10', 'all');
  const configuration = await plugin.configured;
  assert.deepEqual(
    [configuration.runtimeName, configuration.registrationTimeout, configuration.requestTimeout],
    ['crisp', 60_000n, 60_000n],
  );
  const { pods, containers } = await plugin.synchronized;
  assert.deepEqual(
    [pods.map(({ name }) => name), containers.map(({ id }) => id)],
    [['first'], [before.record.id]],
  );
  assert.equal(opened.containers.listening, true);
  const container = daemon.begin(pod, 'new');
  await opened.pods.run(pod, operation());
  await opened.containers.create(container, operation());
  daemon.settle(container);
  opened.containers.created(container);
  await opened.containers.start(container, operation());
  opened.containers.started(container);
  await opened.containers.update(container, container.record.resources, operation());
  opened.containers.updated(container);
  await opened.pods.update(pod, { overhead: pod.overhead, resources: pod.resources }, operation());
  opened.pods.updated(pod);
  opened.containers.stopped(container);
  opened.containers.removed(container);
  opened.pods.stopped(pod);
  opened.pods.removed(pod);
  await plugin.received('RemovePodSandbox');
  const expected: Method[] = [
    'Configure',
    'Synchronize',
    'RunPodSandbox',
    'CreateContainer',
    'ValidateContainerAdjustment',
    'PostCreateContainer',
    'StartContainer',
    'PostStartContainer',
    'UpdateContainer',
    'PostUpdateContainer',
    'UpdatePodSandbox',
    'PostUpdatePodSandbox',
    'StopContainer',
    'RemoveContainer',
    'StopPodSandbox',
    'RemovePodSandbox',
  ];
  assert.deepEqual(
    plugin.calls.map(({ method }) => method),
    expected,
  );
});

test('no event of containers is wanted by a plugin of pods', async () => {
  await using room = await openRoom();
  await using _pods = await join(room, '10', 'pods', [Event.RUN_POD_SANDBOX]);
  const { containers } = room.nri;
  const all = ['created', 'start', 'started', 'update', 'updated', 'stopped', 'removed'] as const;
  assert.equal(containers.listening, true);
  assert.deepEqual(
    all.filter((event) => containers.wants(event)),
    [],
  );
  await using _ends = await join(room, '20', 'ends', [Event.STOP_CONTAINER, Event.START_CONTAINER]);
  assert.deepEqual(
    all.filter((event) => containers.wants(event)),
    ['start', 'stopped'],
  );
});

test('a plugin gets the events alone to which it has subscribed', async () => {
  await using room = await openRoom();
  await using plugin = await join(room, '10', 'few', [Event.STOP_CONTAINER]);
  const pod = room.daemon.addPod();
  const container = room.daemon.addContainer(pod);
  await room.nri.containers.create(container, operation());
  room.nri.containers.started(container);
  room.nri.containers.stopped(container);
  await plugin.received('StopContainer');
  assert.deepEqual(
    plugin.calls.map(({ method }) => method),
    ['Configure', 'Synchronize', 'StopContainer'],
  );
});

test('plugins are asked by index, then by name, and each sees what those before it have changed', async () => {
  await using room = await openRoom();
  const order: string[] = [];
  const seen: string[][] = [];
  await using plugins = new AsyncDisposableStack();
  for (const [index, name] of [
    ['90', 'last'],
    ['10', 'b'],
    ['10', 'a'],
    ['05', 'first'],
  ] as const) {
    const plugin = plugins.use(await join(room, index, name, [Event.CREATE_CONTAINER]));
    plugin.on('CreateContainer', ({ container }) => {
      order.push(`${index}-${name}`);
      seen.push([...(container?.env ?? [])]);
      return { adjust: { env: [{ key: `BY_${index}_${name}`, value: '1' }] } };
    });
  }
  const container = room.daemon.begin(room.daemon.addPod());
  const verdict = await room.nri.containers.create(container, operation());
  assert.deepEqual(order, ['05-first', '10-a', '10-b', '90-last']);
  assert.deepEqual(seen.at(-1), ['BY_05_first=1', 'BY_10_a=1', 'BY_10_b=1']);
  assert.deepEqual(Object.keys(verdict?.adjustment.env?.set ?? {}), [
    'BY_05_first',
    'BY_10_a',
    'BY_10_b',
    'BY_90_last',
  ]);
  assert.equal(verdict?.owners.entries['env']?.['BY_10_b'], '10-b');
});

test('what a plugin refuses fails with its name and message; what two want differently, with both names', async () => {
  await using room = await openRoom();
  await using one = await join(room, '10', 'one', [Event.CREATE_CONTAINER, Event.START_CONTAINER]);
  await using two = await join(room, '20', 'two', [Event.CREATE_CONTAINER]);
  const container = room.daemon.begin(room.daemon.addPod());
  one.refuse('CreateContainer', 'no such device');
  await assert.rejects(room.nri.containers.create(container, operation()), (error) => {
    assert.ok(hasCode(error, 'RuntimeFailed'));
    assert.match(String(error.cause), /10-one.*no such device/);
    return true;
  });
  assert.deepEqual(two.of('CreateContainer'), [], 'the next one is not asked');
  one.refuse('StartContainer', 'not now');
  await assert.rejects(room.nri.containers.start(container, operation()), /StartContainer/);
  for (const plugin of [one, two])
    plugin.on('CreateContainer', () => ({
      adjust: { env: [{ key: 'SAME', value: plugin === one ? '1' : '2' }] },
    }));
  await assert.rejects(room.nri.containers.create(container, operation()), /10-one|20-two/);
  assert.match(room.nri.plugins()[1]?.lastError?.message ?? '', /SAME/);
});

test('one that misses its deadline is dropped with its name; the container is made without it', async () => {
  await using room = await openRoom({ timeouts: { registrationMs: 60_000, requestMs: 300 } });
  await using slow = await join(room, '10', 'slow', [Event.CREATE_CONTAINER]);
  await using other = await join(room, '20', 'other', [Event.CREATE_CONTAINER]);
  slow.hang('CreateContainer');
  const container = room.daemon.begin(room.daemon.addPod());
  assert.equal(await room.nri.containers.create(container, operation()), undefined);
  assert.equal(other.of('CreateContainer').length, 1);
  await slow.closed;
  assert.deepEqual(room.dropped, ['10-slow deadline']);
  const { level, fields } = await room.logged(/is dropped/);
  assert.deepEqual([level, fields['plugin'], fields['reason']], ['warn', '10-slow', 'deadline']);
  const [trouble] = room.nri.troubles();
  assert.equal(trouble?.reason, 'NriPluginDropped');
  assert.match(trouble?.message ?? '', /10-slow/);
  await using _again = await join(room, '10', 'slow', [Event.CREATE_CONTAINER]);
  assert.deepEqual(room.nri.troubles(), [], 'it is back');
});

test('stop, remove and another pod wait for no plugin', async () => {
  await using room = await openRoom();
  await using plugin = await join(room, '10', 'hanging', [Event.STOP_CONTAINER, Event.RUN_POD_SANDBOX]);
  plugin.hang('StopContainer');
  const [one, other] = [room.daemon.addPod('one'), room.daemon.addPod('other')];
  room.nri.containers.stopped(room.daemon.addContainer(one));
  room.nri.containers.removed(room.daemon.addContainer(one));
  room.nri.pods.stopped(one);
  await plugin.received('StopContainer');
  const created = room.nri.containers.create(room.daemon.begin(other), operation());
  assert.equal(await created, undefined);
});

test('the events of a pod keep their order, also those that are awaited behind those that are not', async () => {
  await using room = await openRoom();
  await using plugin = await join(room, '10', 'slow', [Event.POST_CREATE_CONTAINER, Event.START_CONTAINER]);
  const release = Promise.withResolvers<object>();
  plugin.on('PostCreateContainer', () => release.promise);
  const container = room.daemon.addContainer(room.daemon.addPod());
  room.nri.containers.created(container);
  const started = room.nri.containers.start(container, operation());
  await plugin.received('PostCreateContainer');
  assert.deepEqual(plugin.of('StartContainer'), []);
  release.resolve({});
  await started;
  assert.equal(plugin.of('StartContainer').length, 1);
});

test('a client that gives up does not wait for the plugin, which stays', async () => {
  await using room = await openRoom();
  await using plugin = await join(room, '10', 'slow', [Event.CREATE_CONTAINER]);
  const release = Promise.withResolvers<object>();
  plugin.on('CreateContainer', () => release.promise);
  const client = new AbortController();
  const container = room.daemon.begin(room.daemon.addPod());
  const created = room.nri.containers.create(container, operation(client.signal));
  await plugin.received('CreateContainer');
  client.abort();
  await assert.rejects(created, (error) => hasCode(error, 'Cancelled'));
  release.resolve({});
  assert.equal(room.nri.plugins()[0]?.state, 'active');
});

test('two plugins of one index and name: the later one is refused', async () => {
  await using room = await openRoom();
  await using _first = await join(room, '10', 'same');
  await using second = await TestPlugin.connect(room.socket, { index: '10', name: 'same' });
  await assert.rejects(second.register(), /10-same is connected already/);
  await second.closed;
  assert.deepEqual(
    room.nri.plugins().map(({ state }) => state),
    ['active'],
  );
});

for (const [index, name, wrong] of [
  ['1', 'a', /is no index/],
  ['ab', 'a', /is no index/],
  ['10', '../a', /is no name/],
  ['10', '', /is no name/],
  ['10', 'x'.repeat(200), /is no name/],
] as const)
  test(`a plugin ${index}-${name.slice(0, 8)} is refused`, async () => {
    await using room = await openRoom();
    await using plugin = await TestPlugin.connect(room.socket, { index, name });
    await assert.rejects(plugin.register(), wrong);
    await plugin.closed;
    assert.deepEqual(room.nri.troubles(), []);
  });

test('events that do not exist are refused', async () => {
  await using room = await openRoom();
  await using plugin = await TestPlugin.connect(room.socket, { index: '10', name: 'new', events: [20] });
  await plugin.register();
  await plugin.closed;
  assert.match(String((await room.logged(/is dropped/)).fields['error']), /0x80000/);
});

for (const phase of [
  'RegisterPlugin',
  'Configure',
  'Synchronize',
  'CreateContainer',
  'ValidateContainerAdjustment',
] as const)
  for (const behaviour of ['hangs', 'dies', 'sends garbage'] as const)
    test(`a plugin that ${behaviour} in ${phase} is dropped, and holds up no creation`, async () => {
      const isDeadline = behaviour === 'hangs';
      await using room = await openRoom(
        isDeadline ? { timeouts: { registrationMs: 300, requestMs: 300 } } : {},
      );
      await using other = await join(room, '50', 'other', [Event.CREATE_CONTAINER]);
      const isValidator = phase === 'ValidateContainerAdjustment';
      const events = isValidator ? [Event.VALIDATE_CONTAINER_ADJUSTMENT] : [];
      await using plugin = await TestPlugin.connect(room.socket, { index: '10', name: 'bad', events });
      const act = () => {
        if (behaviour === 'dies') plugin.die();
        if (behaviour === 'sends garbage') plugin.sendGarbage();
      };
      if (phase === 'RegisterPlugin') act();
      else {
        plugin.hang(phase).observe(({ method }) => {
          if (method === phase) act();
        });
        await plugin.register().catch(() => {});
        if (phase === 'CreateContainer' || phase === 'ValidateContainerAdjustment')
          await active(room, '10-bad');
      }
      const container = room.daemon.begin(room.daemon.addPod());
      const created = room.nri.containers.create(container, operation());
      // A validator that gives no verdict has not consented.
      if (isValidator) await assert.rejects(created, /10-bad/);
      else await created;
      room.daemon.settle(container);
      await plugin.closed;
      assert.equal(other.of('CreateContainer').length, 1);
      await room.logged(
        behaviour === 'dies' && phase === 'RegisterPlugin' ? /closed its connection|dropped/ : /is dropped/,
      );
    });

test('one that floods with updates, and one that does not read, are dropped or answered; others go on', async () => {
  await using room = await openRoom({ timeouts: { registrationMs: 60_000, requestMs: 500 } });
  await using other = await join(room, '50', 'other', [Event.CREATE_CONTAINER]);
  await using flooding = await join(room, '10', 'flooding', [Event.CREATE_CONTAINER]);
  flooding.flood();
  const container = room.daemon.begin(room.daemon.addPod());
  await room.nri.containers.create(container, operation());
  await flooding.closed;
  assert.equal(other.of('CreateContainer').length, 1);
});

test('a synchronisation waits for the creation under way, and creations wait for it', async () => {
  await using room = await openRoom();
  const pod = room.daemon.addPod();
  const under = room.daemon.begin(pod, 'under');
  await using plugin = await TestPlugin.connect(room.socket, { index: '10', name: 'sync' });
  const release = Promise.withResolvers<object>();
  plugin.on('Synchronize', () => release.promise);
  await plugin.register();
  await plugin.configured;
  while (!room.nri.containers.listening) await new Promise((resolve) => setImmediate(resolve));
  const later = room.daemon.begin(pod, 'later');
  const created = room.nri.containers.create(later, operation());
  assert.deepEqual(plugin.of('Synchronize'), []);
  room.daemon.settle(under);
  const { containers } = await plugin.received('Synchronize');
  assert.deepEqual(
    containers.map(({ name }) => name),
    ['under'],
  );
  assert.deepEqual(plugin.of('CreateContainer'), []);
  release.resolve({});
  await created;
  assert.equal((await plugin.received('CreateContainer')).container?.name, 'later');
});

test('what ends while a plugin is synchronised is told behind that', async () => {
  await using room = await openRoom();
  const pod = room.daemon.addPod();
  const container = room.daemon.addContainer(pod, 'ends');
  await using plugin = await TestPlugin.connect(room.socket, { index: '10', name: 'sync' });
  const release = Promise.withResolvers<object>();
  plugin.on('Synchronize', () => release.promise);
  await plugin.register();
  assert.equal((await plugin.received('Synchronize')).containers.length, 1);
  room.nri.containers.stopped(container);
  room.nri.pods.stopped(pod);
  release.resolve({});
  await plugin.received('StopPodSandbox');
  assert.deepEqual(
    plugin.calls.slice(1).map(({ method }) => method),
    ['Synchronize', 'StopContainer', 'StopPodSandbox'],
  );
});

test('a pod that is being made while a plugin comes is told to it when it is ready', async () => {
  await using room = await openRoom();
  const pod = room.daemon.addPod('making');
  room.daemon.podsById.delete(pod.id);
  room.daemon.inTheMaking.add(pod.id);
  await using plugin = await join(room, '10', 'comes');
  assert.deepEqual((await plugin.synchronized).pods, []);
  room.daemon.ready(pod);
  assert.equal((await plugin.received('RunPodSandbox')).pod?.name, 'making');
  const other = room.daemon.addPod('asked');
  room.daemon.inTheMaking.add(other.id);
  await using later = await join(room, '20', 'later', [Event.RUN_POD_SANDBOX]);
  await room.nri.pods.run(other, operation());
  room.daemon.ready(other);
  await room.nri.pods.run(room.daemon.addPod('last'), operation());
  assert.deepEqual(
    later.of('RunPodSandbox').map((request) => request.pod?.name),
    ['asked', 'last'],
  );
});

test('a validator that is dropped before its verdict has not consented', async () => {
  await using room = await openRoom({ timeouts: { registrationMs: 60_000, requestMs: 300 } });
  const events = [Event.CREATE_CONTAINER, Event.VALIDATE_CONTAINER_ADJUSTMENT];
  await using plugin = await join(room, '10', 'guard', events);
  plugin.hang('CreateContainer');
  const container = room.daemon.begin(room.daemon.addPod());
  await assert.rejects(
    room.nri.containers.create(container, operation()),
    (error) => hasCode(error, 'FailedPrecondition') && /10-guard/.test(error.message),
  );
});

test('what is too large for a message keeps no plugin away', async () => {
  await using room = await openRoom();
  const pod = room.daemon.addPod();
  const large = room.daemon.begin(pod, 'large');
  const annotations = { large: 'x'.repeat(5 << 20) };
  room.daemon.settle({ ...large, record: { ...large.record, annotations } });
  for (const name of ['one', 'two']) room.daemon.addContainer(pod, name);
  await using plugin = await join(room, '10', 'small', [Event.STOP_CONTAINER]);
  assert.deepEqual(
    (await plugin.synchronized).containers.map(({ name }) => name),
    ['one', 'two'],
  );
  assert.equal((await room.logged(/too large/)).fields['container'], large.record.id);
});

test('a request that cannot be sent fails its call, and no plugin', async () => {
  await using room = await openRoom();
  await using _plugin = await join(room, '10', 'any', [Event.UPDATE_CONTAINER]);
  const container = room.daemon.addContainer(room.daemon.addPod());
  const resources = { ...container.record.resources, cpuShares: -1n };
  await assert.rejects(room.nri.containers.update(container, resources, operation()), (error) =>
    hasCode(error, 'RuntimeFailed'),
  );
  assert.equal(room.nri.plugins()[0]?.state, 'active');
});

test('a plugin that holds up too many events is dropped alone', async () => {
  await using room = await openRoom();
  await using slow = await join(room, '10', 'slow', [Event.STOP_CONTAINER]);
  await using other = await join(room, '20', 'other', [Event.STOP_CONTAINER]);
  slow.hang('StopContainer');
  const pod = room.daemon.addPod();
  const container = room.daemon.addContainer(pod);
  room.nri.containers.stopped(container);
  await slow.received('StopContainer');
  for (let number = 0; number < 1500; number++) room.nri.containers.stopped(container);
  await slow.closed;
  room.nri.containers.stopped(room.daemon.addContainer(pod, 'last'));
  await other.received('StopContainer', (request) => request.container?.name === 'last');
  assert.deepEqual(room.dropped, ['10-slow backlog']);
});

test('a plugin that holds up few events of much memory is dropped alone', async () => {
  await using room = await openRoom();
  await using slow = await join(room, '10', 'slow', [Event.STOP_CONTAINER]);
  await using _other = await join(room, '20', 'other', [Event.STOP_CONTAINER]);
  slow.hang('StopContainer');
  const pod = room.daemon.addPod();
  const container = room.daemon.addContainer(pod);
  room.nri.containers.stopped(container);
  await slow.received('StopContainer');
  const annotations = { large: 'x'.repeat(2 << 20) };
  const large = { ...container, record: { ...container.record, annotations } };
  for (let number = 0; number < 20; number++) room.nri.containers.stopped(large);
  assert.deepEqual(room.dropped, []);
  for (let number = 0; number < 20; number++) room.nri.containers.stopped(large);
  assert.deepEqual(room.dropped, ['10-slow backlog']);
});

test('a creation waits for a synchronisation no longer than for a request', async () => {
  await using room = await openRoom({ timeouts: { registrationMs: 60_000, requestMs: 300 } });
  await using plugin = await TestPlugin.connect(room.socket, { index: '10', name: 'sync' });
  plugin.hang('Synchronize');
  await plugin.register();
  await plugin.received('Synchronize');
  const container = room.daemon.begin(room.daemon.addPod());
  assert.equal(await room.nri.containers.create(container, operation()), undefined);
});

test('updates and evictions of others are applied; one that fails fails the creation unless it may', async () => {
  await using room = await openRoom();
  await using plugin = await join(room, '10', 'policy', [Event.CREATE_CONTAINER, Event.STOP_CONTAINER]);
  const pod = room.daemon.addPod();
  const [other, evicted] = [room.daemon.addContainer(pod, 'other'), room.daemon.addContainer(pod, 'evicted')];
  const update = (ignoreFailure: boolean): nri.ContainerUpdateInit => ({
    containerId: other.record.id,
    linux: { resources: { cpu: { cpus: '1' } } },
    ignoreFailure,
  });
  plugin.on('CreateContainer', () => ({
    update: [update(false)],
    evict: [{ containerId: evicted.record.id, reason: 'room' }],
  }));
  await room.nri.containers.create(room.daemon.begin(pod), operation());
  assert.deepEqual(room.daemon.updated, [{ id: other.record.id, changes: { cpu: { cpus: '1' } } }]);
  assert.deepEqual(room.daemon.evicted, [{ id: evicted.record.id, reason: 'room' }]);
  room.daemon.onUpdate = () => Promise.reject(new Error('busy'));
  await assert.rejects(
    room.nri.containers.create(room.daemon.begin(pod), operation()),
    (error) => hasCode(error, 'FailedPrecondition') && /10-policy/.test(error.message),
  );
  plugin.on('CreateContainer', () => ({ update: [update(true)] }));
  await room.nri.containers.create(room.daemon.begin(pod), operation());
  const failing = await plugin.update([update(false)]);
  assert.deepEqual(
    failing.failed.map(({ containerId }) => containerId),
    [other.record.id],
  );
  room.daemon.onUpdate = () => Promise.resolve();
  plugin.on('StopContainer', () => ({ update: [update(false)] }));
  room.nri.containers.stopped(evicted);
  await plugin.received('StopContainer');
  assert.deepEqual((await plugin.update([update(false)], [])).failed, []);
});

test('required plugins fail the creation while they are not there', async () => {
  const defaultValidator = { ...noValidator, enable: true, requiredPlugins: ['guard'] };
  await using room = await openRoom({ defaultValidator });
  const container = room.daemon.begin(room.daemon.addPod());
  assert.equal(room.nri.containers.listening, true);
  await assert.rejects(room.nri.containers.create(container, operation()), /guard/);
  room.daemon.settle(container);
  await using _guard = await join(room, '10', 'guard', [Event.CREATE_CONTAINER]);
  await room.nri.containers.create(container, operation());
});

test('older plugins get by StateChange what they have no method for', async () => {
  await using room = await openRoom();
  await using plugin = await TestPlugin.connect(room.socket, { index: '10', name: 'old' });
  const newer: Method[] = [
    'RunPodSandbox',
    'StopPodSandbox',
    'RemovePodSandbox',
    'PostCreateContainer',
    'UpdatePodSandbox',
  ];
  plugin.lacks(...newer, 'ValidateContainerAdjustment');
  await plugin.register();
  await active(room, '10-old');
  const pod = room.daemon.addPod('mine');
  await room.nri.pods.run(pod, operation());
  await room.nri.pods.update(pod, { overhead: pod.overhead, resources: pod.resources }, operation());
  await room.nri.containers.create(room.daemon.begin(pod), operation());
  room.nri.containers.created(room.daemon.addContainer(pod, 'new'));
  room.nri.pods.stopped(pod);
  room.nri.pods.stopped(pod);
  room.nri.pods.removed(pod);
  await plugin.received('StateChange', ({ event }) => event === Event.REMOVE_POD_SANDBOX);
  assert.deepEqual(
    plugin.of('StateChange').map(({ event, pod, container }) => [event, pod?.name, container?.name]),
    [
      [Event.RUN_POD_SANDBOX, 'mine', undefined],
      [Event.POST_CREATE_CONTAINER, 'mine', 'new'],
      [Event.STOP_POD_SANDBOX, 'mine', undefined],
      [Event.STOP_POD_SANDBOX, 'mine', undefined],
      [Event.REMOVE_POD_SANDBOX, 'mine', undefined],
    ],
  );
  assert.equal(plugin.of('StopPodSandbox').length, 1, 'the second goes the older way at once');
  assert.deepEqual(room.dropped, []);
});

test('a large state is sent in several messages', async () => {
  await using room = await openRoom();
  const pod = room.daemon.addPod();
  const annotations = { large: 'x'.repeat(64 * 1024) };
  for (let number = 0; number < 200; number++) {
    const container = room.daemon.begin(pod, `c${number}`);
    room.daemon.settle({ ...container, record: { ...container.record, annotations } });
  }
  await using plugin = await join(room, '10', 'large', [Event.STOP_CONTAINER]);
  const { containers } = await plugin.synchronized;
  assert.equal(new Set(containers.map(({ name }) => name)).size, 200);
  assert.ok(plugin.of('Synchronize').length >= 13);
});

test('at the end plugins get Shutdown, one that hangs is not waited for', async () => {
  const room = await openRoom({ timeouts: { registrationMs: 60_000, requestMs: 300 } });
  await using plugin = await join(room, '10', 'one');
  await using hanging = await join(room, '20', 'hanging');
  hanging.hang('Shutdown');
  await room[Symbol.asyncDispose]();
  await Promise.all([plugin.closed, hanging.closed]);
  assert.equal(plugin.of('Shutdown').length, 1);
});

test('more connections than there may be are refused', async () => {
  await using room = await openRoom();
  const sockets = Array.from({ length: 70 }, () => connect(room.socket).on('error', () => {}));
  await Promise.race(sockets.map((socket) => once(socket, 'close')));
  assert.equal((await room.logged(/too many/)).level, 'warn');
  for (const socket of sockets) socket.destroy();
});

test('the process of a plugin is known', async () => {
  await using room = await openRoom();
  await using _plugin = await join(room, '10', 'me');
  assert.equal(room.nri.plugins()[0]?.pid, process.pid);
  assert.ok(statSync(room.socket).isSocket());
});
