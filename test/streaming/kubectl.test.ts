/** kubectl through a front that forwards as the API server does: SPDY by Debian's, WebSocket first by newer ones. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { endsClean, makeDirectory, POD, TestNode, until } from '../harness/pods.ts';
import { startFront } from './api-front.ts';
import { echoIn } from './in-pod.ts';

const node = await TestNode.start('stream-kubectl');
const pod = await node.runPod({}, { network: POD });
const container = await node.run(pod);
const cat = await node.run(pod, {
  command: ['sh', '-c', 'while read line; do echo "got $line"; done'],
  stdin: true,
});
const terminal = await node.run(pod, { command: ['sh'], stdin: true, tty: true });
await echoIn(node, pod, '127.0.0.1', 8080);
const front = await startFront(node.client, {
  web: { pod, container, tty: false },
  cat: { pod, container: cat, tty: false },
  terminal: { pod, container: terminal, tty: true },
});
after(() => front[Symbol.asyncDispose]());

interface Said {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

const directory = makeDirectory(node, 'kubectl');
const config = join(directory, 'config');
writeFileSync(config, '{"apiVersion": "v1", "kind": "Config"}');
const environment = { ...process.env, HOME: directory, KUBECONFIG: config };
const flags = ['--server', front.url, '--cache-dir', join(directory, 'cache')];

function kubectl(
  args: readonly string[],
  input?: string | Buffer,
  more: NodeJS.ProcessEnv = {},
): Promise<Said> {
  const child = spawn('kubectl', [...flags, ...args], { env: { ...environment, ...more } });
  child.stdin.on('error', () => {});
  if (input !== undefined) child.stdin.end(input);
  return said(child);
}

async function said(child: ChildProcess): Promise<Said> {
  let [out, err] = ['', ''];
  child.stdout?.on('data', (chunk) => {
    out += chunk.toString('latin1');
  });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

for (const [way, more] of [
  ['as it likes', {}],
  ['SPDY', { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' }],
] as const) {
  test(`${way}: exec: outputs, and the exit code as kubectl reports it`, async () => {
    const { code, out, err } = await kubectl([
      'exec',
      'web',
      '--',
      'sh',
      '-c',
      'echo out; echo err >&2; exit 7',
    ]);
    assert.equal(out, 'out\n');
    assert.match(err, /^err\n/);
    assert.equal(code, 7);
  });

  test(`${way}: exec -i: a megabyte through cat, and its end`, async () => {
    const bytes = randomBytes(1 << 20);
    const { code, out } = await kubectl(['exec', '-i', 'web', '--', 'cat'], bytes, more);
    assert.ok(Buffer.from(out, 'latin1').equals(bytes));
    assert.equal(code, 0);
  });
}

test('exec -it under a terminal: sizes from the start and as they change, line endings, an exit code', async () => {
  const inside =
    'echo ready; until [ "$(stty size)" = "22 77" ]; do stty size; sleep 0.05; done; stty size; echo bye; exit 4';
  const quoted = `'${inside.replaceAll("'", "'\\''")}'`;
  const outside = `tty; stty cols 101 rows 31; kubectl ${flags.join(' ')} exec -it web -- sh -c ${quoted}; echo "code $?"`;
  const file = join(directory, 'outside');
  writeFileSync(file, outside);
  const child = spawn('script', ['-qec', `sh ${file}`, '/dev/null'], { env: environment });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const closed = new Promise((resolve) => child.once('close', resolve));
  await until('the first size is there', () => out.includes('\r\n31 101\r\n'));
  const [name = ''] = out.split('\r\n');
  spawnSync('stty', ['-F', name, 'cols', '77', 'rows', '22']);
  await closed;
  assert.match(out, /\r\nready\r\n/);
  assert.match(out, /\r\n22 77\r\nbye\r\n/);
  assert.match(out, /code 4\r\n$/);
});

test('cp, which is tar through exec: into the container', async (t) => {
  const { code, err } = await kubectl(
    ['exec', '-i', 'web', '--', '/bin/busybox', 'tar', '-xf', '-', '-C', '/tmp'],
    tarOf('hello'),
  );
  // On a busy machine kubectl may warn of an error stream that it has found closed by its own end.
  t.diagnostic(err);
  assert.equal(code, 0);
  assert.equal((await node.exec(container, ['cat', '/tmp/file'])).out, 'hello');
});

/** One file of a few bytes, as tar has it. */
function tarOf(text: string): Buffer {
  const header = Buffer.alloc(512);
  header.write('file');
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${text.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        0', 148);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, Buffer.alloc(512, text.padEnd(512, '\0')), Buffer.alloc(1024)]);
}

test('attach -i talks to the container until kubectl ends', async () => {
  const child = spawn('kubectl', [...flags, 'attach', '-i', 'cat'], { env: environment });
  child.stdin.write('word\n');
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  await until('the answer', () => out.includes('got word\n'));
  child.kill();
});

test('port-forward: several connections', async () => {
  const child = spawn('kubectl', [...flags, 'port-forward', 'web', ':8080'], { env: environment });
  after(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const port = Number(await until('the port', () => /127\.0\.0\.1:(\d+) -> 8080/.exec(out)?.[1]));
  const answers = Array.from({ length: 10 }, async (_, n) => {
    const socket = connect(port, '127.0.0.1');
    socket.end(`connection ${n}`);
    let text = '';
    for await (const chunk of socket) text += chunk;
    return text;
  });
  assert.deepEqual(
    await Promise.all(answers),
    Array.from({ length: 10 }, (_, n) => `connection ${n}`),
  );
  child.kill();
});

test('which protocols were used', (t) => {
  t.diagnostic([...new Set(front.upgrades)].join('; '));
  assert.ok(front.upgrades.length > 0);
});

endsClean(node);
