import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import type { ContainerId } from '#core/ids.ts';
import { newContainerId } from '#core/ids.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import { endMonitor } from './end.ts';

/** Real processes in a group that lists what the test says: when one forks, and how long it takes to die. */
class Group implements AsyncDisposable {
  readonly id: ContainerId = newContainerId();
  readonly children: ChildProcess[] = [];
  readonly signalled: number[] = [];
  /** Called at each look; what the group lists. */
  listed: () => number[] = () => [];
  looks = 0;

  /** A process with the container's id among its arguments, as conmon and the OCI runtime have it; without, a hook. */
  process(id: string = this.id): number {
    const child = spawn('sh', ['-c', 'read line', 'sh', id], { stdio: ['pipe', 'ignore', 'ignore'] });
    this.children.push(child);
    return child.pid ?? 0;
  }

  async end(): Promise<void> {
    const context = {
      options: { state: '/nonexistent' },
      kernel: {
        cgroups: {
          processes: () => {
            this.looks++;
            return this.listed();
          },
        },
        processes: {
          reference: (pid: number): ProcessRef => ({ pid, startTime: '', bootId: '' }),
          signal: ({ pid }: ProcessRef, signal: number) => {
            this.signalled.push(pid);
            return process.kill(pid, signal);
          },
        },
      },
    };
    const record = { id: this.id, monitor: undefined };
    await endMonitor(
      context as unknown as Context,
      record as unknown as ContainerRecord,
      '/monitors',
      AbortSignal.timeout(60_000),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
}

test('what a monitor has forked just before it was killed is killed as well', async () => {
  await using group = new Group();
  const conmon = group.process();
  const create = group.process();
  group.listed = () => [[], [conmon], [create], []][group.looks] ?? [];
  await group.end();
  assert.deepEqual(group.signalled, [conmon, create]);
});

test('it ends when the killed processes are gone from the group, not when they are zombies', async () => {
  await using group = new Group();
  const create = group.process();
  group.listed = () => (group.looks < 4 ? [create] : []);
  await group.end();
  assert.equal(group.looks, 4);
});

test('other processes of the pod are not killed, nor waited for', async () => {
  await using group = new Group();
  const other = group.process(newContainerId());
  group.listed = () => [other];
  await group.end();
  assert.deepEqual(group.signalled, []);
  assert.equal(group.looks, 1);
});

test('what has ended after it was listed may have forked: there is another look', async () => {
  await using group = new Group();
  const conmon = group.process();
  const [first] = group.children;
  first?.kill('SIGKILL');
  if (first) await once(first, 'exit');
  const child = group.process();
  group.listed = () => [[], [conmon], [child], []][group.looks] ?? [];
  await group.end();
  assert.deepEqual(group.signalled, [child]);
});
