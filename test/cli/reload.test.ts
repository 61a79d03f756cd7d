/** A daemon that reads its configuration again: what takes effect, what is refused with file and line, what needs a restart. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { DaemonStatus } from '#api/admin/contract.ts';
import { endsClean, NODE, POD, TestNode, until } from '../harness/pods.ts';
import { startFront } from '../image-service/front.ts';
import { freePort } from '../image-service/registry.ts';
import { makeCertificate } from '../streaming/certificates.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const metrics = `127.0.0.1:${await freePort()}`;
const node = await TestNode.start('reload', {
  metrics,
  logLevel: 'info',
  configure: (at) => `[image]\npolicy_file = ${JSON.stringify(join(at, 'policy.json'))}`,
});
const { directory } = node.settings;
const file = join(directory, 'crisp.toml');
const dropIn = join(`${file}.d`, '50-test.toml');
const socket = join(directory, 'state/admin.sock');
const atStart = readFileSync(file, 'utf8');
mkdirSync(`${file}.d`);
writeFileSync(dropIn, '');

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function crisp(...args: readonly string[]): Promise<Result> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (piece) => (out += piece));
  child.stderr.on('data', (piece) => (err += piece));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

/** As the unit's ExecReload=, which does not read a wrong configuration itself. */
const reload = () => crisp('reload', '--admin-socket', socket);
const status = async (): Promise<DaemonStatus> =>
  JSON.parse((await crisp('status', '--admin-socket', socket, '-o', 'json')).out) as DaemonStatus;

/** Reloads with these lines in a drop-in file; what it prints. */
async function reloaded(...lines: readonly string[]): Promise<string> {
  writeFileSync(dropIn, `${lines.join('\n')}\n`);
  const { code, out, err } = await reload();
  assert.deepEqual([code, err], [0, '']);
  return out;
}

/** Reloads with these lines, and is refused; the message. The lines are taken away again. */
async function refused(...lines: readonly string[]): Promise<string> {
  const before = readFileSync(dropIn, 'utf8');
  writeFileSync(dropIn, `${lines.join('\n')}\n`);
  const { code, out, err } = await reload();
  assert.deepEqual([code, out], [1, '']);
  writeFileSync(dropIn, before);
  return err;
}

const logText = (): string => readFileSync(node.daemon.logFile, 'utf8');
const runtimeHandlers = async (): Promise<string[]> =>
  (await node.client.Status({})).runtimeHandlers.map(({ name }) => name);

