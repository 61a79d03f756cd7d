/** The client against a real gRPC server on a unix socket. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { type CriClient, connectCri, RpcError } from './client.ts';
import { type cri, imageServiceDefinition, runtimeServiceDefinition } from './index.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-client-'));
const socket = join(directory, 'cri.sock');
const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
let client: CriClient;
let cancelled: (() => void) | undefined;

type Unary<Q, R> = (call: ServerUnaryCall<Q, R>, reply: sendUnaryData<R>) => void;
const version: Unary<cri.VersionRequest, cri.VersionResponseInit> = (call, reply) =>
  reply(null, { version: '0.1.0', runtimeName: call.getHost() });
const failing: Unary<cri.ContainerStatusRequest, cri.ContainerStatusResponseInit> = (call, reply) =>
  reply({
    code: Number(call.request.containerId),
    details: call.request.verbose ? 'RegistryUnavailable: x' : 'the reason',
  });
const hanging: Unary<cri.StopContainerRequest, cri.StopContainerResponseInit> = (call) => {
  call.on('cancelled', () => cancelled?.());
};
const execSync: Unary<cri.ExecSyncRequest, cri.ExecSyncResponseInit> = (call, reply) =>
  reply(null, {
    stdout: Buffer.alloc(Number(call.request.cmd[0])),
    exitCode: call.request.cmd[1]?.length ?? 0,
  });
const events = (call: ServerWritableStream<cri.GetEventsRequest, cri.ContainerEventResponseInit>) => {
  for (const containerId of ['a', 'b', 'c']) call.write({ containerId });
  call.on('cancelled', () => cancelled?.());
};

before(async () => {
  server.addService(runtimeServiceDefinition, {
    Version: version,
    ContainerStatus: failing,
    StopContainer: hanging,
    ExecSync: execSync,
    GetContainerEvents: events,
  });
  server.addService(imageServiceDefinition, {});
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  client = connectCri(`unix://${socket}`);
});

after(() => {
  client.close();
  server.forceShutdown();
  rmSync(directory, { recursive: true });
});

const rejection = async (call: Promise<unknown>): Promise<RpcError> => {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof RpcError, String(error));
  return error;
};

test('a call is answered, and the authority is localhost', async () => {
  const reply = await client.Version({});
  assert.equal(reply.version, '0.1.0');
  assert.equal(reply.runtimeName, 'localhost');
});

test('statuses become codes of the error table; the message is kept', async () => {
  const call = (code: status, verbose = false) =>
    rejection(client.ContainerStatus({ containerId: String(code), verbose }));
  const missing = await call(status.NOT_FOUND);
  assert.deepEqual(
    [missing.code, missing.message, missing.status],
    ['NotFound', 'the reason', status.NOT_FOUND],
  );
  assert.equal((await call(status.INTERNAL)).code, 'Internal');
  assert.equal((await call(status.UNKNOWN)).code, 'Internal');
  assert.equal((await call(status.UNKNOWN, true)).code, 'RegistryUnavailable');
  assert.equal((await rejection(client.ListImages({}))).code, 'Unimplemented');
});

test('a call can be cancelled, and the server is notified', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  cancelled = resolve;
  const controller = new AbortController();
  const call = rejection(client.StopContainer({ containerId: 'x' }, { signal: controller.signal }));
  await client.Version({});
  controller.abort();
  assert.equal((await call).code, 'Cancelled');
  await promise;
  const early = await rejection(client.Version({}, { signal: AbortSignal.abort() }));
  assert.equal(early.code, 'Cancelled');
});

test('a call ends at its deadline', async () => {
  assert.equal(
    (await rejection(client.StopContainer({ containerId: 'x' }, { timeoutMs: 50 }))).code,
    'DeadlineExceeded',
  );
});

test('large requests pass, replies above the limit are refused', async () => {
  const reply = await client.ExecSync({ cmd: ['1', 'x'.repeat(20 << 20)] });
  assert.equal(reply.exitCode, 20 << 20);
  assert.equal((await client.ExecSync({ cmd: [String((1 << 24) - 100)] })).stdout.length, (1 << 24) - 100);
  assert.equal((await rejection(client.ExecSync({ cmd: [String(1 << 24)] }))).code, 'ResourceExhausted');
});

test('a stream is iterated; leaving it cancels it', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  cancelled = resolve;
  const ids: string[] = [];
  for await (const event of client.GetContainerEvents({})) {
    ids.push(event.containerId);
    if (ids.length === 3) break;
  }
  assert.deepEqual(ids, ['a', 'b', 'c']);
  await promise;
});

test('a stream that is not served throws', async () => {
  await assert.rejects(
    async () => {
      for await (const _ of client.StreamContainers({})) assert.fail();
    },
    (error) => error instanceof RpcError && error.code === 'Unimplemented',
  );
});

test('a missing socket is an error that names it', async () => {
  using client = connectCri(join(directory, 'missing.sock'));
  const error = await rejection(client.Version({}));
  assert.equal(error.code, 'Unavailable');
  assert.match(error.message, /missing\.sock/);
});
