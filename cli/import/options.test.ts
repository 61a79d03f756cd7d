import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { optionAt } from '#config/index.ts';
import { covered } from './annotation.ts';
import { optionOf } from './effective.ts';
import type { PeerOption } from './option.ts';
import { optionsTable } from './options-table.ts';
import { peers } from './peers.ts';

const all = Object.values(peers).flatMap((peer) => peer.options.map((option) => [peer, option] as const));
const name = ({ keys }: PeerOption): string => keys.join('.');

test('docs/peer-options.md is what the tables give', () => {
  const file = join(import.meta.dirname, '../../docs/peer-options.md');
  assert.equal(
    readFileSync(file, 'utf8'),
    optionsTable(),
    'run: node cli/import/options-table.ts > docs/peer-options.md',
  );
});

test('what options map to are options of crisp, or a table of them', () => {
  const wrong = all.filter(([, { to }]) => {
    const keys = to?.split('.');
    return keys && !optionAt(keys) && !optionAt([...keys, 'name']);
  });
  assert.deepEqual(
    wrong.map(([, option]) => `${name(option)} -> ${option.to}`),
    [],
  );
});

test('each option is found by its own keys, so none hides another', () => {
  for (const [peer, option] of all) {
    const keys = option.keys.map((key) => (key === '*' || key === '**' ? 'x' : key));
    assert.equal(optionOf(peer, keys)?.option, option, name(option));
  }
});

test('each option says why it is not there or not needed, and each choice how to make it', () => {
  for (const [, { kind, note, to, keys }] of all) {
    if (kind === 'maps' || kind === 'manual') assert.ok(to, keys.join('.'));
    if (kind !== 'maps') assert.ok(note.length > 8, keys.join('.'));
  }
});

test('what an option sets is what its row names', () => {
  for (const [peer, option] of all) {
    if (!option.convert || option.fallback === undefined) continue;
    const around = {
      names: option.keys.flatMap((key) => (key === '*' ? ['x'] : [])),
      get: (...keys: readonly string[]) =>
        optionOf(
          peer,
          keys.map((key) => (key === '*' ? 'x' : key)),
        )?.option.fallback,
      below: () => [],
    };
    const result = option.convert(option.fallback, around);
    for (const [keys] of 'set' in result ? result.set : []) {
      const [first, second] = (option.to ?? '').split('.');
      assert.deepEqual(keys.slice(0, 2), [first, second], name(option));
    }
  }
});

/** All that CRI-O 1.37 lists as allowed (pkg/annotations/v2), and those of its earlier names that pods still have. */
const OF_CRIO = [
  'cgroup2-mount-hierarchy-rw cpu-c-states cpu-freq-governor cpu-load-balancing cpu-quota cpu-shared devices disable-fips',
  'irq-load-balancing link-logs platform-runtime-path pod-linux-overhead pod-linux-resources seccomp-notifier-action',
  'seccomp-profile shm-size skip-gomaxprocs spoofed try-skip-volume-selinux-label umask unified-cgroup userns-mode',
]
  .flatMap((line) => line.split(' '))
  .map((word) => `${word}.crio.io`);
const OTHERS = [
  'io.kubernetes.cri-o.UnifiedCgroup/web',
  'io.kubernetes.cri-o.userns-mode',
  'seccomp-profile.kubernetes.cri-o.io/POD',
  'cpu-shared.crio.io/web',
  'io.containers.trace-syscall',
  'io.kubernetes.cri.rdt-class',
  'org.opencontainers.image.stopSignal',
  'org.systemd.property.MemoryHigh',
  'run.oci.hooks.stdout',
];

test('each annotation of CRI-O has a row, which says what to do where crisp does not act upon it', () => {
  const { annotations } = peers['crio'] ?? assert.fail();
  for (const key of [...OF_CRIO, ...OTHERS]) assert.equal(covered(annotations, key).length, 1, key);
  for (const { keys, kind, note, what, to } of Object.values(peers).flatMap((peer) => peer.annotations)) {
    assert.ok(what.length > 3, keys[0]);
    if (kind !== 'acts' && kind !== 'passed') assert.ok(note.length > 8, keys[0]);
    assert.equal(to !== undefined, kind === 'option', keys[0]);
    if (to !== undefined) assert.ok(optionAt(to.split('.')), to);
  }
});