const get = (address: string, path = '/livez'): Promise<number> =>
  new Promise((resolve, reject) => {
    const asked = request(`http://${address}${path}`, { agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.once('error', reject).end();
  });

test('the level and the form of the log, by SIGHUP', async () => {
  await node.client.Version({});
  assert.doesNotMatch(logText(), /"level":"debug"/);
  writeFileSync(dropIn, '[log]\nlevel = "debug"\nformat = "text"\n');
  process.kill(node.daemon.pid, 'SIGHUP');
  await until('the log says so', () => logText().includes('configuration reloaded'));
  const line = logText()
    .split('\n')
    .find((text) => text.includes('configuration reloaded'));
  assert.doesNotMatch(line ?? '', /^\{/);
  await until('a line of debug', async () => {
    await node.client.ListContainers({});
    return /DEBUG/i.test(logText().split('configuration reloaded')[1] ?? '');
  });
  assert.match(await reloaded(), /^reloaded: .*log\.level \(.*crisp\.toml:\d+\)/m);
});

test('a mirror is used by the next pull, the running one keeps what it began with', async () => {
  await using slow = await startFront(node.registry.url);
  await using mirror = await startFront(node.registry.url);
  const held = Promise.withResolvers<void>();
  slow.rule = (req, _res, forward) => {
    if (!/\/blobs\//.test(req.url ?? '')) return false;
    void held.promise.then(() => forward());
    return true;
  };
  const hosts = (mirrors: readonly string[]) => [
    `[image.registries.${JSON.stringify(node.registry.host)}]`,
    `insecure = true`,
    `mirrors = ${JSON.stringify(mirrors)}`,
  ];
  await reloaded(...hosts([slow.host]));
  await node.client.RemoveImage({ image: { image: node.image } });
  const reference = `${node.registry.host}/busybox`;
  const running = node.client.PullImage({ image: { image: reference } });
  await until('the pull has a blob to wait for', () =>
    slow.seen.some(({ url }) => /\/blobs\//.test(url ?? '')),
  );
  assert.match(await reloaded(...hosts([mirror.host])), /image\.registries\..*\.mirrors/);
  assert.equal(mirror.seen.length, 0);
  held.resolve();
  await running;
  assert.equal(mirror.seen.length, 0, 'the running pull does not ask the new mirror');
  const asked = slow.seen.length;
  await node.client.PullImage({ image: { image: reference } });
  assert.ok(mirror.seen.length > 0, 'the next one does');
  assert.equal(slow.seen.length, asked, 'and not the one before');
  await reloaded();
});

test('pinned images', async () => {
  const pinned = async () => (await node.client.ListImages({})).images.map((image) => image.pinned);
  assert.deepEqual(await pinned(), [false]);
  await reloaded('[image]', `pinned = ["${node.registry.host}/busybox:*"]`);
  assert.deepEqual(await pinned(), [true]);
  await reloaded();
  assert.deepEqual(await pinned(), [false]);
});

test('a handler is added, and removed: its pods live on with it, and new ones are refused', async () => {
  assert.ok(!(await runtimeHandlers()).includes('other'));
  await reloaded('[runtime.handlers.other]', 'path = "runc"');
  assert.ok((await runtimeHandlers()).includes('other'));
  const { podSandboxId } = await node.client.RunPodSandbox({
    config: node.podConfig({}, { network: NODE }),
    runtimeHandler: 'other',
  });
  const old = await node.run(podSandboxId);
  await reloaded();
  assert.ok(!(await runtimeHandlers()).includes('other'));
  assert.equal((await node.exec(old, ['echo', 'on'])).out, 'on\n');
  const young = await node.run(podSandboxId);
  await node.stop(young);
  await node.restart('kill');
  assert.ok(!(await runtimeHandlers()).includes('other'));
  assert.equal((await node.exec(old, ['echo', 'still'])).out, 'still\n');
  await assert.rejects(
    node.client.RunPodSandbox({ config: node.podConfig(), runtimeHandler: 'other' }),
    /runtime handler "other" is not known/,
  );
  await node.stop(old);
  await node.client.RemovePodSandbox({ podSandboxId });
});

test('a program that cannot be executed, and another kind of runtime under a name in use, are refused', async () => {
  const absent = await refused('[runtime.handlers.gone]', 'path = "/nonexistent/runtime"');
  assert.match(absent, /50-test\.toml:1: runtime\.handlers\.gone: .*\/nonexistent\/runtime/);
  assert.match(
    await refused('[runtime]', 'default = "nothing"'),
    /50-test\.toml:2: runtime\.default: nothing is not a handler/,
  );
  await reloaded('[runtime.handlers.mixed]', 'path = "runc"');
  const { podSandboxId } = await node.client.RunPodSandbox({
    config: node.podConfig(),
    runtimeHandler: 'mixed',
  });
  assert.match(
    await refused('[runtime.handlers.mixed]', 'path = "crun"'),
    /50-test\.toml:2: runtime\.handlers\.mixed\.path: there are pods/,
  );
  await node.client.RemovePodSandbox({ podSandboxId });
  assert.match(await reloaded('[runtime.handlers.mixed]', 'path = "crun"'), /runtime\.handlers\.mixed\.path/);
  await reloaded();
});

test('rlimits and sysctls of the next containers and pods', async () => {
  await reloaded(
    '[container.rlimits]',
    'nofile = "777:888"',
    '[container.default_sysctls]',
    '"net.ipv4.ip_unprivileged_port_start" = "77"',
  );
  const pod = await node.runPod({}, { network: POD });
  const command = ['sh', '-c', 'ulimit -Sn; ulimit -Hn; cat /proc/sys/net/ipv4/ip_unprivileged_port_start'];
  assert.equal((await node.output(pod, command)).out, '777\n888\n77');
  await reloaded();
  assert.match((await node.output(pod, command)).out, /^1024\n/);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('the network of the next pod, while a running one keeps its own', async () => {
  const pod = await node.runPod({}, { network: POD });
  const [conf, other] = [join(directory, 'cni/net.d'), join(directory, 'cni/other.d')];
  mkdirSync(other);
  await reloaded('[cni]', `conf_dir = ${JSON.stringify(other)}`);
  await until('the network is missed', async () =>
    (await node.client.Status({})).status?.conditions.some(({ message }) => message.includes('other.d')),
  );
  await assert.rejects(node.runPod({}, { network: POD }), /no CNI configuration in .*other\.d/);
  await node.client.RemovePodSandbox({ podSandboxId: pod }); // DEL of what it has recorded
  const list = readFileSync(join(conf, '10-crisp.conflist'), 'utf8');
  writeFileSync(join(other, '20-crisp.conflist'), list);
  const next = await node.runPod({}, { network: POD });
  await node.client.RemovePodSandbox({ podSandboxId: next });
  await reloaded();
});

test('the metrics move to another address, also to one that the old one is in the way of; a port in use is refused', async () => {
  assert.equal(await get(metrics), 200);
  const moved = `127.0.0.1:${await freePort()}`;
  await reloaded('[metrics]', `address = "${moved}"`);
  assert.equal(await get(moved), 200);
  await assert.rejects(get(metrics), /ECONNREFUSED/);
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const address = taken.address();
  assert.ok(typeof address === 'object' && address);
  const message = await refused(
    '[metrics]',
    `address = "127.0.0.1:${address.port}"`,
    '[image]',
    'pinned = ["*"]',
  );
  taken.close();
  assert.match(message, /50-test\.toml:2: metrics\.address: cannot listen on .*EADDRINUSE/);
  assert.equal(await get(moved), 200);
  assert.equal((await node.client.ListImages({})).images[0]?.pinned, false, 'nothing else has changed');
  const [, port] = moved.split(':');
  await reloaded('[metrics]', `address = "0.0.0.0:${port}"`);
  assert.equal(await get(`127.0.0.2:${port}`), 200);
  assert.match(await refused('[metrics]', `address = "203.0.113.1:${port}"`), /EADDRNOTAVAIL/);
  assert.equal(await get(`127.0.0.2:${port}`), 200, 'it is opened again');
  await reloaded('[metrics]', 'address = ""');
  await assert.rejects(get(moved), /ECONNREFUSED/);
  await reloaded();
  assert.equal(await get(metrics), 200);
});

/** The certificate of a server, and the protocol that was agreed upon. */
const presented = (address: string, maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3') =>
  new Promise<{ subject: string; protocol: string | null }>((resolve, reject) => {
    const [host = '', port] = address.split(':');
    const tls = connectTls({ host, port: Number(port), rejectUnauthorized: false, maxVersion }, () => {
      const { raw } = tls.getPeerCertificate();
      resolve({ subject: new X509Certificate(raw).subject, protocol: tls.getProtocol() });
      tls.destroy();
    });
    tls.once('error', reject);
  });

/** Where sessions are served now. */
async function streamingAddress(container: string): Promise<string> {
  const { url } = await node.client.Exec({ containerId: container, cmd: ['true'], stdout: true });
  assert.match(url, /^https:/);
  return new URL(url).host;
}

test('TLS is switched on; renewed certificates are presented without a reload, broken ones are not', async () => {
  const pod = await node.runPod();
  const container = await node.run(pod);
  const { url } = await node.client.Exec({ containerId: container, cmd: ['true'], stdout: true });
  assert.match(url, /^http:/);
  const [pki, own] = [join(directory, 'pki'), join(directory, 'own')];
  const first = makeCertificate(pki, 'server');
  const lines = (version: string) =>
    ['streaming', 'metrics'].flatMap((section) => [
      `[${section}]`,
      `tls_cert_file = ${JSON.stringify(first.certFile)}`,
      `tls_key_file = ${JSON.stringify(first.keyFile)}`,
      `tls_min_version = "${version}"`,
    ]);
  await reloaded(...lines('1.2'));
  const sessions = await streamingAddress(container);
  for (const address of [metrics, sessions])
    assert.deepEqual(await presented(address, 'TLSv1.2'), { subject: 'CN=server', protocol: 'TLSv1.2' });
  await reloaded(...lines('1.3'));
  for (const address of [metrics, sessions]) await assert.rejects(presented(address, 'TLSv1.2'));

  const renewed = makeCertificate(own, 'renewed');
  writeFileSync(first.certFile, 'garbage');
  await until('the garbage is reported', () => logText().includes('TLS files cannot be used'));
  assert.equal((await presented(metrics)).subject, 'CN=server');
  renameSync(renewed.certFile, first.certFile);
  renameSync(renewed.keyFile, first.keyFile);
  for (const address of [metrics, sessions])
    await until('the renewed one', async () => (await presented(address)).subject === 'CN=renewed');
  assert.equal(await streamingAddress(container), sessions, 'the same listener');
  const wrong = await refused(
    '[metrics]',
    `tls_cert_file = "${own}/none"`,
    `tls_key_file = "${first.keyFile}"`,
  );
  assert.match(wrong, /50-test\.toml:2: metrics\.tls_cert_file: .*none cannot be read.*ENOENT/);
  assert.match(
    await refused('[metrics]', `tls_cert_file = "${first.certFile}"`),
    /50-test\.toml:2: metrics\.tls_cert_file: .*belong together/,
  );
  assert.equal((await presented(metrics)).subject, 'CN=renewed');
  await reloaded();
  assert.equal(await get(metrics), 200);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('SIGHUP during the stop is ignored, and exit codes without a daemon', async () => {
  await node.restart('stop', async () => {
    const { code, err } = await reload();
    assert.equal(code, 1);
    assert.match(err, /does not answer at .*admin\.sock/);
    assert.equal((await crisp('reload', 'now')).code, 2);
    assert.equal((await crisp('reload', '--log-level', 'debug')).code, 2);
    writeFileSync(dropIn, '[log]\nlevel = "loud"\n');
    const wrong = await crisp('reload', '--config', file);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /50-test\.toml:2: log\.level must be one of/);
    writeFileSync(dropIn, '');
  });
  const ended = node.daemon.stop();
  process.kill(node.daemon.pid, 'SIGHUP');
  assert.equal(await ended, 0);
  await node.restart('stop');
  assert.equal(readFileSync(file, 'utf8'), atStart);
});

test('a wrong configuration is refused with file and line, and changes nothing', async () => {
  writeFileSync(join(directory, 'no-action.json'), '{}');
  for (const [lines, words] of [
    [
      ['[image]', 'pinned = ["*"]', 'layres = "auto"'],
      /50-test\.toml:3: unknown option image\.layres \(did you mean/,
    ],
    [['[image]', 'pinned = ["*"]', '[log'], /50-test\.toml:\d: not TOML/],
    [
      ['[container]', 'blockio_config_file = "/none.yaml"'],
      /50-test\.toml:2: container\.blockio_config_file: .*none\.yaml/,
    ],
    [
      ['[runtime.handlers.mixed]', 'path = "runc"', 'base_runtime_spec = "/none.json"'],
      /50-test\.toml:3: runtime\.handlers\.mixed\.base_runtime_spec: .*none\.json/,
    ],
    [
      ['[container]', 'default_capabilities = ["CHOWN", "ALL"]'],
      /50-test\.toml:2: container\.default_capabilities: "ALL"/,
    ],
    [
      ['[runtime.handlers.mixed]', 'path = "runc"', 'default_capabilities = ["ALL"]'],
      /50-test\.toml:3: runtime\.handlers\.mixed\.default_capabilities: "ALL"/,
    ],
    [
      ['[runtime.handlers.mixed.rlimits]', 'nofile = "9:8"'],
      /50-test\.toml:2: runtime\.handlers\.mixed\.rlimits\.nofile: the soft limit/,
    ],
    [
      ['[runtime.handlers.mixed]', 'path = "runc"', '[runtime.handlers.mixed.default_env]', '"A=B" = "c"'],
      /50-test\.toml:4: runtime\.handlers\.mixed\.default_env\.A=B: /,
    ],
    [
      ['[runtime.handlers.mixed]', 'path = "runc"', 'seccomp_profile = "/none.json"'],
      /50-test\.toml:3: runtime\.handlers\.mixed\.seccomp_profile: .*none\.json/,
    ],
    [
      ['[container.rlimits]', 'nofile = "9:8"'],
      /50-test\.toml:2: container\.rlimits\.nofile: the soft limit/,
    ],
    [['[conmon]', 'path = "conmn"'], /50-test\.toml:2: conmon\.path: program conmn is not in \/usr/],
    [
      ['[conmon]', 'path = "/opt/conmon"'],
      /50-test\.toml:2: conmon\.path: program \/opt\/conmon does not exist/,
    ],
    [
      ['[seccomp]', 'default_profile = "/none.json"'],
      /50-test\.toml:2: seccomp\.default_profile: .*none\.json.*ENOENT/,
    ],
    [
      ['[seccomp]', `default_profile = ${JSON.stringify(join(directory, 'no-action.json'))}`],
      /50-test\.toml:2: seccomp\.default_profile: .*has no defaultAction/,
    ],
    [['[cni]', 'template = "/none.json"'], /50-test\.toml:2: cni\.template: \/none\.json cannot be read/],
    [
      ['[cni]', `template = ${JSON.stringify(join(directory, 'no-action.json'))}`],
      /50-test\.toml:2: cni\.template: .*makes no valid CNI configuration/,
    ],
    [
      ['[image.registries."r.example"]', 'ca_file = "/none.pem"'],
      /50-test\.toml:2: image\.registries\.r\.example\.ca_file: \/none\.pem cannot be read/,
    ],
    [
      ['[image]', 'policy_file = "/none.json"'],
      /50-test\.toml:2: image\.policy_file: .*\/none\.json cannot be read/,
    ],
    [['[image.registries."a b"]'], /50-test\.toml:1: image\.registries.*not a host/],
    [['[image.proxy]', 'https = "ftp://x"'], /50-test\.toml:2: image\.proxy\.https: .*ftp/],
    [
      ['[container.default_sysctls]', '"vm.swappiness" = "1"'],
      /50-test\.toml:2: container\.default_sysctls\.vm\.swappiness: /,
    ],
  ] as const) {
    const message = await refused(...lines);
    assert.match(message, words);
    assert.match(message, /^hint: /m);
    assert.equal((await node.client.ListImages({})).images[0]?.pinned, false);
  }
  const { configuration } = await status();
  assert.match(configuration.reloadRefused ?? '', /vm\.swappiness/);
  const text = await crisp('status', '--admin-socket', socket);
  assert.match(text.out, /^Reload refused: +.*50-test\.toml:2/m);
  await reloaded();
  assert.equal((await status()).configuration.reloadRefused, undefined);
});

test('a file that cannot be read, and drop-ins of which the later one counts', async () => {
  renameSync(file, `${file}.away`);
  assert.match((await reload()).err, /crisp\.toml: cannot be read \(ENOENT\)/);
  renameSync(`${file}.away`, file);
  const later = join(`${file}.d`, '60-later.toml');
  writeFileSync(later, '[image]\npinned = ["nothing"]\n');
  await reloaded('[image]', 'pinned = ["*"]');
  assert.equal((await node.client.ListImages({})).images[0]?.pinned, false);
  const overrides =
    /"level":"info".*set more than once.*image\.pinned \(\S*60-later\.toml:2 overrides \S*50-test\.toml:2\)/;
  assert.match(logText(), overrides);
  const before = logText().length;
  await node.restart('stop');
  assert.match(logText().slice(before), overrides, 'at the start, too');
  const shown = await crisp('config', '--config', file);
  assert.match(shown.out, /set by \S*60-later\.toml:2; overrides \S*50-test\.toml:2\)\npinned = /);
  writeFileSync(later, '');
  await reloaded();
});

test('changes that need a restart are named: by the command, in the log and in the status', async () => {
  const text = await reloaded(
    '[image]',
    'layers = "directory"',
    'pinned = ["a"]',
    '[streaming]',
    'address = "127.0.0.1:0"',
  );
  assert.match(text, /^reloaded: image\.pinned \(.*50-test\.toml:3\)$/m);
  assert.match(text, /^restart needed for: image\.layers \(.*50-test\.toml:2\)$/m);
  assert.match(logText(), /restart needed for: image\.layers \([^ ]*50-test\.toml:2\)/);
  const shown = await crisp('status', '--admin-socket', socket);
  assert.match(shown.out, /^Restart needed for: +image\.layers \(.*50-test\.toml:2\)$/m);
  assert.match(await reloaded(), /^reloaded: image\.pinned/);
  assert.deepEqual((await status()).configuration.restartNeeded, []);
});

test('a storm of SIGHUP: the last configuration is in effect', async () => {
  for (let n = 0; n < 50; n++) {
    writeFileSync(dropIn, `[image]\npinned = ["${n === 49 ? '*' : `n${n}`}"]\n`);
    process.kill(node.daemon.pid, 'SIGHUP');
  }
  await until('the last one', async () => (await node.client.ListImages({})).images[0]?.pinned);
  await reloaded();
});

endsClean(node);
