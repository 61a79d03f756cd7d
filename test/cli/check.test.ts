/** The command `crisp check`: a node with faults made for real, and the images on its disk, by a daemon. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { checkImages } from '../../cli/check/images.ts';
import type { NodeDocument } from '../../cli/check/node.ts';
import { buildImage } from '../harness/images.ts';
import { endsClean, TestNode } from '../harness/pods.ts';
import { freePort } from '../image-service/registry.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const METRICS = `127.0.0.1:${await freePort()}`;
const node = await TestNode.start('check', { metrics: METRICS });
const { directory } = node.settings;
const config = join(directory, 'crisp.toml');
const admin = ['--admin-socket', join(directory, 'state/admin.sock')];

interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Not waited for synchronously: the daemon may need this process, which has the registry. */
async function crisp(...words: string[]): Promise<Run> {
  const child = spawn(process.execPath, [MAIN, 'check', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  const run = { out: '', err: '' };
  child.stdout.on('data', (piece) => {
    run.out += piece;
  });
  child.stderr.on('data', (piece) => {
    run.err += piece;
  });
  const [code] = await once(child, 'close');
  return { code: code as number | null, ...run };
}

/** The configuration of another node, with these lines instead. */
function other(name: string, lines: readonly string[]): string {
  const place = join(node.directory, name);
  mkdirSync(join(place, 'net.d'), { recursive: true });
  mkdirSync(join(place, 'state'));
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', 'test-disk', join(place, 'state')]).status, 0);
  after(() => spawnSync('umount', [join(place, 'state')]));
  writeFileSync(
    join(place, 'net.d/10.conflist'),
    JSON.stringify({
      cniVersion: '1.0.0',
      name: 'net',
      plugins: [{ type: 'bridge', ipam: { type: 'host-local' } }],
    }),
  );
  const file = join(place, 'crisp.toml');
  const defaults = [`root = "${place}/root"`, `state = "${place}/state"`];
  writeFileSync(
    file,
    [
      ...defaults.filter((line) => !lines.some((one) => one.startsWith(line.split(' ')[0] ?? ''))),
      ...lines,
    ].join('\n'),
  );
  return file;
}
const cniOf = (name: string): string =>
  `[cni]\nconf_dir = "${join(node.directory, name, 'net.d')}"\nbin_dirs = ["/usr/lib/cni"]`;

async function results(
  file: string,
): Promise<{ run: Run; of: (id: string) => NodeDocument['checks'][number] }> {
  const run = await crisp('-c', file, '--output', 'json');
  const document = JSON.parse(run.out) as NodeDocument;
  return {
    run,
    of: (id) => document.checks.find((one) => one.id === id) ?? assert.fail(`no ${id}`),
  };
}

test('a node without faults: no failure, exit code 0, one line for each check, nothing left behind', async () => {
  const file = other('good', [cniOf('good')]);
  const before = readFileSync('/proc/self/mountinfo', 'utf8');
  const run = await crisp('-c', file);
  assert.deepEqual([run.code, run.err], [0, ''], run.out);
  const lines = run.out.trimEnd().split('\n');
  for (const line of lines) assert.match(line, /^(ok|warning) +[a-z-]+ +\S/);
  for (const id of [
    'kernel',
    'overlayfs',
    'layers',
    'cgroups',
    'oci-runtime',
    'conmon',
    'cni',
    'root',
    'state',
  ])
    assert.ok(
      lines.some((line) => line.split(/ +/)[1] === id),
      id,
    );
  for (const line of lines.filter((one) => one.startsWith('warning'))) assert.match(line, /; remedy: \S/);
  assert.equal(readFileSync('/proc/self/mountinfo', 'utf8'), before);
  const left = readdirSync(join(node.directory, 'good'), { recursive: true }).map(String).sort();
  assert.deepEqual(left, ['crisp.toml', 'net.d', 'net.d/10.conflist', 'state']);
});

test('faults of a node: each is found, with its remedy, and the exit code is 1', async () => {
  const place = join(node.directory, 'bad');
  const file = other('bad', [
    `state = "${place}/state-on-disk"`,
    `socket = "${place}/used.sock"`,
    `admin_socket = "${place}/net.d"`,
    cniOf('bad'),
    `[conmon]\npath = "/usr/bin/no-conmon"`,
    `[pause]\npath = "/usr/lib/no-pause"`,
    `[runtime.handlers.wasm]\npath = "/usr/bin/no-runtime"`,
    `[cgroup]\ndriver = "systemd"`,
    `[nri]\nsocket = "${place}/used.sock"\nplugin_dir = "${place}/net.d/10.conflist"`,
  ]);
  writeFileSync(join(place, 'net.d/05-typo.conflist'), '{"name": "net", "plugins": [}');
  const server = createServer().listen(join(place, 'used.sock'));
  await once(server, 'listening');
  const { run, of } = await results(file);
  server.close();
  assert.equal(run.code, 1, run.err);
  const wanted: Record<string, [string, RegExp, RegExp]> = {
    conmon: ['failure', /no-conmon/, /conmon\.path/],
    pause: ['failure', /no-pause does not exist/, /pause\.path/],
    'oci-runtime': ['failure', /wasm: .*no-runtime/, /runtime\.handlers/],
    cni: ['failure', /05-typo\.conflist:1 is not JSON/, /correct the file/],
    socket: ['failure', /served by another program/, /set socket/],
    'admin-socket': ['failure', /not a socket/, /set admin_socket/],
    nri: [
      'warning',
      new RegExp(`used\\.sock is served by .* \\(pid ${process.pid}\\).*10\\.conflist are not started`),
      /nri\.socket.*nri\.plugin_dir/,
    ],
    'cgroup-driver': ['failure', /systemd/, /cgroupfs/],
    state: ['warning', /wait for its disk/, /tmpfs/],
    'user-namespaces': ['failure', /no-pause/, /./],
  };
  for (const [id, [status, found, remedy]] of Object.entries(wanted)) {
    const result = of(id);
    assert.equal(result.status, status, JSON.stringify(result));
    assert.match(result.found, found);
    assert.match(result.remedy ?? '', remedy);
  }
  assert.equal(of('kernel').status, 'ok', 'others have their answers');
});

test('a running kubelet that uses another runtime, and one with the flags for this one', async () => {
  const file = other('kubelet', [cniOf('kubelet')]);
  const socket = join(node.directory, 'kubelet/state/crisp.sock');
  const found = async (...flags: string[]) => {
    const sleep = ['-e', 'setInterval(() => {}, 1e9); console.log()', '--', '--config=/none', ...flags];
    const kubelet = spawn(process.execPath, sleep, {
      argv0: 'kubelet',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(kubelet.stdout, 'data');
    const { of } = await results(file);
    kubelet.kill();
    await once(kubelet, 'close');
    return [of('kubelet'), of('kubelet-metrics')].map((one) => `${one.status}: ${one.found}; ${one.remedy}`);
  };
  const [endpoint = '', labels = ''] = await found('--container-runtime-endpoint', 'unix:///run/other.sock');
  assert.match(endpoint, /^warning: the running kubelet \(pid \d+\) uses unix:\/\/\/run\/other\.sock; set/);
  assert.match(labels, /^warning: \/metrics\/cadvisor has no labels of pods/);
  assert.ok(labels.includes(`start the kubelet with --containerd=${socket} `), labels);
  for (const one of await found(`--container-runtime-endpoint=unix://${socket}`, `--containerd=${socket}`))
    assert.match(one, /^ok: /);
});

test('with a running daemon the same checks do not disturb it', async () => {
  const { run, of } = await results(config);
  assert.equal(of('socket').found.endsWith(`served by the daemon (pid ${node.daemon.pid})`), true, run.out);
  assert.match(of('nri').found, new RegExp(`served by the daemon \\(pid ${node.daemon.pid}\\); no plugins`));
  assert.equal(of('cni').status, 'ok');
  assert.ok((await node.client.Status({})).status);
});

test('invalid command lines are exit code 2; who is not root is told so', async () => {
  for (const words of [['--repair'], ['--output', 'xml'], ['--imges'], ['extra']]) {
    const run = await crisp(...words);
    assert.equal(run.code, 2, run.err);
    assert.match(run.err, /hint: /);
  }
  const program = `process.setuid(65534); await import(${JSON.stringify(MAIN)});`;
  const { stderr } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `${program.replace('await import', 'const m = await import')} console.error(m.report(await m.main(['check'], {terminal: {out() {}, err() {}, interactive: false}, signal: new AbortController().signal}).catch((e) => e)).join());`,
    ],
    { encoding: 'utf8' },
  );
  assert.match(stderr, /needs root/);
});

/** The largest image of a layer; where layers are directories, of whose files no digest is recorded, the largest blob. */
function checkedFile(): string {
  const files = globSync(join(directory, 'root/images/layers/*/layer.erofs'));
  const blobs = globSync(join(directory, 'root/images/content/blobs/sha256/*'));
  const [largest] = [...(files.length > 0 ? files : blobs)].sort(
    (a, b) => statSync(b).size - statSync(a).size,
  );
  return largest ?? assert.fail('nothing is stored');
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = 255 - (bytes[at] ?? 0);
  writeFileSync(path, bytes);
}

test('images: whole, damaged, repaired while a container runs on them', async () => {
  const whole = await crisp('--images', ...admin);
  assert.deepEqual([whole.code, whole.err], [0, ''], whole.out);
  assert.match(whole.out, /^ok +\d+ layers, \d+ blobs, 1 images, .* compared with their digests\n$/);
  const pod = await node.runPod();
  const container = await node.run(pod);
  flip(checkedFile());
  const damaged = await crisp('--images', '--output', 'json', ...admin);
  assert.equal(damaged.code, 1, damaged.err);
  const document = JSON.parse(damaged.out);
  assert.equal(document.ok, false);
  assert.equal(document.findings.length, 1);
  assert.partialDeepStrictEqual(document.findings[0], { fault: 'digest' });
  const { info } = await node.client.Status({ verbose: true });
  assert.match(info['troubles'] ?? '', /ImageDamaged/);
  const metrics = await (await fetch(`http://${METRICS}/metrics`)).text();
  assert.match(
    metrics,
    new RegExp(`^crisp_image_damage_total\\{object="${document.findings[0].kind}"\\} 1$`, 'm'),
  );
  const repaired = await crisp('--images', '--repair', ...admin);
  assert.equal(repaired.code, 0, repaired.out + repaired.err);
  assert.match(repaired.out, /^damaged .*\nrepaired .*\n.*1 damaged, 1 repaired\n$/);
  const again = await crisp('--images', ...admin);
  assert.equal(again.code, 0, again.out);
  assert.doesNotMatch((await node.client.Status({ verbose: true })).info['troubles'] ?? '', /ImageDamaged/);
  assert.equal((await node.exec(container, ['echo', 'runs'])).out.trim(), 'runs');
  assert.equal((await node.output(pod, ['echo', 'new'])).out, 'new');
});

test('a client that goes ends the check; a daemon that is not there is named', async () => {
  const child = spawn(process.execPath, [MAIN, 'check', '--images', ...admin], { stdio: 'ignore' });
  await once(child, 'spawn');
  child.kill('SIGINT');
  await once(child, 'exit');
  assert.equal((await crisp('--images', ...admin)).code, 0);
  const none = await crisp('--images', '--admin-socket', join(node.directory, 'none.sock'));
  assert.equal(none.code, 1);
  assert.match(none.err, /does not answer at .*none\.sock/);
});

/** The same in this process, which is faster. */
async function imagesCheck(repair: boolean, seen: (text: string) => void = () => {}) {
  let out = '';
  const terminal = {
    out(text: string | Uint8Array) {
      out += text;
      seen(out);
    },
    err() {},
    interactive: false,
  };
  const socket = join(directory, 'state/admin.sock');
  const code = await checkImages({ socket, repair, output: 'text' }, terminal, new AbortController().signal);
  return { code, out };
}

test('a daemon that is killed during a repair: the image is whole or hidden, and the next repair continues', async () => {
  const layers = Array.from({ length: 4 }, (_, n) => ({
    entries: [{ name: './' }, { name: `file-${n}`, content: Buffer.alloc(400_000, n + 1) }],
  }));
  const id = await node.addImage('victim', buildImage({ layers }));
  for (let round = 0; round < 3; round++) {
    for (const path of victims(id)) rmSync(path);
    const wanted = round === 0 ? 'damaged' : 'repaired';
    const begun = Promise.withResolvers<void>();
    const broken = imagesCheck(true, (out) => {
      if (out.split('damaged').length > 4 && out.includes(wanted)) begun.resolve();
    });
    const ended = broken.catch(() => undefined); // or it had just come to its end
    await Promise.race([begun.promise, ended]);
    await node.restart('kill');
    await ended;
    const { images } = await node.client.ListImages({});
    const listed = images.some((image) => image.id === id);
    const next = await imagesCheck(true);
    assert.equal(next.code, 0, next.out);
    const { image } = await node.client.ImageStatus({ image: { image: `${node.registry.host}/victim` } });
    assert.equal(image?.id, id, `with its tag; it was ${listed ? 'listed' : 'hidden'}`);
    const last = await imagesCheck(false);
    assert.equal(last.code, 0, last.out);
  }
  await node.client.RemoveImage({ image: { image: id } });
});

/** A file of each layer of the image. */
function victims(id: string): string[] {
  const record = readFileSync(join(directory, 'root/images/images', id.slice(7), 'record.json'), 'utf8');
  const { layers } = JSON.parse(record) as { layers: string[] };
  return layers.flatMap((key) =>
    globSync([
      join(directory, 'root/images/layers', key, 'layer.erofs'),
      join(directory, 'root/images/layers', key, 'fs/file-*'),
    ]),
  );
}

endsClean(node);
