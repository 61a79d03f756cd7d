/** Security contexts. */
import assert from 'node:assert/strict';
import { type Case, Skip } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import { handlerFeature, nodeFeature, since } from '../needs.ts';
import type { Trial } from '../trial.ts';

/** A line of /proc/self/status, of the shell that runs the script. */
const statusField = (field: string): string => `sed -n 's/^${field}:[[:space:]]*//p' /proc/self/status`;

async function user(trial: Trial): Promise<void> {
  const log = await trial.output('id -u; id -g; id -G; touch /tmp/file && stat -c "%u %g" /tmp/file', {
    securityContext: { runAsUser: 1234, runAsGroup: 2345, runAsNonRoot: true, supplementalGroups: [3456] },
  });
  const [uid, gid, groups = '', file] = log.split('\n');
  assert.deepEqual([uid, gid, file], ['1234', '2345', '1234 2345']);
  assert.deepEqual(groups.split(' ').sort(), ['2345', '3456']);
}

async function nonRoot(trial: Trial): Promise<void> {
  const name = await trial.create({
    containers: [{ securityContext: { runAsNonRoot: true, runAsUser: 0 } }],
  });
  await trial.until(
    name,
    'the container is refused',
    (pod) => containerOf(pod, 'main')?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
}

async function fsGroup(trial: Trial): Promise<void> {
  const log = await trial.output(
    'id -G; stat -c "%g %a" /volume; touch /volume/file; stat -c "%u %g" /volume/file',
    {
      securityContext: { runAsUser: 1234, runAsGroup: 1234, fsGroup: 4567 },
      volumes: [{ name: 'volume', emptyDir: {} }],
      containers: [{ volumeMounts: [{ name: 'volume', mountPath: '/volume' }] }],
    },
  );
  const [groups = '', volume, file] = log.split('\n');
  assert.ok(groups.split(' ').includes('4567'), `groups: ${groups}`);
  assert.deepEqual([volume, file], ['4567 2777', '1234 4567']);
}

async function groupsPolicy(trial: Trial): Promise<void> {
  const securityContext = {
    runAsUser: 0,
    runAsGroup: 2345,
    supplementalGroups: [3456],
    supplementalGroupsPolicy: 'Strict',
  };
  const name = await trial.start({ securityContext });
  // busybox has root in the group wheel, which Merge would add.
  assert.deepEqual((await trial.shell(name, 'id -G')).trim().split(' ').sort(), ['2345', '3456']);
  const linux = containerOf(trial.cluster.pods.get(name), 'main')?.user?.linux;
  assert.deepEqual([linux?.uid, linux?.gid], [0, 2345]);
  assert.deepEqual(linux?.supplementalGroups?.toSorted(), [2345, 3456]);
}

async function readOnlyRoot(trial: Trial): Promise<void> {
  const log = await trial.output(
    'touch /file 2>&1; touch /etc/file 2>&1; touch /volume/file && echo volume',
    {
      volumes: [{ name: 'volume', emptyDir: {} }],
      containers: [
        {
          securityContext: { readOnlyRootFilesystem: true },
          volumeMounts: [{ name: 'volume', mountPath: '/volume' }],
        },
      ],
    },
  );
  assert.match(log, /^.*read-only.*\n.*read-only.*\nvolume\n$/i);
}

async function capabilities(trial: Trial): Promise<void> {
  const run = (suffix: string, securityContext: object) =>
    trial.finish({ containers: [{ script: statusField('CapEff'), securityContext }] }, suffix);
  const [none, one, all, usual] = await Promise.all([
    run('none', { capabilities: { drop: ['ALL'] } }),
    run('one', { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } }),
    run('privileged', { privileged: true }),
    run('default', {}),
  ]);
  const bits = ({ log }: { log: string }): bigint => BigInt(`0x${log.trim()}`);
  assert.deepEqual([bits(none), bits(one)], [0n, 1n << 12n]);
  assert.ok((bits(all) & (1n << 21n)) !== 0n, 'a privileged container has no SYS_ADMIN');
  assert.ok((bits(usual) & (1n << 21n)) === 0n, 'a container has SYS_ADMIN by default');
  assert.ok((bits(usual) & 1n) !== 0n, 'a container has no CHOWN by default');
}

async function privileged(trial: Trial): Promise<void> {
  const script = 'ls /dev | wc -l; mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && echo mounted';
  const [is, not] = await Promise.all([
    trial.finish({ containers: [{ script, securityContext: { privileged: true } }] }, 'is'),
    trial.finish({ containers: [{ script }] }, 'not'),
  ]);
  assert.match(is.log, /\nmounted\n$/);
  assert.doesNotMatch(not.log, /\nmounted\n$/);
  assert.ok(Number.parseInt(is.log, 10) > Number.parseInt(not.log, 10), "no devices of the node's");
}

