/**
 * What cAdvisor asks of containerd, decoded by protobufjs from containerd's own field numbers: at crisp's socket, and at a second one.
 */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { TestNode, until } from '../harness/pods.ts';

const PROTO = `
syntax = "proto3";
message Any { string type_url = 1; bytes value = 2; }
message Timestamp { int64 seconds = 1; int32 nanos = 2; }
message Runtime { string name = 1; Any options = 2; }
message Container {
  string id = 1; map<string, string> labels = 2; string image = 3; Runtime runtime = 4; Any spec = 5;
  string snapshotter = 6; string snapshot_key = 7; Timestamp created_at = 8;
}
message GetContainerRequest { string id = 1; }
message GetContainerResponse { Container container = 1; }
enum Status { UNKNOWN = 0; CREATED = 1; RUNNING = 2; STOPPED = 3; PAUSED = 4; PAUSING = 5; }
message Process {
  string container_id = 1; string id = 2; uint32 pid = 3; Status status = 4; string stdin = 5; string stdout = 6;
  string stderr = 7; bool terminal = 8; uint32 exit_status = 9; Timestamp exited_at = 10;
}
message GetRequest { string container_id = 1; string exec_id = 2; }
message GetResponse { Process process = 1; }
message Empty {}
message VersionResponse { string version = 1; string revision = 2; }
`;
const { root } = protobuf.parse(PROTO, { keepCase: true });
const CALLS = {
  container: ['containers.v1.Containers/Get', 'GetContainerRequest', 'GetContainerResponse'],
  task: ['tasks.v1.Tasks/Get', 'GetRequest', 'GetResponse'],
  version: ['version.v1.Version/Version', 'Empty', 'VersionResponse'],
} as const;

/** The fields that the tests look at; in a reply each message has those of its own. */
interface Reply {
  readonly container: {
    readonly id: string;
    readonly labels: Record<string, string>;
    readonly image: string;
    readonly spec: { readonly value: Buffer };
    readonly created_at: { readonly seconds: number; readonly nanos: number };
  };
  readonly process: {
    readonly id: string;
    readonly pid: number;
    readonly status: string;
    readonly exit_status: number;
    readonly exited_at: { readonly seconds: number };
  };
  readonly version: string;
}

