/** What people see of pulls: `crisp image pulls`, the bars of `crisp ctl pull`, and the daemon's log. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { RunningPull } from '#api/admin/contract.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { startFront } from '../image-service/front.ts';
import { freePort } from '../image-service/registry.ts';
import { isBlob } from '../image-service/scene.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const METRICS = `127.0.0.1:${await freePort()}`;
const node = await TestNode.start('pulls', { metrics: METRICS });
const front = await startFront(node.registry.url);
after(() => front[Symbol.asyncDispose]());
const admin = ['--admin-socket', join(node.settings.directory, 'state/admin.sock')];
const SIZE = 2_000_000;
const layer = (name: string) => ({
  entries: [{ name: './' }, { name, content: randomBytes(SIZE) }],
  compression: 'none' as const,
});

/** Half of each layer arrives, the rest after `release`. */
function throttle(): { release(): void } {
  const released = Promise.withResolvers<void>();
  const half = async (reply: IncomingMessage, res: ServerResponse): Promise<void> => {
    res.writeHead(reply.statusCode ?? 502, reply.headers);
    let sent = 0;
    let isHalf = Number(reply.headers['content-length']) < SIZE;
    for await (const piece of reply as AsyncIterable<Buffer>) {
      res.write(piece);
      sent += piece.length;
      if (!isHalf && sent >= SIZE / 2) {
        isHalf = true;
        await released.promise;
      }
    }
    res.end();
  };
  front.rule = (req, _res, forward) => {
    if (!isBlob(req.url)) return false;
    forward((reply, res) => void half(reply, res));
    return true;
  };
  return { release: () => released.resolve() };
}

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  out: string;
  err: string;
}
function start(program: string, args: readonly string[]): Run {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const run = { child, ended, out: '', err: '' };
  child.stdout?.on('data', (piece) => {
    run.out += piece;
  });
  child.stderr?.on('data', (piece) => {
    run.err += piece;
  });
  return run;
}
const crisp = (...words: string[]): Run => start(process.execPath, [MAIN, ...words]);

async function pulls(): Promise<readonly RunningPull[]> {
  const run = crisp('image', 'pulls', '--output', 'json', ...admin);
  assert.equal(await run.ended, 0, run.err);
  return JSON.parse(run.out) as RunningPull[];
}
const metrics = async (): Promise<string> => (await fetch(`http://${METRICS}/metrics`)).text();
const allHalf = (list: readonly RunningPull[]): boolean =>
  list.length > 0 &&
  list.every(({ layers }) => layers.length > 0 && layers.every(({ done }) => done >= SIZE / 2));

test('crisp image pulls: layers in transfer, also those that another pull has begun, and the callers', async () => {
  const shared = layer('shared');
  for (const tag of ['one', 'two'])
    await pushImage(node.registry.url, 'app', tag, buildImage({ layers: [shared, layer(tag)] }));
  const { release } = throttle();
  const names = ['one', 'two', 'two'].map((tag) => `${front.host}/app:${tag}`);
  const ended = Promise.all(names.map((image) => node.client.PullImage({ image: { image } })));
  const list = await until('half of each layer is there', async () => {
    const now = await pulls();
    return now.length === 2 && allHalf(now) ? now : undefined;
  });
  const [one, two] = list.toSorted((a, b) => a.reference.localeCompare(b.reference));
  assert.partialDeepStrictEqual(one, {
    reference: names[0],
    stage: 'fetch',
    callers: 1,
    endpoint: front.url,
  });
  assert.partialDeepStrictEqual(two, { reference: names[1], stage: 'fetch', callers: 2 });
  assert.match(await metrics(), /^crisp_pulls_in_progress 2$/m);
  assert.deepEqual(one?.layers[0], two?.layers[0]);
  assert.ok(one?.layers.every(({ state, done, total }) => state === 'fetching' && done < total));
  const table = crisp('image', 'pulls', ...admin);
  assert.equal(await table.ended, 0);
  assert.match(table.out, /^IMAGE +STAGE +FETCHED/);
  assert.match(
    table.out,
    new RegExp(`app:two +fetch +\\S+/4MB \\d+% .*${front.url}\n {2}[0-9a-f]{12} +fetching`),
  );
  release();
  await ended;
  assert.deepEqual(await pulls(), []);
  assert.equal(front.seen.filter(({ url }) => isBlob(url)).length, 5, 'two configs, three layers');
});

