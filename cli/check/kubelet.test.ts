import assert from 'node:assert/strict';
import test from 'node:test';
import { kubeletChecks } from './kubelet.ts';

interface Facts {
  /** Texts by path; in directories of these, names. */
  readonly files?: Readonly<Record<string, string>>;
  /** Command lines of running kubelets. */
  readonly running?: readonly (readonly string[])[];
  readonly containerdSocket?: string;
}

const CONFIG = '/var/lib/kubelet/config.yaml';
const FLAGS = '/var/lib/kubelet/kubeadm-flags.env';
const OURS = 'unix:///run/crisp/crisp.sock';

function nodeWith({ files = {}, running = [], containerdSocket = '' }: Facts) {
  return {
    config: { socket: '/run/crisp/crisp.sock', containerdSocket },
    text: (path: string) => files[path],
    entries: (directory: string) =>
      Object.keys(files)
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1)),
    commandLines: () => running.map((argv, index) => ({ pid: 10 + index, argv })),
  };
}

/** `status: found`, and the remedy. */
async function result(id: string, facts: Facts): Promise<[string, string]> {
  const check = kubeletChecks.find((one) => one.id === id);
  assert.ok(check);
  const {
    status,
    found,
    remedy = '',
  } = await check.run(nodeWith(facts) as never, new AbortController().signal);
  assert.equal(remedy === '', status === 'ok', found);
  return [`${status}: ${found}`, remedy];
}
const endpoint = async (facts: Facts): Promise<string> => (await result('kubelet', facts))[0];
const labels = async (facts: Facts): Promise<string> => (await result('kubelet-metrics', facts))[0];

test('the endpoint is that of the flags, else of the configuration', async () => {
  assert.match(await endpoint({}), /^ok: no kubelet/);
  assert.equal(
    await endpoint({ files: { [CONFIG]: `containerRuntimeEndpoint: ${OURS}\n` } }),
    `ok: uses ${OURS}`,
  );
  const other = { [CONFIG]: 'containerRuntimeEndpoint: unix:///run/x.sock\n' };
  assert.match(await endpoint({ files: other }), /^warning: the kubelet uses unix:\/\/\/run\/x\.sock/);
  const flag = `--container-runtime-endpoint=${OURS}`;
  for (const [path, text] of [
    [FLAGS, `KUBELET_KUBEADM_ARGS="${flag} --v=2"`],
    ['/etc/default/kubelet', `KUBELET_EXTRA_ARGS=${flag}`],
    ['/etc/sysconfig/kubelet', `KUBELET_EXTRA_ARGS='--v=2 --container-runtime-endpoint ${OURS}'`],
    ['/etc/systemd/system/kubelet.service.d/20-crisp.conf', `[Service]\nEnvironment="KUBELET_ARGS=${flag}"`],
  ] as const)
    assert.equal(await endpoint({ files: { ...other, [path]: text } }), `ok: uses ${OURS}`, path);
  const comment = { ...other, '/etc/default/kubelet': `# KUBELET_EXTRA_ARGS=${flag}\n` };
  assert.match(await endpoint({ files: comment }), /^warning: the kubelet uses unix:\/\/\/run\/x\.sock/);
  const varRun = { [CONFIG]: 'containerRuntimeEndpoint: unix:///var/run/crisp/crisp.sock\n' };
  assert.match(await endpoint({ files: varRun }), /^ok: /);
  assert.match(
    await endpoint({ files: { [CONFIG]: 'kind: KubeletConfiguration\n' } }),
    /^warning: .*names no/,
  );
  assert.match(await endpoint({ files: { [CONFIG]: 'a: [' } }), /^warning: .*config\.yaml cannot be read/);
});

test('a later file goes before an earlier one, and a running kubelet before all', async () => {
  const files = {
    [FLAGS]: 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/x.sock"',
    '/etc/default/kubelet': `KUBELET_EXTRA_ARGS=--container-runtime-endpoint=${OURS}`,
  };
  assert.equal(await endpoint({ files }), `ok: uses ${OURS}`);
  const running = [['/usr/bin/kubelet', '--container-runtime-endpoint', 'unix:///run/y.sock']];
  const [text, remedy] = await result('kubelet', { files, running });
  assert.equal(text, 'warning: the running kubelet (pid 10) uses unix:///run/y.sock');
  assert.equal(remedy, 'restart the kubelet: its files name this endpoint');
  const own = { '/etc/kubelet.yaml': `containerRuntimeEndpoint: ${OURS}\n` };
  const elsewhere = [['/usr/bin/kubelet', '--config=/etc/kubelet.yaml']];
  assert.equal(await endpoint({ files: own, running: elsewhere }), `ok: uses ${OURS}`);
});

