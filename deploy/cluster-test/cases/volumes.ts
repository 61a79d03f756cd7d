/** Volumes that the kubelet makes and the runtime mounts. */
import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Case } from '../case.ts';
import { handlerFeature, since } from '../needs.ts';
import type { Trial } from '../trial.ts';

const at = (mountPath: string, more: object = {}) => ({ name: 'volume', mountPath, ...more });

async function emptyDir(trial: Trial): Promise<void> {
  const name = await trial.start({
    volumes: [{ name: 'volume', emptyDir: {} }],
    containers: [
      { volumeMounts: [at('/one')] },
      { name: 'other', volumeMounts: [at('/two', { readOnly: true })] },
    ],
  });
  await trial.shell(name, 'echo text > /one/file && chmod 600 /one/file');
  assert.equal(
    await trial.shell(name, 'cat /two/file; stat -c %a /two /two/file', 'other'),
    'text\n777\n600\n',
  );
  const { code, stderr } = await trial.exec(name, ['touch', '/two/new'], { container: 'other' });
  assert.notEqual(code, 0, 'a read-only mount can be written');
  assert.match(stderr.toString(), /read-only/i);
}

async function memory(trial: Trial): Promise<void> {
  const log = await trial.output(
    'grep " /memory " /proc/mounts; df -k /memory | tail -n 1; echo x > /memory/x',
    {
      volumes: [{ name: 'volume', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } }],
      containers: [{ volumeMounts: [at('/memory')] }],
    },
  );
  const [mount = '', df = ''] = log.split('\n');
  assert.match(mount, /^tmpfs \/memory tmpfs /);
  assert.equal(df.split(/\s+/)[1], '8192', `the size is not the limit: ${df}`);
}

const evicted = (pod: V1Pod): boolean => pod.status?.phase === 'Failed' && pod.status.reason === 'Evicted';

async function sizeLimit(trial: Trial): Promise<void> {
  const name = await trial.create({
    volumes: [{ name: 'volume', emptyDir: { sizeLimit: '2Mi' } }],
    containers: [
      { script: 'head -c 8000000 /dev/zero > /volume/file; sleep 3600', volumeMounts: [at('/volume')] },
    ],
  });
  const pod = await trial.until(name, 'the pod is evicted', (seen) => evicted(seen) && seen);
  assert.match(pod.status?.message ?? '', /exceeds|exceeded/);
}

async function configMap(trial: Trial): Promise<void> {
  const config = await trial.createConfigMap({ key: 'first', other: 'text' });
  const name = await trial.start({
    volumes: [
      {
        name: 'volume',
        configMap: { name: config, defaultMode: 0o640, items: [{ key: 'key', path: 'dir/renamed' }] },
      },
    ],
    containers: [
      {
        volumeMounts: [at('/config')],
        envFrom: [{ prefix: 'ALL_', configMapRef: { name: config } }],
        env: [{ name: 'ONE', valueFrom: { configMapKeyRef: { name: config, key: 'key' } } }],
      },
    ],
  });
  const script =
    'cat /config/dir/renamed; echo "|$ONE|$ALL_other|$(stat -L -c %a /config/dir/renamed)|$(ls /config)"';
  assert.equal(await trial.shell(name, script), 'first|first|text|640|dir\n');
  await trial.patch(trial.path(`configmaps/${config}`), 'application/merge-patch+json', {
    data: { key: 'second' },
  });
  await trial.poll(
    'the change is in the volume',
    async () => (await trial.shell(name, 'cat /config/dir/renamed')) === 'second',
  );
}

async function secret(trial: Trial): Promise<void> {
  const secretName = await trial.createSecret({ password: 'first' });
  const name = await trial.start({
    volumes: [{ name: 'volume', secret: { secretName, defaultMode: 0o400 } }],
    containers: [
      {
        volumeMounts: [at('/secret')],
        env: [{ name: 'ONE', valueFrom: { secretKeyRef: { name: secretName, key: 'password' } } }],
      },
    ],
  });
  const script =
    'cat /secret/password; echo "|$ONE|$(stat -L -c %a /secret/password)|$(grep -c "tmpfs /secret " /proc/mounts)"';
  assert.equal(await trial.shell(name, script), 'first|first|400|1\n');
  await trial.patch(trial.path(`secrets/${secretName}`), 'application/merge-patch+json', {
    stringData: { password: 'second' },
  });
  await trial.poll(
    'the change is in the volume',
    async () => (await trial.shell(name, 'cat /secret/password')) === 'second',
  );
}

interface TokenClaims {
  readonly aud?: readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly 'kubernetes.io'?: { readonly pod?: { readonly name?: string } };
}