async function noNewPrivileges(trial: Trial): Promise<void> {
  const securityContext = { allowPrivilegeEscalation: false };
  assert.equal(await trial.output(statusField('NoNewPrivs'), { containers: [{ securityContext }] }), '1\n');
}

async function seccomp(trial: Trial): Promise<void> {
  const mode = async (type: string) =>
    (
      await trial.finish(
        { securityContext: { seccompProfile: { type } }, containers: [{ script: statusField('Seccomp') }] },
        type.toLowerCase(),
      )
    ).log;
  assert.deepEqual(await Promise.all([mode('RuntimeDefault'), mode('Unconfined')]), ['2\n', '0\n']);
}

async function sysctls(trial: Trial): Promise<void> {
  const log = await trial.output(
    'cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start',
    {
      securityContext: {
        sysctls: [
          { name: 'kernel.shm_rmid_forced', value: '1' },
          { name: 'net.ipv4.ip_unprivileged_port_start', value: '80' },
        ],
      },
    },
  );
  assert.equal(log, '1\n80\n');
}

async function unsafeSysctl(trial: Trial): Promise<void> {
  const { pod } = await trial.finish({
    securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '9000' }] },
  });
  if (pod.status?.phase === 'Succeeded') throw new Skip('the kubelet allows kernel.msgmax');
  assert.equal(pod.status?.reason, 'SysctlForbidden', pod.status?.message);
}

async function procDefault(trial: Trial): Promise<void> {
  const log = await trial.output(
    'head -c 1 /proc/kcore 2>/dev/null | wc -c; { echo x > /proc/sys/kernel/domainname; } 2>&1; grep -c " /proc/" /proc/mounts',
  );
  const [bytes, write = '', mounts] = log.split('\n');
  assert.equal(bytes, '0', '/proc/kcore can be read');
  assert.match(write, /read-only/i);
  assert.ok(Number(mounts) > 3, 'no masked paths in /proc');
}

async function procUnmasked(trial: Trial): Promise<void> {
  const name = await trial.start({
    hostUsers: false,
    containers: [{ securityContext: { procMount: 'Unmasked' } }],
  });
  const [main] = trial.cluster.pods.get(name)?.spec?.containers ?? [];
  if (main?.securityContext?.procMount !== 'Unmasked')
    throw new Skip('the API server drops procMount: the feature ProcMountType is off');
  assert.equal(
    await trial.shell(name, 'grep -c " /proc/" /proc/mounts; true'),
    '0\n',
    'paths in /proc are masked',
  );
}

export const SECURITY_CASES: readonly Case[] = [
  { name: 'security/user', about: 'runAsUser, runAsGroup, supplementalGroups', run: user },
  { name: 'security/non-root', about: 'runAsNonRoot refuses root: CreateContainerConfigError', run: nonRoot },
  { name: 'security/fs-group', about: 'fsGroup owns volumes', run: fsGroup },
  {
    name: 'security/groups-policy',
    about: "supplementalGroupsPolicy Strict: no groups of the image's own",
    needs: [since(33, 'supplementalGroupsPolicy'), nodeFeature('supplementalGroupsPolicy')],
    run: groupsPolicy,
  },
  {
    name: 'security/read-only-root',
    about: 'readOnlyRootFilesystem, with a volume that is not',
    run: readOnlyRoot,
  },
  { name: 'security/capabilities', about: 'none, one, the default ones, all', run: capabilities },
  {
    name: 'security/privileged',
    about: "a privileged container has the node's devices and may mount",
    run: privileged,
  },
  { name: 'security/no-new-privileges', about: 'allowPrivilegeEscalation: false', run: noNewPrivileges },
  { name: 'security/seccomp', about: 'RuntimeDefault filters, Unconfined does not', run: seccomp },
  { name: 'security/sysctls', about: 'safe sysctls of a pod', run: sysctls },
  {
    name: 'security/unsafe-sysctl',
    about: 'an unsafe sysctl is refused: SysctlForbidden',
    run: unsafeSysctl,
  },
  { name: 'security/proc', about: 'paths in /proc are masked or read-only', run: procDefault },
  {
    name: 'security/proc-unmasked',
    about: 'procMount Unmasked, in a user namespace',
    needs: [since(33, 'procMount with user namespaces'), handlerFeature('userNamespaces')],
    run: procUnmasked,
  },
];
