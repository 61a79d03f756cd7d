import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { type FinishedCall, parseTraceparent, type Span, spansOf } from './spans.ts';
import { Tracing } from './tracing.ts';

const TRACE = 'a'.repeat(31).concat('1');
const PARENT = 'b'.repeat(16);
const stage = (name: string, started: number, ended: number, failed = false) => ({
  name,
  detail: '',
  started,
  ended,
  failed,
});
const call = (changes: Partial<FinishedCall> = {}): FinishedCall => ({
  name: 'RunPodSandbox',
  id: 'abc',
  started: 0,
  ended: 10,
  code: undefined,
  stages: [],
  traceparent: `00-${TRACE}-${PARENT}-01`,
  ...changes,
});

test('a trace context is parsed as in the W3C standard, and nothing else is accepted', () => {
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${PARENT}-01`), {
    traceId: TRACE,
    spanId: PARENT,
    sampled: true,
  });
  assert.equal(parseTraceparent(`00-${TRACE}-${PARENT}-00`)?.sampled, false);
  assert.equal(
    parseTraceparent(`01-${TRACE}-${PARENT}-01-more`)?.sampled,
    true,
    'a later version may have more fields',
  );
  const wrong = [
    undefined,
    '',
    'nonsense',
    `ff-${TRACE}-${PARENT}-01`,
    `00-${TRACE}-${PARENT}-01-more`,
    `00-${'0'.repeat(32)}-${PARENT}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${PARENT}-01`,
    `00-${TRACE}-${PARENT}`,
  ];
  for (const text of wrong) assert.equal(parseTraceparent(text), undefined, text);
});

test('stages become spans below the enclosing stage; a failure is reported', () => {
  const stages = [
    stage('inner', 2, 3),
    stage('outer', 1, 5, true),
    stage('beside', 1.5, 8),
    stage('later', 9, 10),
  ];
  const spans = spansOf(call({ stages, code: 'NetworkFailed' }), parseTraceparent(call().traceparent));
  const byName = new Map(spans.map((span) => [span.name, span]));
  const parentOf = (name: string) =>
    spans.find(({ spanId }) => spanId === byName.get(name)?.parentSpanId)?.name ??
    byName.get(name)?.parentSpanId;
  assert.equal(parentOf('runtime.v1/RunPodSandbox'), PARENT);
  assert.equal(parentOf('outer'), 'runtime.v1/RunPodSandbox');
  assert.equal(parentOf('beside'), 'runtime.v1/RunPodSandbox');
  assert.ok(['outer', 'beside'].includes(parentOf('inner') ?? ''));
  assert.equal(parentOf('later'), 'runtime.v1/RunPodSandbox');
  assert.ok(spans.every(({ traceId }) => traceId === TRACE));
  assert.equal(new Set(spans.map(({ spanId }) => spanId)).size, spans.length);
  assert.deepEqual(byName.get('outer')?.status, { code: 2 });
  assert.deepEqual(spans[0]?.status, { code: 2, message: 'NetworkFailed' });
  assert.match(spans[0]?.startTimeUnixNano ?? '', /^\d{19}$/);
});

test('without a context a new trace begins', () => {
  const [first, second] = [spansOf(call(), undefined)[0], spansOf(call(), undefined)[0]];
  assert.equal(first?.parentSpanId, undefined);
  assert.notEqual(first?.traceId, second?.traceId);
});

interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly spans: Span[];
  answer: number;
}

async function collector(): Promise<Collector> {
  const spans: Span[] = [];
  const self = { answer: 200 };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (self.answer === 200 && request.url === '/v1/traces')
      spans.push(...JSON.parse(Buffer.concat(chunks).toString()).resourceSpans[0].scopeSpans[0].spans);
    response.writeHead(self.answer).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(self, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

test('calls that the client samples are sent, others are not', async () => {
  await using to = await collector();
  const tracing = new Tracing({ endpoint: to.url, samplesPerMillion: 0, version: '1', warn: () => {} });
  tracing.call(call({ stages: [stage('network', 1, 2)] }));
  tracing.call(call({ traceparent: `00-${TRACE}-${PARENT}-00` }));
  tracing.call(call({ traceparent: undefined }));
  await tracing[Symbol.asyncDispose]();
  assert.deepEqual(
    to.spans.map(({ name }) => name),
    ['runtime.v1/RunPodSandbox', 'network'],
  );
});

test('all calls are sampled where samplesPerMillion is a million', async () => {
  await using to = await collector();
  const tracing = new Tracing({
    endpoint: to.url,
    samplesPerMillion: 1_000_000,
    version: '1',
    warn: () => {},
  });
  for (let n = 0; n < 5; n++) tracing.call(call({ traceparent: undefined }));
  await tracing[Symbol.asyncDispose]();
  assert.equal(to.spans.length, 5);
});

test('a collector that refuses or is absent is logged once, and no call waits', async () => {
  await using to = await collector();
  to.answer = 503;
  for (const endpoint of [to.url, 'http://127.0.0.1:1/']) {
    const logged: object[] = [];
    const warn = (fields: object) => void logged.push(fields);
    const tracing = new Tracing({ endpoint, samplesPerMillion: 0, version: '1', warn });
    for (let n = 0; n < 5000; n++) tracing.call(call());
    await tracing[Symbol.asyncDispose]();
    assert.equal(logged.length, 1);
    assert.ok((logged[0] as { dropped: number }).dropped >= 1024);
  }
});