async function token(trial: Trial): Promise<void> {
  const serviceAccountToken = { audience: 'cluster-test', expirationSeconds: 900, path: 'token' };
  const { name, log } = await trial.finish({
    volumes: [
      {
        name: 'volume',
        projected: {
          sources: [
            { serviceAccountToken },
            { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
          ],
        },
      },
    ],
    containers: [
      { script: 'cat /projected/name; echo; cat /projected/token', volumeMounts: [at('/projected')] },
    ],
  });
  const [seen, jwt = ''] = log.split('\n');
  assert.equal(seen, name);
  const claims = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as TokenClaims;
  assert.deepEqual([claims.aud, claims['kubernetes.io']?.pod?.name], [['cluster-test'], name]);
  assert.ok(claims.exp > Date.now() / 1000, 'the token has expired');
}

async function downward(trial: Trial): Promise<void> {
  const items = [
    { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
    { path: 'cpu', resourceFieldRef: { containerName: 'main', resource: 'limits.cpu', divisor: '1m' } },
  ];
  const name = await trial.start({
    labels: { colour: 'red' },
    volumes: [{ name: 'volume', downwardAPI: { items } }],
    containers: [{ volumeMounts: [at('/pod')], resources: { limits: { cpu: '250m' } } }],
  });
  assert.equal(await trial.shell(name, 'grep colour /pod/labels; cat /pod/cpu'), 'colour="red"\n250');
  await trial.patch(trial.path(`pods/${name}`), 'application/merge-patch+json', {
    metadata: { labels: { colour: 'blue' } },
  });
  await trial.poll(
    'the change is in the volume',
    async () => (await trial.shell(name, 'grep colour /pod/labels')) === 'colour="blue"\n',
  );
}

async function hostPath(trial: Trial): Promise<void> {
  const log = await trial.output(
    'ls /host-etc/passwd /host-etc/hosts 2>/dev/null; touch /host-etc/x 2>&1; true',
    {
      volumes: [{ name: 'volume', hostPath: { path: '/etc', type: 'Directory' } }],
      containers: [{ volumeMounts: [at('/host-etc', { readOnly: true })] }],
    },
  );
  assert.match(log, /^\/host-etc\/(passwd|hosts)$/m, 'the directory of the node is not there');
  assert.match(log, /read-only/i);
}

async function subPath(trial: Trial): Promise<void> {
  const log = await trial.output(
    'echo text > /one/file; cat /whole/first/file; ls -d /whole/by-name-*; ls /two',
    {
      volumes: [{ name: 'volume', emptyDir: {} }],
      containers: [
        {
          env: [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
          volumeMounts: [
            at('/whole'),
            at('/one', { subPath: 'first' }),
            at('/two', { subPathExpr: 'by-name-$(POD)' }),
          ],
        },
      ],
    },
  );
  assert.equal(log, `text\n/whole/by-name-${trial.name('pod')}\n`);
}

/** In a mountinfo line the fifth field is the place, the sixth the options of the mount. */
const OPTIONS_BELOW = `awk '$5 ~ "^/host/sys" { print $6 }' /proc/self/mountinfo | cut -d, -f1 | sort -u`;

async function recursiveReadOnly(trial: Trial): Promise<void> {
  const readOnly = { readOnly: true, recursiveReadOnly: 'Enabled', mountPropagation: 'None' };
  const log = await trial.output(OPTIONS_BELOW, {
    volumes: [{ name: 'volume', hostPath: { path: '/sys', type: 'Directory' } }], // has mounts below it on every node
    containers: [{ volumeMounts: [at('/host/sys', readOnly)] }],
  });
  assert.equal(log, 'ro\n', 'a mount below it is not read-only');
}

export const VOLUME_CASES: readonly Case[] = [
  { name: 'volumes/empty-dir', about: 'emptyDir, shared by containers, read-only in one', run: emptyDir },
  { name: 'volumes/memory', about: 'emptyDir in memory: a tmpfs of the size of its limit', run: memory },
  {
    name: 'volumes/size-limit',
    about: 'a pod that fills an emptyDir beyond its limit is evicted',
    run: sizeLimit,
  },
  { name: 'volumes/config-map', about: 'keys as files and variables; a change arrives', run: configMap },
  { name: 'volumes/secret', about: 'the same of a secret, on a tmpfs', run: secret },
  { name: 'volumes/token', about: 'a projected token with its audience, for this pod', run: token },
  {
    name: 'volumes/downward',
    about: 'fields of the pod as files; a change of labels arrives',
    run: downward,
  },
  { name: 'volumes/host-path', about: 'a directory of the node, read-only', run: hostPath },
  { name: 'volumes/sub-path', about: 'subPath and subPathExpr', run: subPath },
  {
    name: 'volumes/recursive-read-only',
    about: 'all mounts below a read-only one are read-only',
    needs: [since(31, 'recursive read-only mounts'), handlerFeature('recursiveReadOnlyMounts')],
    run: recursiveReadOnly,
  },
];
