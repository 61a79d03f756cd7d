/** Pods: their start, what a container sees of its pod, their end. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import type { Trial } from '../trial.ts';

async function start(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const { status } = trial.cluster.pods.get(name) ?? {};
  const main = containerOf(trial.cluster.pods.get(name), 'main');
  assert.equal(status?.phase, 'Running');
  assert.match(status?.podIP ?? '', /^[0-9a-f.:]+$/);
  assert.match(main?.containerID ?? '', /^[a-z0-9.-]+:\/\/\S+$/);
  assert.ok(main?.imageID, 'the status has no imageID');
  assert.deepEqual([main?.restartCount, main?.started, main?.ready], [0, true, true]);
}

async function command(trial: Trial): Promise<void> {
  const log = await trial.output('', {
    containers: [
      {
        command: ['sh', '-c', 'echo "$PWD|$0|$1|$GREETING"'],
        args: ['zero', '$(NAME) and $$(NAME)'],
        workingDir: '/tmp',
        env: [
          { name: 'NAME', value: 'a b' },
          { name: 'GREETING', value: 'hello $(NAME)' },
        ],
      },
    ],
  });
  assert.equal(log, '/tmp|zero|a b and $(NAME)|hello a b\n');
}

const FIELDS = ['metadata.name', 'metadata.namespace', 'metadata.uid', 'spec.nodeName', 'status.podIP'];

async function downwardEnv(trial: Trial): Promise<void> {
  const env = FIELDS.map((fieldPath, index) => ({
    name: `FIELD_${index}`,
    valueFrom: { fieldRef: { fieldPath } },
  }));
  const limit = {
    name: 'LIMIT',
    valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } },
  };
  const resources = { limits: { memory: '64Mi', cpu: '500m' } };
  const { name, pod, log } = await trial.finish({
    containers: [
      {
        script: 'echo "$FIELD_0|$FIELD_1|$FIELD_2|$FIELD_3|$FIELD_4|$LIMIT"',
        env: [...env, limit],
        resources,
      },
    ],
  });
  const { namespace, facts } = trial.cluster;
  const expected = [name, namespace, pod.metadata?.uid, facts.node.name, pod.status?.podIP, '64'];
  assert.equal(log, `${expected.join('|')}\n`);
}

async function hostname(trial: Trial): Promise<void> {
  const [named, plain] = await Promise.all([
    trial.finish({
      hostname: 'chosen',
      subdomain: 'sub',
      containers: [{ script: 'hostname; cat /etc/hosts' }],
    }),
    trial.finish({ containers: [{ script: 'hostname; cat /etc/hostname' }] }, 'plain'),
  ]);
  const [host, ...hosts] = named.log.split('\n');
  assert.equal(host, 'chosen');
  const line = hosts.find((text) => text.startsWith(`${named.pod.status?.podIP}\t`)) ?? '';
  assert.match(line, /^\S+\tchosen\.sub\.\S+\tchosen$/, `/etc/hosts: ${hosts.join(' | ')}`);
  assert.equal(plain.log, `${plain.name}\n${plain.name}\n`);
}

async function hostAliases(trial: Trial): Promise<void> {
  const log = await trial.output('cat /etc/hosts', {
    hostAliases: [{ ip: '192.0.2.7', hostnames: ['one.example', 'two.example'] }],
  });
  assert.match(log, /^192\.0\.2\.7\tone\.example\ttwo\.example$/m);
}

async function dns(trial: Trial): Promise<void> {
  const log = await trial.output('cat /etc/resolv.conf', {
    dnsPolicy: 'None',
    dnsConfig: {
      nameservers: ['192.0.2.53', '192.0.2.54'],
      searches: ['one.example', 'two.example'],
      options: [{ name: 'ndots', value: '3' }, { name: 'edns0' }],
    },
  });
  const entries = (keyword: string) => log.split('\n').filter((line) => line.startsWith(`${keyword} `));
  assert.deepEqual(entries('nameserver'), ['nameserver 192.0.2.53', 'nameserver 192.0.2.54']);
  assert.deepEqual(entries('search'), ['search one.example two.example']);
  const [options = '', ...others] = entries('options');
  assert.deepEqual(others, []);
  assert.deepEqual(options.split(' ').sort(), ['edns0', 'ndots:3', 'options']); // the kubelet merges them in no order
}

/** Not `$$`: in a command of a container Kubernetes makes `$` of it. */
const OWN_PID = 'exec readlink /proc/self';
const IPC = 'readlink /proc/self/ns/ipc';

