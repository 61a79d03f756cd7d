/** Containers of which something cannot be undone: they and their pods go all the same, and what is left is listed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import test from 'node:test';
import type { DaemonSettings } from '../harness/daemon.ts';
import { endsClean, processesWith, refused, TestNode, until } from '../harness/pods.ts';

const base = process.env['CRISP_TEST_DIR'] ?? '';
const place = (name: string) => join(base, `${name}-${process.pid}`);

function script(name: string, text: string): string {
  writeFileSync(place(name), `#!/bin/sh\n${text}\n`);
  chmodSync(place(name), 0o755);
  return place(name);
}

const mark = place('clings');
const verb = 'for v in "$@"; do case "$v" in -*) ;; *) break;; esac; done';
const clinging = `${verb}; [ "$v" = delete ] && [ -e ${mark} ] && { echo "cannot let go" >&2; exit 1; }; exec runc "$@"`;
const handlers: Record<string, string> = {
  clinging: script('clinging', clinging),
  going: script('going', 'exec runc "$@"'),
  leaving: script('leaving', 'exec runc "$@"'),
};
const toml = (names: readonly string[]): string =>
  names.map((name) => `[runtime.handlers.${name}]\npath = "${handlers[name]}"`).join('\n');

const METRICS = `127.0.0.1:${20_000 + (process.pid % 10_000)}`;
const node = await TestNode.start('leaks', {
  runtime: 'runc',
  metrics: METRICS,
  extra: toml(Object.keys(handlers)),
});
const withHandlers = (...names: string[]): void => {
  (node.settings as { -readonly [K in keyof DaemonSettings]: DaemonSettings[K] }).extra = toml(names);
};

interface Leak {
  readonly object: string;
  readonly id: string;
  readonly kinds: readonly string[];
  readonly error: string;
}

async function leaks(): Promise<readonly Leak[]> {
  const { info } = await node.client.Status({ verbose: true });
  const { count, items } = JSON.parse(info['leaks'] ?? '{}');
  assert.equal(count, items.length);
  return items;
}

async function running(runtimeHandler: string): Promise<{ pod: string; id: string }> {
  const config = node.podConfig();
  const { podSandboxId: pod } = await node.client.RunPodSandbox({ config, runtimeHandler });
  return { pod, id: await node.run(pod) };
}

/** As the kubelet ends a pod: each call must succeed at last, the removal of the pod within three tries. */
async function ends({ pod, id }: { pod: string; id: string }): Promise<void> {
  await node.stop(id, 0);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await node.remove(id);
  const removal = () => node.client.RemovePodSandbox({ podSandboxId: pod });
  await removal().catch(removal).catch(removal);
  const { items } = await node.client.ListPodSandbox({});
  assert.ok(!items.some((item) => item.id === pod));
  assert.deepEqual([processesWith(id), node.groups().filter((group) => group.includes(id))], [[], []]);
}

const before = node.leftovers();
const left = () =>
  node
    .leftovers()
    .filter((trace) => !before.includes(trace))
    .map((trace) => basename(trace));
/** After a restart the daemon probes the node with namespaces and mounts of its own, for a moment. */
const nothingLeft = () => until('nothing is left', () => left().length === 0);
const leakOf = async (of: string) => (await leaks()).find(({ id }) => id === of);
const undone = (id: string) => until('the leak is undone', async () => !(await leakOf(id)));

test('a runtime whose delete fails for good: listed, counted by the metric, undone once it can be', async () => {
  const one = await running('clinging');
  writeFileSync(mark, '');
  await ends(one);
  const leak = await leakOf(one.id);
  assert.deepEqual([leak?.object, leak?.id, leak?.kinds], ['container', one.id, ['runtime']]);
  assert.match(leak?.error ?? '', /cannot let go/);
  assert.deepEqual(left(), [one.id], 'the state of the runtime alone');
  const metrics = await (await fetch(`http://${METRICS}/metrics`)).text();
  assert.match(metrics, /crisp_leaks\{object="container"\} 1/);
  await node.restart('kill');
  await until('the next daemon has tried it too', async () =>
    readdirSync(join(node.settings.directory, 'root/leaks/containers')).includes(one.id),
  );
  assert.equal((await leaks()).length, 1);
  rmSync(mark);
  await node.restart('kill');
  await undone(one.id);
  await nothingLeft();
});

test('the program of the runtime is deleted: the pod is removed, and its state once the program is back', async () => {
  const one = await running('going');
  rmSync(place('going'));
  await ends(one);
  const leak = await leakOf(one.id);
  assert.deepEqual([leak?.id, leak?.kinds], [one.id, ['runtime']]);
  script('going', 'exec runc "$@"');
  await node.restart('stop');
  await undone(one.id);
  await nothingLeft();
});

const restoreHandlers = () => {
  withHandlers(...Object.keys(handlers));
  return node.restart('stop');
};

test('a handler that is no longer configured is known until the boot: nothing is left of its pods', async () => {
  const one = await running('leaving');
  withHandlers('clinging', 'going');
  await node.restart('stop');
  await ends(one);
  assert.deepEqual(await leaks(), []);
  await nothingLeft();
  await restoreHandlers();
});

test('a handler that nothing knows any more: the pod is removed, and its state once the handler is back', async () => {
  const one = await running('leaving');
  withHandlers('clinging', 'going');
  await node.restart('stop', async () => rmSync(join(node.settings.directory, 'state/handlers.json')));
  await ends(one);
  const leak = await leakOf(one.id);
  assert.deepEqual([leak?.id, leak?.kinds], [one.id, ['runtime']]);
  await restoreHandlers();
  await undone(one.id);
  await nothingLeft();
});

test('after a reboot a handler that is missing has no state to delete', async () => {
  const one = await running('leaving');
  withHandlers('clinging', 'going');
  await node.restart('stop', async () => {
    spawnSync('runc', [
      '--root',
      join(node.settings.directory, 'state/oci/leaving'),
      'delete',
      '--force',
      one.id,
    ]);
  });
  await ends(one);
  assert.deepEqual(await leaks(), []);
  await nothingLeft();
  await restoreHandlers();
});

test('files that cannot be deleted: the pod is removed, the files when they can be', async () => {
  const one = await running('');
  const path = join(node.settings.directory, 'root/containers', one.id, 'upper/kept');
  writeFileSync(path, '');
  assert.equal(spawnSync('chattr', ['+i', path]).status, 0, 'the file system of the tests knows chattr');
  const removing = join(node.settings.directory, 'root/containers', `${one.id}.removing`);
  try {
    await ends(one);
    assert.deepEqual((await leakOf(one.id))?.kinds, ['files']);
  } finally {
    spawnSync('chattr', ['-i', join(removing, 'upper/kept')]);
  }
  await node.restart('kill');
  await undone(one.id);
  assert.ok(!existsSync(removing));
  await nothingLeft();
});

test('a bundle with another program’s mount: the pod is removed, the bundle when it can be', async () => {
  const { pod, id } = await running('');
  const held = join(node.settings.directory, 'state/containers', id, 'held');
  mkdirSync(held);
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', 'held', held]).status, 0);
  await ends({ pod, id });
  assert.deepEqual((await leakOf(id))?.kinds, ['bundle']);
  assert.equal(spawnSync('umount', [held]).status, 0);
  await node.restart('kill');
  await undone(id);
  await refused(node.status(id), 'NotFound');
  await nothingLeft();
});

endsClean(node);
