/** Much data, and many sessions: all of it arrives, and memory, descriptors and processes stay as they were. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { endsClean, POD, TestNode, until } from '../harness/pods.ts';
import { asInstalled } from './as-installed.ts';
import { echoIn } from './in-pod.ts';
import { openSpdy, openWebSocket, type StreamFlags } from './sessions.ts';
import { type ClientStream, SpdyClient } from './spdy-client.ts';

/** 1024 for a deep run; several times the margin. */
const MIB = Number(process.env['CRISP_TEST_MIB'] ?? 384);
const BYTES = MIB << 20;
const CHUNK = 256 << 10;
const SESSIONS = Number(process.env['CRISP_TEST_SESSIONS'] ?? 400);
/** What a transfer may cost in memory, in kB: buffers of a few streams, and garbage not yet collected; less than half of its bytes. */
const MARGIN = 120_000;

const node = await TestNode.start('stream-load', asInstalled);
const pod = await node.runPod({}, { network: POD });
const id = await node.run(pod);
await echoIn(node, pod, '127.0.0.1', 8080);
const all: StreamFlags = { stdin: true, stdout: true, stderr: true };
const execUrl = async (cmd: string[]): Promise<string> =>
  (await node.client.Exec({ containerId: id, cmd, stdin: true, stdout: true, stderr: true })).url;
const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.daemon.pid}/status`, 'utf8'))?.[1]);
const descriptors = () => readdirSync(`/proc/${node.daemon.pid}/fd`).length;

/** Sends all bytes, compares what comes back with it, and returns the peak memory of the daemon meanwhile. */
async function roundTrip(client: SpdyClient, stream: ClientStream): Promise<number> {
  // Of a length that no chunk is a multiple of: a piece that is lost or doubled is detected.
  const pattern = randomBytes(CHUNK + 17);
  const twice = Buffer.concat([pattern, pattern]);
  let at = 0;
  let peak = 0;
  client.onData = (of, bytes) => {
    if (of !== stream && of.id !== stream.id + 2) return;
    for (let done = 0; done < bytes.length; ) {
      const offset = (at + done) % pattern.length;
      const piece = bytes.subarray(done, done + pattern.length);
      assert.equal(piece.compare(twice, offset, offset + piece.length), 0, `the bytes from ${at + done} on`);
      done += piece.length;
    }
    at += bytes.length;
  };
  for (let sent = 0; sent < BYTES; sent += CHUNK) {
    const offset = sent % pattern.length;
    await stream.write(twice.subarray(offset, offset + CHUNK));
    if (sent % (64 * CHUNK) === 0) peak = Math.max(peak, rss());
  }
  await stream.end();
  await client.until('all is back', () => at >= BYTES, 300_000);
  assert.equal(at, BYTES);
  return peak;
}

test(`${MIB} MiB through exec, from input to output, are the same, in bounded memory`, async () => {
  const start = rss();
  const client = await SpdyClient.open(await execUrl(['cat']), 'v4.channel.k8s.io');
  await client.stream({ streamType: 'error' });
  const stdin = await client.stream({ streamType: 'stdin' });
  await client.stream({ streamType: 'stdout' });
  await client.stream({ streamType: 'stderr' });
  const peak = await roundTrip(client, stdin);
  await client.until('the session ends', () => client.closed);
  assert.ok(peak < start + MARGIN, `${start} kB, at most ${peak} kB`);
});

test(`${MIB} MiB through port-forward are the same, in bounded memory`, async () => {
  const start = rss();
  const { url } = await node.client.PortForward({ podSandboxId: pod, port: [] });
  const client = await SpdyClient.open(url, 'portforward.k8s.io');
  await client.stream({ streamType: 'error', port: '8080', requestID: '0' });
  const data = await client.stream({ streamType: 'data', port: '8080', requestID: '0' });
  const peak = await roundTrip(client, data);
  await client.until('the stream ends', () => data.ended);
  await client.close();
  assert.ok(peak < start + MARGIN, `${start} kB, at most ${peak} kB`);
});

test('a client that does not read is waited for: nothing is buffered without bound', async () => {
  const client = await SpdyClient.open(await execUrl(['cat', '/dev/zero']), 'v4.channel.k8s.io');
  for (const streamType of ['error', 'stdin', 'stdout', 'stderr']) await client.stream({ streamType });
  await client.until('it has begun', () => client.received > 0);
  client.socket.pause();
  const start = rss();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.ok(rss() < start + 30_000, `${start} kB, then ${rss()} kB`);
  await client.close();
});

test(`after ${SESSIONS} sessions, half of whose clients vanish at some point, all resources are as before`, async () => {
  const session = async (open: typeof openSpdy, vanishAfter: number | undefined): Promise<void> => {
    const one = await open(await execUrl(['sh', '-c', 'echo begun; cat; echo over']), all);
    if (vanishAfter !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, vanishAfter));
      one.vanish();
      return;
    }
    await one.write('through');
    await one.endInput();
    assert.equal((await one.ended()).stdout, 'begun\nthroughover\n');
  };
  const run = async (count: number): Promise<void> => {
    const plans = fc.sample(
      fc.record({
        web: fc.boolean(),
        vanishAfter: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined, freq: 1 }),
      }),
      count,
    );
    const next = plans.values();
    const worker = async () => {
      for (const { web, vanishAfter } of next)
        await session(web ? openWebSocket('v5.channel.k8s.io') : openSpdy, vanishAfter);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
  };
  const children = () =>
    readFileSync(`/proc/${node.daemon.pid}/task/${node.daemon.pid}/children`, 'utf8').trim().split(' ')
      .length;
  const { cgroup } = await node.facts(id);
  const settled = async (): Promise<[number, number, number]> => {
    await until('only the container itself is in its cgroup', () => node.processesIn(cgroup).length === 1);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    return [descriptors(), children(), rss()];
  };
  await run(SESSIONS / 10); // modules and compiled code loaded by then stay in memory
  const [files, processes, memory] = await settled();
  await run(SESSIONS);
  await until('no session is left open', () => descriptors() <= files + 2);
  const [, processesAfter, memoryAfter] = await settled();
  assert.equal(processesAfter, processes);
  // Memory is released half a second after the last call; what is left of a session must be less than 60 KiB.
  assert.ok(memoryAfter < memory + 60 * SESSIONS, `${memory} kB, then ${memoryAfter} kB`);
});

endsClean(node);