/** As cAdvisor's client does it: with the namespace in the metadata. */
function ask(socket: string, call: keyof typeof CALLS, request: object): Promise<Reply> {
  const [path, requestType, responseType] = CALLS[call];
  const client = new Client(`unix://${socket}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('containerd-namespace', 'k8s.io');
  const [sent, got] = [root.lookupType(requestType), root.lookupType(responseType)];
  return new Promise<Reply>((resolve, reject) => {
    client.makeUnaryRequest(
      `/containerd.services.${path}`,
      (message: object) => Buffer.from(sent.encode(sent.create(message)).finish()),
      (bytes: Buffer) => got.toObject(got.decode(bytes), { longs: Number, enums: String }),
      request,
      metadata,
      (error, reply) => (error ? reject(error) : resolve(reply as unknown as Reply)),
    );
  }).finally(() => client.close());
}

/** The reply to these bytes, as it comes. */
function raw(socket: string, path: string, request: Buffer): Promise<object> {
  const client = new Client(`unix://${socket}`, credentials.createInsecure());
  const as = (bytes: Buffer) => bytes;
  return new Promise<object>((resolve, reject) => {
    client.makeUnaryRequest(path, as, as, request, (error, reply) =>
      error ? reject(error) : resolve(reply ?? {}),
    );
  }).finally(() => client.close());
}

const refused = (call: Promise<object>, code: status, message: RegExp) =>
  assert.rejects(call, (error: ServiceError) => error.code === code && message.test(error.details));

let node: TestNode;
let second: string;
before(async () => {
  node = await TestNode.start('cadvisor', {
    head: 'containerd_socket = "CONTAINERD"'.replace(
      'CONTAINERD',
      join(process.env['CRISP_TEST_DIR'] ?? '', `cd-${process.pid}/containerd.sock`),
    ),
  });
  second = join(process.env['CRISP_TEST_DIR'] ?? '', `cd-${process.pid}/containerd.sock`);
});
after(() => node[Symbol.asyncDispose]());

const labels = {
  'io.kubernetes.pod.name': 'web-0',
  'io.kubernetes.pod.namespace': 'shop',
  'io.kubernetes.pod.uid': 'u-1',
};

test('a container: its labels, image, creation, process and exit', async () => {
  const socket = node.daemon.socket;
  const pod = await node.runPod({ labels });
  const own = { ...labels, 'io.kubernetes.container.name': 'nginx', '': 'odd' };
  const id = await node.create(pod, {
    labels: own,
    envs: [{ key: 'SECRET', value: Buffer.from('hunter2') }],
    command: ['sh', '-c', 'sleep 1000; exit 7'],
  });
  const { container } = await ask(socket, 'container', { id });
  assert.equal(container.id, id);
  assert.deepEqual(container.labels, { ...own, 'io.cri-containerd.kind': 'container' });
  assert.match(container.image, /\/busybox:latest$/);
  const { createdAt } = (await node.client.ContainerStatus({ containerId: id })).status ?? {};
  const { seconds, nanos } = container.created_at;
  assert.equal(String(BigInt(seconds) * 1_000_000_000n + BigInt(nanos)), String(createdAt));
  const spec = JSON.parse(Buffer.from(container.spec.value).toString());
  assert.match(spec.ociVersion, /^1\./);
  assert.ok(spec.process, 'cAdvisor reads process.env without a look whether there is a process');
  assert.doesNotMatch(JSON.stringify(spec), /hunter2/);
  await refused(ask(socket, 'task', { container_id: id }), status.NOT_FOUND, /no process yet/);

  await node.client.StartContainer({ containerId: id });
  const { pid } = await node.facts(id);
  const { process: running } = await ask(socket, 'task', { container_id: id });
  assert.deepEqual([running.id, running.pid, running.status], [id, pid, 'RUNNING']);

  await node.stop(id, 0);
  const { process: ended } = await ask(socket, 'task', { container_id: id });
  assert.deepEqual([ended.status, ended.exit_status], ['STOPPED', 137]);
  assert.ok(ended.exited_at.seconds > 0);
});

test('a sandbox is the one with the network', async () => {
  const pod = await node.runPod({ labels });
  const { container } = await ask(node.daemon.socket, 'container', { id: pod });
  assert.deepEqual(container.labels, { ...labels, 'io.cri-containerd.kind': 'sandbox' });
  assert.notEqual(container.image, '');
  const { process: pause } = await ask(node.daemon.socket, 'task', { container_id: pod });
  assert.equal(pause.status, 'RUNNING');
  assert.match(readFileSync(`/proc/${pause.pid}/comm`, 'utf8'), /pause/);
});

test('a container is known as soon as its cgroup is there, and under the id that the cgroup has in its name', async () => {
  const pod = await node.runPod();
  const id = await node.create(pod);
  const seen = until('its cgroup', () =>
    node.groups().find((group) => /[0-9a-f]{64}/.exec(group.split('/').at(-1) ?? '')?.[0] === id),
  );
  const started = node.client.StartContainer({ containerId: id });
  await seen;
  assert.equal((await ask(node.daemon.socket, 'container', { id })).container.id, id);
  await started;
  // Each of these groups is asked for: it is a container's or a sandbox's, and only one of each.
  const names = new Set(node.groups().map((group) => group.split('/').at(-1) ?? ''));
  const ids = [...names].flatMap((name) => /[0-9a-f]{64}/.exec(name) ?? []);
  assert.ok(ids.includes(id) && ids.includes(pod));
  assert.equal(new Set(ids).size, ids.length, 'two groups of one id');
  for (const one of ids)
    assert.equal((await ask(node.daemon.socket, 'container', { id: one })).container.id, one);
});

test('what is not there, and what is no request', async () => {
  const socket = node.daemon.socket;
  const pod = await node.runPod();
  await refused(ask(socket, 'container', { id: 'f'.repeat(64) }), status.NOT_FOUND, /no such container/);
  await refused(ask(socket, 'container', { id: pod.slice(0, 12) }), status.NOT_FOUND, /no such container/);
  await refused(ask(socket, 'container', {}), status.NOT_FOUND, /no such container/);
  await refused(ask(socket, 'task', { container_id: '../..' }), status.NOT_FOUND, /no such container/);
  const malformed = raw(
    socket,
    '/containerd.services.containers.v1.Containers/Get',
    Buffer.from([0x0a, 0x7f, 0x61]),
  );
  await refused(malformed, status.INVALID_ARGUMENT, /malformed request/);
});

test("a second socket answers cAdvisor, and nothing else; another daemon's is left alone", async () => {
  assert.match((await ask(second, 'version', {})).version, /^crisp /);
  const cri = raw(second, '/runtime.v1.RuntimeService/Version', Buffer.alloc(0));
  await refused(cri, status.UNIMPLEMENTED, /./);

  let other = createServer();
  await node.restart('kill', async () => {
    assert.ok(existsSync(second), 'what a killed daemon leaves');
  });
  assert.match((await ask(second, 'version', {})).version, /^crisp /);
  await node.restart('stop', async () => {
    assert.ok(!existsSync(second));
    other = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => other.listen(second, resolve));
  });
  assert.match((await ask(node.daemon.socket, 'version', {})).version, /^crisp /);
  await until('it is in the log', () =>
    globSync(node.daemon.logFile).some((file) => /not answered there/.test(readFileSync(file, 'utf8'))),
  );
  await new Promise((resolve) => other.close(resolve));
});
