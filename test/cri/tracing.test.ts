/** A client's trace context becomes spans of the call and its stages at a collector. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import {
  type cri,
  imageServiceDefinition,
  type Method,
  type MethodTypes,
  runtimeServiceDefinition,
} from '#api/cri/v1/index.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';

interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly status: { readonly code?: number };
}
const spans: Span[] = [];
const collector = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  spans.push(...JSON.parse(Buffer.concat(chunks).toString()).resourceSpans[0].scopeSpans[0].spans);
  response.end('{}');
});
await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
after(() => collector.close());
const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;

const node = await TestNode.start('tracing', {
  prepare: (directory) => {
    mkdirSync(join(directory, 'crisp.toml.d'), { recursive: true });
    const toml = `[tracing]\nendpoint = ${JSON.stringify(endpoint)}\n`;
    writeFileSync(join(directory, 'crisp.toml.d/tracing.toml'), toml);
  },
});

const TRACE = 'c'.repeat(32);
const PARENT = 'd'.repeat(16);

/** A call with a trace context. */
async function traced<M extends MethodTypes>(
  method: Method<M>,
  request: M['requestInit'],
  flags: string,
): Promise<M['response'] | undefined> {
  const client = new Client(`unix:${node.daemon.socket}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('traceparent', `00-${TRACE}-${PARENT}-${flags}`);
  const { path, requestSerialize, responseDeserialize } = method;
  try {
    return await new Promise((resolve, reject) => {
      const done = (error: Error | null, reply?: M['response']) => (error ? reject(error) : resolve(reply));
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, done);
    });
  } finally {
    client.close();
  }
}

const runTraced = (config: cri.PodSandboxConfigInit, flags: string) =>
  traced(runtimeServiceDefinition.RunPodSandbox, { config }, flags);

test('a traced call arrives with its stages; one that is not sampled, and one without a context, do not', async () => {
  await runTraced(node.podConfig(), '00');
  await node.runPod();
  await runTraced(node.podConfig(), '01');
  await assert.rejects(runTraced({}, '01'));
  await until(
    'both calls arrive',
    () => spans.filter(({ name }) => name.endsWith('/RunPodSandbox')).length >= 2,
  );
  const roots = spans.filter(({ parentSpanId }) => parentSpanId === PARENT);
  assert.deepEqual(
    roots.map(({ status }) => status.code),
    [undefined, 2],
  );
  assert.ok(spans.every(({ traceId }) => traceId === TRACE));
  // A stage that runs in parallel may be within another's time, and is then its child.
  const stages = spans.filter((span) => !roots.includes(span)).map(({ name }) => name);
  for (const name of ['validate', 'record', 'namespaces', 'cgroup']) assert.ok(stages.includes(name), name);
});

test('the spans of a pull: its stages, each layer fetched while it is unpacked', async () => {
  await pushImage(node.registry.url, 'traced', 'v1', buildImage({ layers: [{ entries: [{ name: './' }] }] }));
  const image = { image: `${node.registry.host}/traced:v1` };
  await traced(imageServiceDefinition.PullImage, { image }, '01');
  const root = await until('it arrives', () => spans.find(({ name }) => name.endsWith('/PullImage')));
  const pathOf = (span: Span): string => {
    const parent = spans.find(({ spanId }) => spanId === span.parentSpanId);
    return parent && span !== root ? `${pathOf(parent)}/${span.name}` : '';
  };
  const within = spans.slice(spans.indexOf(root) + 1).map(pathOf);
  for (const stage of [
    'resolve',
    'verify',
    'config',
    'layers',
    'layers/unpack',
    'layers/unpack/fetch',
    'commit',
  ])
    assert.ok(within.includes(`/pull/${stage}`), `${stage}: ${within}`);
});

endsClean(node);