test('drop-ins are those that systemd and the kubelet read, in their order', async () => {
  const [usr, etc] = ['/usr/lib/systemd/system/kubelet.service.d', '/etc/systemd/system/kubelet.service.d'];
  const unit = (socket: string) => `[Service]\nEnvironment="A=--container-runtime-endpoint=${socket}"`;
  const other = unit('unix:///run/x.sock');
  for (const files of [
    { [`${etc}/10-kubeadm.conf`]: unit(OURS), [`${etc}/10-kubeadm.conf.bak`]: other },
    { [`${usr}/10-a.conf`]: unit(OURS), [`${etc}/10-a.conf.d`]: other },
    // A file of the same name takes the place of the other; else the name decides, not the directory.
    { [`${usr}/20-a.conf`]: other, [`${etc}/10-b.conf`]: other, [`${etc}/20-a.conf`]: unit(OURS) },
    { [`${usr}/20-a.conf`]: unit(OURS), [`${etc}/10-b.conf`]: other },
  ])
    assert.equal(await endpoint({ files }), `ok: uses ${OURS}`, Object.keys(files).join());
  const running = [['kubelet', '--config', CONFIG, '--config-dir=/etc/k.d']];
  const files = {
    [CONFIG]: 'containerRuntimeEndpoint: unix:///run/x.sock\nfeatureGates: {A: true}\n',
    '/etc/k.d/10-a.conf': 'containerRuntimeEndpoint: unix:///run/y.sock\n',
    '/etc/k.d/20-b.conf': `containerRuntimeEndpoint: ${OURS}\nfeatureGates: {PodAndContainerStatsFromCRI: true}\n`,
    '/etc/k.d/30-c.conf': 'featureGates: {B: true}\n',
    '/etc/k.d/40-d.yaml': 'containerRuntimeEndpoint: unix:///run/z.sock\n',
  };
  assert.equal(await endpoint({ files, running }), `ok: uses ${OURS}`);
  assert.match(await labels({ files, running }), /^ok: .*PodAndContainerStatsFromCRI/);
  const damaged = { ...files, '/etc/k.d/50-e.conf': 'a: [' };
  assert.match(await endpoint({ files: damaged, running }), /50-e\.conf cannot be read/);
});

test('what kubeadm would write at its next upgrade is a warning', async () => {
  const files = {
    [CONFIG]: `containerRuntimeEndpoint: ${OURS}\n`,
    '/var/lib/kubelet/instance-config.yaml': 'containerRuntimeEndpoint: unix:///run/x.sock\n',
  };
  const [text, remedy] = await result('kubelet', { files });
  assert.match(text, /^warning: .*instance-config\.yaml names unix:\/\/\/run\/x\.sock/);
  assert.match(remedy, /instance-config\.yaml/);
  files['/var/lib/kubelet/instance-config.yaml'] = `containerRuntimeEndpoint: ${OURS}\n`;
  assert.equal(await endpoint({ files }), `ok: uses ${OURS}`);
});

test('an untouched kubelet gets no labels of pods; the flag or the socket mends that', async () => {
  const files = { [CONFIG]: `containerRuntimeEndpoint: ${OURS}\n` };
  assert.match(await labels({}), /^ok: no kubelet/);
  const [text, remedy] = await result('kubelet-metrics', { files });
  assert.match(text, /^warning: .*no labels of pods.*\/run\/containerd\/containerd\.sock/);
  assert.match(
    remedy,
    /--containerd=\/run\/crisp\/crisp\.sock.*containerd_socket = "\/run\/containerd\/containerd\.sock"/,
  );
  const extra = (flags: string) => ({
    files: { ...files, '/etc/default/kubelet': `KUBELET_EXTRA_ARGS="${flags}"` },
  });
  assert.match(await labels(extra('--containerd=/run/crisp/crisp.sock')), /^ok: .*\/run\/crisp\/crisp\.sock/);
  assert.match(await labels(extra('--containerd /var/run/crisp/crisp.sock')), /^ok: /);
  assert.match(await labels(extra('--containerd-namespace=k8s.io')), /^warning: /);
  assert.match(await labels(extra('--containerd=/run/other.sock')), /^warning: .*\/run\/other\.sock/);
  const containerdSocket = '/run/containerd/containerd.sock';
  assert.match(await labels({ files, containerdSocket }), /^ok: /);
  assert.match(await labels({ ...extra('--containerd=/run/other.sock'), containerdSocket }), /^warning: /);
  const running = [['kubelet', '--config', CONFIG]];
  const started = { ...extra('--containerd=/run/crisp/crisp.sock'), running };
  assert.match((await result('kubelet-metrics', started))[1], /^restart the kubelet/);
  running[0]?.push('--containerd=/run/crisp/crisp.sock');
  assert.match(await labels({ files, running }), /^ok: /);
});

test('where the kubelet gets stats by CRI no flag is needed', async () => {
  const gate = 'PodAndContainerStatsFromCRI';
  const files = { [CONFIG]: `featureGates:\n  ${gate}: true\n` };
  assert.match(await labels({ files }), /^ok: .*PodAndContainerStatsFromCRI/);
  const running = [['kubelet', `--feature-gates=A=false,${gate}=true`]];
  assert.match(await labels({ files: { [CONFIG]: '' }, running }), /^ok: /);
  assert.match(await labels({ files: { [CONFIG]: `featureGates:\n  ${gate}: false\n` } }), /^warning: /);
});
