/** `crisp ctl exec -it`, `attach` and `port-forward`, as processes of their own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { endsClean, makeDirectory, POD, TestNode, until } from '../harness/pods.ts';
import { echoIn, serveIn } from './in-pod.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const node = await TestNode.start('stream-ctl');
const pod = await node.runPod({}, { network: POD });
const id = await node.run(pod);
await echoIn(node, pod, '127.0.0.1', 8080);
const argv = [process.execPath, MAIN, 'ctl', '-r', node.daemon.socket];

const ctl = (...args: string[]): ChildProcess => spawn(argv[0] as string, [...argv.slice(1), ...args]);

function saying(child: ChildProcess): {
  out: () => Buffer;
  err: () => string;
  ended: Promise<number | null>;
} {
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { out: () => Buffer.concat(out), err: () => Buffer.concat(err).toString(), ended };
}

test('exec: outputs apart, the exit code, what cannot be executed', async () => {
  const one = saying(ctl('exec', id, 'sh', '-c', 'echo out; echo err >&2; exit 3'));
  assert.equal(await one.ended, 3);
  assert.deepEqual([one.out().toString(), one.err()], ['out\n', 'err\n']);
  const none = saying(ctl('exec', id, '/no/such/program'));
  assert.notEqual(await none.ended, 0);
  assert.match(none.err(), /no such file or directory/);
});

test('exec -i: three megabytes through cat, and the end of the input', async () => {
  const child = ctl('exec', '-i', id, 'cat');
  const output = saying(child);
  const bytes = randomBytes(3 << 20);
  child.stdin?.end(bytes);
  assert.equal(await output.ended, 0, output.err());
  assert.ok(output.out().equals(bytes));
});

test('exec -it under a terminal: its size, as it changes, and the terminal as it was afterwards', async () => {
  const directory = makeDirectory(node, 'ctl');
  const file = join(directory, 'outside');
  const inside = 'until [ "$(stty size)" = "22 77" ]; do stty size; sleep 0.05; done; stty size; exit 4';
  const words = [...argv, 'exec', '-it', id, 'sh', '-c', `'${inside.replaceAll("'", "'\\''")}'`].join(' ');
  writeFileSync(
    file,
    `tty; stty cols 101 rows 31; stty -a | md5sum; ${words}; echo "code $?"; stty cols 101 rows 31; stty -a | md5sum`,
  );
  const child = spawn('script', ['-qec', `sh ${file}`, '/dev/null']);
  const output = saying(child);
  const text = () => output.out().toString();
  await until('the first size is there', () => text().includes('\r\n31 101\r\n'));
  spawnSync('stty', ['-F', text().split('\r\n')[0] ?? '', 'cols', '77', 'rows', '22']);
  await output.ended;
  const lines = text().split('\r\n');
  assert.deepEqual(lines.slice(-4), ['22 77', 'code 4', lines[1], '']);
});

test('attach -i: input gets its reply, and the end of the container ends the session', async () => {
  const shell = await node.run(pod, { command: ['sh'], stdin: true, stdinOnce: true });
  const child = ctl('attach', '-i', shell);
  const output = saying(child);
  child.stdin?.write('echo hello\n');
  await until('the answer', () => output.out().toString() === 'hello\n');
  child.stdin?.end();
  assert.equal(await output.ended, 0, output.err());
  await node.remove(shell);
});

test('port-forward: several connections, a closed port, an interrupt', async () => {
  const child = ctl('port-forward', pod, ':8080', ':9');
  after(() => child.kill('SIGKILL'));
  const output = saying(child);
  const port = (remote: number) =>
    new RegExp(`127\\.0\\.0\\.1:(\\d+) -> ${remote}\\n`).exec(output.out().toString())?.[1];
  const open = Number(await until('the port', () => port(8080)));
  const answers = Array.from({ length: 10 }, async (_, n) => {
    const socket = connect(open, '127.0.0.1');
    socket.write(`connection ${n}`);
    let text = '';
    for await (const chunk of socket) {
      text += chunk;
      if (text === `connection ${n}`) break;
    }
    return text;
  });
  assert.deepEqual(
    await Promise.all(answers),
    Array.from({ length: 10 }, (_, n) => `connection ${n}`),
  );
  connect(Number(await until('the other port', () => port(9))), '127.0.0.1').on('error', () => {});
  await until('the refusal', () => /error forwarding port 9 .*ECONNREFUSED/.test(output.err()));
  child.kill('SIGINT');
  await output.ended;
});

test('port-forward: the end of what a client sends reaches the pod, whose reply still arrives', async () => {
  const answers = `require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
    let size = 0;
    socket.on('data', (bytes) => { size += bytes.length; }).on('end', () => socket.end('all of ' + size));
  }).listen(8090, '127.0.0.1', () => console.log('ready'))`;
  await serveIn(node, pod, ['-e', answers]);
  const child = ctl('port-forward', pod, ':8090');
  after(() => child.kill('SIGKILL'));
  const output = saying(child);
  const port = await until('the port', () => /:(\d+) -> 8090\n/.exec(output.out().toString())?.[1]);
  const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
  socket.end(Buffer.alloc(3_000_000));
  let text = '';
  for await (const chunk of socket) text += chunk;
  assert.equal(text, 'all of 3000000', output.err());
  child.kill('SIGINT');
  await output.ended;
});

endsClean(node);
