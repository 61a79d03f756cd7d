/** User namespaces. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import type { PodSketch } from '../manifest.ts';
import { handlerFeature, since } from '../needs.ts';
import type { Trial } from '../trial.ts';

/** `inside outside length` of the first line. */
async function mapping(trial: Trial, pod: string): Promise<readonly number[]> {
  const [line = ''] = (await trial.shell(pod, 'cat /proc/self/uid_map')).split('\n');
  return line.trim().split(/\s+/).map(Number);
}

const own: PodSketch = { hostUsers: false };

async function mapped(trial: Trial): Promise<void> {
  const [one, other, host] = await Promise.all([
    trial.start(own, 'one'),
    trial.start(own, 'other'),
    trial.start({ hostUsers: true }, 'host'),
  ]);
  const [first, second] = [await mapping(trial, one), await mapping(trial, other)];
  assert.equal(first[0], 0);
  assert.ok((first[1] ?? 0) >= 65536 && (first[2] ?? 0) >= 65536, `uid_map: ${first.join(' ')}`);
  assert.notEqual(first[1], second[1], 'two pods have the same users of the node');
  assert.equal((await mapping(trial, host))[1], 0);
  assert.equal(await trial.shell(one, 'id -u; stat -c %u / /proc/1 /etc/resolv.conf'), '0\n0\n0\n0\n');
}

async function volumes(trial: Trial): Promise<void> {
  const config = await trial.createConfigMap({ key: 'text' });
  const log = await trial.output(
    'id -u; cat /config/key; echo; touch /empty/file; stat -c "%u %g" /empty/file /config/key',
    {
      ...own,
      securityContext: { runAsUser: 1234, runAsGroup: 1234, fsGroup: 2345 },
      volumes: [
        { name: 'empty', emptyDir: {} },
        { name: 'config', configMap: { name: config } },
      ],
      containers: [
        {
          volumeMounts: [
            { name: 'empty', mountPath: '/empty' },
            { name: 'config', mountPath: '/config' },
          ],
        },
      ],
    },
  );
  const [uid, text, file] = log.split('\n');
  assert.deepEqual([uid, text, file], ['1234', 'text', '1234 2345']);
}

async function capabilities(trial: Trial): Promise<void> {
  const name = await trial.start({
    ...own,
    containers: [{ securityContext: { capabilities: { add: ['SYS_ADMIN', 'MKNOD'] } } }],
  });
  assert.equal(await trial.shell(name, 'hostname renamed && hostname'), 'renamed\n');
  // The kernel asks for CAP_MKNOD on the node, not in the namespace.
  const { code } = await trial.exec(name, ['mknod', '/tmp/null', 'c', '1', '3']);
  assert.notEqual(code, 0, 'a capability of the pod counts on the node');
}

const NEEDS = [since(33, 'user namespaces'), handlerFeature('userNamespaces')];

export const USER_CASES: readonly Case[] = [
  {
    name: 'user-namespaces/mapping',
    about: "root of a pod is no user of the node, nor another pod's",
    needs: NEEDS,
    run: mapped,
  },
  {
    name: 'user-namespaces/volumes',
    about: 'volumes have the users that the pod sees',
    needs: NEEDS,
    run: volumes,
  },
  {
    name: 'user-namespaces/capabilities',
    about: 'capabilities count inside alone',
    needs: NEEDS,
    run: capabilities,
  },
];
