/** Sessions of exec and port-forward over SPDY, as kubectl uses it: latency and throughput. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { SpdyClient } from '../test/streaming/spdy-client.ts';
import { type Pods, removePod } from './pods.ts';
import type { Side } from './sides.ts';
import type { Samples } from './statistics.ts';

const BYTES = 128 << 20;
const CHUNK = 256 << 10;
const SESSIONS_PER_ROUND = 10;
const LIMIT_MS = 120_000;
const PORT = 8080;

export async function streaming(side: Side, pods: Pods, samples: Samples): Promise<void> {
  const pod = await pods.run(side);
  const { containers } = await side.server.client.ListContainers({ filter: { podSandboxId: pod } });
  const container = containers[0]?.id ?? '';
  await exec(side, container, ['true']);
  for (let n = 0; n < SESSIONS_PER_ROUND; n++) {
    const started = performance.now();
    const bytes = await exec(side, container, ['echo', 'x']);
    if (bytes !== 2)
      throw new CrispError('Internal', `${side.name}: an exec session returned ${bytes} bytes`);
    samples.add('Exec session', side.name, performance.now() - started);
  }
  const started = performance.now();
  const bytes = await exec(side, container, ['head', '-c', String(BYTES), '/dev/zero']);
  if (bytes !== BYTES) throw new CrispError('Internal', `${side.name}: exec returned ${bytes} bytes`);
  samples.add('exec MB/s', side.name, BYTES / 1000 / (performance.now() - started));
  samples.add('port-forward MB/s', side.name, await portForward(side, pod));
  await removePod(side, pod);
}

/** Runs a whole session; resolves to the bytes of output. */
async function exec(side: Side, containerId: string, cmd: readonly string[]): Promise<number> {
  const request = { containerId, cmd: [...cmd], stdin: false, stdout: true, stderr: true, tty: false };
  const { url } = await side.server.client.Exec(request);
  const client = await SpdyClient.open(url, 'v4.channel.k8s.io');
  let [bytes, status] = [0, 0];
  client.onData = (stream, piece) => {
    if (stream.id === 1) status += piece.length;
    if (stream.id === 3) bytes += piece.length;
  };
  for (const streamType of ['error', 'stdout', 'stderr']) await client.stream({ streamType });
  await client.until('the status is received', () => status > 0 || client.closed, LIMIT_MS);
  await client.close();
  return bytes;
}

/** Megabytes per second through an echo server. */
async function portForward(side: Side, podSandboxId: string): Promise<number> {
  const server = await echoIn(side, podSandboxId);
  const { url } = await side.server.client.PortForward({ podSandboxId, port: [PORT] });
  const client = await SpdyClient.open(url, 'portforward.k8s.io');
  try {
    let bytes = 0;
    client.onData = (_stream, piece) => {
      bytes += piece.length;
    };
    const headers = { port: String(PORT), requestID: '0' };
    await client.stream({ streamType: 'error', ...headers });
    const data = await client.stream({ streamType: 'data', ...headers });
    const started = performance.now();
    const chunk = Buffer.alloc(CHUNK);
    for (let sent = 0; sent < BYTES; sent += CHUNK) await data.write(chunk);
    await client.until('all bytes are returned', () => bytes >= BYTES, LIMIT_MS);
    return BYTES / 1000 / (performance.now() - started);
  } finally {
    await client.close();
    server.kill('SIGKILL');
  }
}

/** An echo server in the pod's network. */
async function echoIn(side: Side, podSandboxId: string): Promise<ChildProcess> {
  const { info } = await side.server.client.PodSandboxStatus({ podSandboxId, verbose: true });
  const program = join(import.meta.dirname, '../test/streaming/echo-server.ts');
  const argv = [...networkOf(info['info'] ?? '{}'), process.execPath, program, '127.0.0.1', String(PORT)];
  const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

interface SandboxInfo {
  readonly pid?: number;
  readonly runtimeSpec?: { readonly linux?: { readonly namespaces?: readonly Namespace[] } };
}
interface Namespace {
  readonly type: string;
  readonly path?: string;
}

/**
 * The arguments of nsenter(1) for a pod's network, from the verbose status of the pod: by its process, or by the path of the namespace
 * where it has none, as a pod of CRI-O without an infra container. Throws Internal where there is neither.
 */
export function networkOf(info: string): readonly string[] {
  const { pid, runtimeSpec } = JSON.parse(info) as SandboxInfo;
  if (pid) return ['-t', String(pid), '-n'];
  const path = runtimeSpec?.linux?.namespaces?.find(({ type }) => type === 'network')?.path;
  if (path) return [`--net=${path}`];
  throw new CrispError('Internal', 'the status of a pod names neither a process nor a network namespace');
}