async function hostPid(trial: Trial): Promise<void> {
  const [host, own] = await Promise.all([
    trial.output(OWN_PID, { hostPID: true }),
    trial.finish({ containers: [{ script: OWN_PID }] }, 'own'),
  ]);
  assert.equal(own.log, '1\n', 'a container without hostPID is not process 1');
  assert.notEqual(host, '1\n', 'a container with hostPID is process 1: it has a PID namespace of its own');
}

async function hostIpc(trial: Trial): Promise<void> {
  const sketch = (hostIPC: boolean) => ({ hostIPC, containers: [{ script: IPC }] });
  const [one, other, own] = await Promise.all([
    trial.finish(sketch(true), 'one'),
    trial.finish(sketch(true), 'other'),
    trial.finish(sketch(false), 'own'),
  ]);
  assert.match(one.log, /^ipc:/);
  assert.equal(one.log, other.log, 'two pods with hostIPC are in different IPC namespaces');
  assert.notEqual(one.log, own.log, 'a pod without hostIPC is in the IPC namespace of the node');
}

async function shared(trial: Trial): Promise<void> {
  const name = await trial.start({
    shareProcessNamespace: true,
    containers: [{}, { name: 'other', script: 'exec sleep 7654' }],
  });
  const seen = await trial.shell(
    name,
    'echo $$; cat /proc/[0-9]*/cmdline | tr "\\0" " "; readlink /proc/self/ns/ipc',
  );
  assert.notEqual(seen.split('\n')[0], '1');
  assert.ok(seen.includes('sleep 7654'), `the other container's process is not seen: ${seen}`);
  const ipc = await trial.shell(name, IPC, 'other');
  assert.ok(seen.endsWith(ipc), 'the containers of a pod are in different IPC namespaces');
}

async function deadline(trial: Trial): Promise<void> {
  const { pod } = await trial.finish({ activeDeadlineSeconds: 3, terminationGracePeriodSeconds: 1 });
  assert.deepEqual([pod.status?.phase, pod.status?.reason], ['Failed', 'DeadlineExceeded']);
}

async function many(trial: Trial): Promise<void> {
  const names = await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      trial.start({ containers: [{}, { name: 'second' }] }, `${index}`),
    ),
  );
  const addresses = names.map((name) => trial.cluster.pods.get(name)?.status?.podIP);
  assert.equal(new Set(addresses).size, names.length, `addresses: ${addresses.join(', ')}`);
}

async function removal(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const began = trial.cluster.pods.get(name)?.metadata?.uid;
  await trial.delete(name);
  const { pods, timeoutMs } = trial.cluster;
  await pods.until(() => (pods.get(name) ? undefined : true), {
    what: `${name}: the pod is gone`,
    timeoutMs,
    signal: trial.signal,
    reason: () => trial.eventsOfCase().join(' | '),
  });
  const again = await trial.start({}); // the name is free at once, for another pod
  assert.notEqual(trial.cluster.pods.get(again)?.metadata?.uid, began);
}

export const POD_CASES: readonly Case[] = [
  { name: 'pods/start', about: 'a pod starts, and has an address, a container and an image id', run: start },
  {
    name: 'pods/command',
    about: 'command, args, working directory, variables and their expansion',
    run: command,
  },
  { name: 'pods/downward-env', about: 'variables from fields of the pod and from limits', run: downwardEnv },
  { name: 'pods/hostname', about: 'hostname, subdomain, /etc/hostname and /etc/hosts', run: hostname },
  { name: 'pods/host-aliases', about: 'hostAliases are in /etc/hosts', run: hostAliases },
  { name: 'pods/dns', about: 'dnsConfig is in /etc/resolv.conf', run: dns },
  { name: 'pods/host-pid', about: 'hostPID, and a PID namespace of its own without it', run: hostPid },
  { name: 'pods/host-ipc', about: 'hostIPC, and an IPC namespace of its own without it', run: hostIpc },
  { name: 'pods/shared-processes', about: 'shareProcessNamespace: containers see each other', run: shared },
  {
    name: 'pods/active-deadline',
    about: 'activeDeadlineSeconds ends a pod: DeadlineExceeded',
    run: deadline,
  },
  { name: 'pods/many', about: 'eight pods of two containers at once, each with its own address', run: many },
  { name: 'pods/removal', about: 'a deleted pod goes, and its name can be used at once', run: removal },
];