test('crisp image pulls --watch: one document for each change, until the interrupt', async () => {
  await pushImage(node.registry.url, 'watched', 'v1', buildImage({ layers: [layer('watched')] }));
  const { release } = throttle();
  const watching = crisp('image', 'pulls', '--watch', '-o', 'json', ...admin);
  await until('it has begun', () => watching.out.startsWith('[]\n'));
  const pulled = node.client.PullImage({ image: { image: `${front.host}/watched:v1` } });
  const last = () => JSON.parse(watching.out.trimEnd().split('\n').at(-1) ?? '[]') as RunningPull[];
  await until('the pull is seen', () => watching.out.endsWith('\n') && allHalf(last()));
  release();
  await pulled;
  await until('its end is seen', () => watching.out.endsWith('\n[]\n'));
  watching.child.kill('SIGINT');
  assert.deepEqual([await watching.ended, watching.err], [0, '']);
});

test('crisp ctl pull: bars on a terminal, none in a pipe', async () => {
  const image = buildImage({ layers: [layer('bars'), layer('more')] });
  await pushImage(node.registry.url, 'bars', 'v1', image);
  const words = ['ctl', '-r', node.daemon.socket, 'pull', `${front.host}/bars:v1`];
  const { release } = throttle();
  const command = [process.execPath, MAIN, ...words].join(' ');
  const terminal = start('script', ['-qefc', `stty rows 24 cols 100; ${command}`, '/dev/null']);
  const half =
    /\[=+> +\] 2\S*MB\/4MB .*0\/2 layers {2}fetch {2}127.*\r\n.*\] fetching +1\S*MB\/2MB\r\n.*\] fetching +1\S*MB\/2MB/;
  await until('the half of both layers is drawn', () => half.test(terminal.out));
  const piped = crisp(...words);
  await until('the second caller has joined', async () => (await pulls())[0]?.callers === 2);
  release();
  assert.equal(await piped.ended, 0);
  assert.deepEqual([piped.out, piped.err], [`Image is up to date for ${image.config.digest}\n`, '']);
  assert.equal(await terminal.ended, 0);
  assert.ok(
    terminal.out.endsWith(`\u001b[JImage is up to date for ${image.config.digest}\r\n`),
    'it is erased',
  );
});

test('metrics: bytes by registry, of which only configured ones are named; layers; outcomes; no poll in the log', async () => {
  await assert.rejects(node.client.PullImage({ image: { image: `${front.host}/none:v1` } }));
  const text = await metrics();
  const lines = text.split('\n');
  const value = (name: string) =>
    Number(
      lines
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')
        .at(-1),
    );
  assert.ok(value('crisp_pull_bytes_total{registry="other",endpoint="registry"}') > 6 * SIZE);
  assert.ok(value(`crisp_pull_bytes_total{registry="${node.registry.host}",endpoint="registry"}`) > 0);
  assert.equal(value('crisp_pull_layers_total{source="fetched"}'), 7, "the node's own image has one");
  assert.equal(value('crisp_pull_layers_total{source="shared"}'), 1);
  assert.equal(value('crisp_pull_seconds_count{outcome="ok",endpoint="registry"}'), 5);
  assert.equal(value('crisp_pull_seconds_count{outcome="NotFound",endpoint="none"}'), 1);
  assert.equal(value('crisp_unpack_seconds_count'), 7);
  assert.match(text, /^crisp_pulls_in_progress 0$/m);
  const log = readFileSync(node.daemon.logFile, 'utf8');
  assert.equal(log.match(/"level":"info".*"image pulled"/g)?.length, 5);
  assert.doesNotMatch(log, /"level":"info".*ListPulls/);
});

endsClean(node);
