/** The CRI server on a real socket with the generated client, and fakes of the three services. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { after, before } from 'node:test';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { type CriClient, connectCri, RpcError } from '#api/cri/v1/client.ts';
import {
  type cri,
  imageServiceDefinition,
  type Method,
  type MethodTypes,
  runtimeServiceDefinition,
} from '#api/cri/v1/index.ts';
import { CrispError, type ErrorCode } from '#core/errors.ts';
import { type ContainerId, newContainerId, newSandboxId, type SandboxId } from '#core/ids.ts';
import { type Log, type Operation, silentLog } from '#core/operation.ts';
import type { ImageService } from '#image-service/index.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import type { ContainerRecord, RuntimeService } from '#runtime-service/index.ts';
import { CriServer, type CriServerOptions } from './server.ts';
import type { CriServices } from './services.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-cri-'));
after(() => rmSync(directory, { recursive: true }));

const SANDBOX = newSandboxId();
const CONTAINER = newContainerId();
const notFound = (id: string) => new CrispError('NotFound', `container ${id}: no such container`);
/** What StopContainer waits for; set by a test. */
type Wait = (op: Operation) => Promise<void>;

function services(wait: Wait): CriServices {
  const containers: Pick<
    RuntimeService,
    'onChange' | 'list' | 'find' | 'resolve' | 'stop' | 'remove' | 'exec'
  > = {
    list: () => [],
    onChange: () => () => {},
    find: (id) => (id === CONTAINER ? ({ id: CONTAINER } as ContainerRecord) : undefined),
    resolve(id) {
      if (id === CONTAINER) return { id: CONTAINER } as ContainerRecord;
      throw notFound(id);
    },
    stop: (_id: ContainerId, graceMs: number, op: Operation) => op.stage(`grace ${graceMs}`, () => wait(op)),
    remove: () => {
      throw new TypeError('a bug');
    },
    exec: async (_id, command) => ({
      stdout: Buffer.from(String(command.join('').length)),
      stderr: Buffer.alloc(0),
      exitCode: 0,
    }),
  };
  const pods: Pick<
    PodSandboxes,
    'onChange' | 'list' | 'get' | 'resolve' | 'run' | 'stop' | 'remove' | 'networkStatus'
  > = {
    list: () => [],
    onChange: () => () => {},
    get: () => undefined,
    resolve: (id) => (SANDBOX.startsWith(id) ? SANDBOX : undefined),
    run: async (): Promise<SandboxId> => SANDBOX,
    stop: async () => {},
    remove: async () => {},
    networkStatus: () =>
      ({ ready: false, reason: 'NoNetwork', message: 'no configuration' }) as ReturnType<
        PodSandboxes['networkStatus']
      >,
  };
  const images: Pick<ImageService, 'list' | 'status' | 'remove' | 'pull' | 'fsInfo'> = {
    list: () => [],
    status: () => undefined,
    remove: async () => {},
    pull: async () => {
      throw new CrispError('RegistryUnavailable', 'registry.example does not answer');
    },
    fsInfo: () => ({
      timestamp: 1n,
      mountpoint: '/var/lib/crisp',
      usedBytes: 2n ** 53n + 1n,
      inodesUsed: 1n,
    }),
  };
  return {
    pods: pods as PodSandboxes,
    containers: containers as RuntimeService,
    images: images as ImageService,
    streaming: { url: async ({ kind }) => `http://127.0.0.1:1/${kind}/token` },
    facts: {
      version: '0.1.0',
      cgroupDriver: 'cgroupfs',
      handlers: () => [{ name: 'runc', recursiveReadOnlyMounts: true, userNamespaces: false }],
      troubles: () => [],
      config: {},
      pinnedImages: ['docker.io/pinned/*'],
      nri: () => ({}),
    },
  };
}

interface TestServer {
  readonly server: CriServer;
  readonly client: CriClient;
  readonly socket: string;
  /** Each finished call: its name and its error's code. */
  readonly ended: [string, ErrorCode | undefined][];
  readonly logged: string[];
}

let sockets = 0;
const noWait: Wait = async () => {};

async function open(
  t: { after(act: () => Promise<void>): void },
  wait = noWait,
  more: Partial<CriServerOptions> = {},
): Promise<TestServer> {
  const socket = join(directory, `${++sockets}.sock`);
  const ended: [string, ErrorCode | undefined][] = [];
  const logged: string[] = [];
  const log: Log = {
    ...silentLog,
    warn: (_fields, message) => logged.push(`warn ${message}`),
    error: (_fields, message) => logged.push(`error ${message}`),
    child: () => log,
  };
  const observer = {
    operation: ({ name }: Operation, _s: number, code?: ErrorCode) => void ended.push([name, code]),
    stage() {},
  };
  const server = await CriServer.listen(services(wait), {
    socket,
    mode: 0o660,
    log,
    observer,
    closeMs: 50,
    ...more,
  });
  const client = connectCri(socket);
  t.after(async () => {
    client.close();
    await server.close();
  });
  return { server, client, socket, ended, logged };
}

const rejection = async (call: Promise<unknown>): Promise<RpcError> => {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof RpcError, String(error));
  return error;
};

/** Sends raw bytes, and returns the status of the reply. */
async function raw(
  socket: string,
  path: string,
  bytes: Buffer,
  stream = false,
): Promise<{ code: status; details: string }> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  const same = (value: Buffer) => value;
  try {
    return await new Promise((resolve) => {
      const done = (error: ServiceError | null) =>
        resolve(error ? { code: error.code, details: error.details } : { code: status.OK, details: '' });
      if (!stream) {
        client.makeUnaryRequest(path, same, same, bytes, done);
        return;
      }
      const call = client.makeServerStreamRequest(path, same, same, bytes);
      call.on('data', () => {});
      call.on('end', () => done(null));
      call.on('error', (error) => done(error as ServiceError));
    });
  } finally {
    client.close();
  }
}

const methods = (definition: object) => Object.entries(definition as Record<string, Method<MethodTypes>>);
const all = [...methods(runtimeServiceDefinition), ...methods(imageServiceDefinition)];

let shared: TestServer;
const closing: (() => Promise<void>)[] = [];
before(async () => {
  shared = await open({ after: (act) => void closing.push(act) });
});
after(() => Promise.all(closing.map((act) => act())));

test('the socket has the requested mode', () => {
  const found = statSync(shared.socket);
  assert.ok(found.isSocket());
  assert.equal(found.mode & 0o777, 0o660);
});

test('what a daemon has left that was killed while it bound the socket is removed, and nothing else', async () => {
  const socket = join(directory, 'left.sock');
  const left = join(directory, '.left.s');
  mkdirSync(left);
  const code = `require('node:net').createServer().listen(${JSON.stringify(join(left, 's'))}, () => process.kill(process.pid, 9))`;
  assert.equal(spawnSync(process.execPath, ['-e', code]).signal, 'SIGKILL');
  assert.ok(statSync(join(left, 's')).isSocket());
  const acts: (() => Promise<void>)[] = [];
  await open({ after: (act) => void acts.push(act) }, noWait, { socket });
  assert.deepEqual([existsSync(left), statSync(socket).isSocket()], [false, true]);
  for (const act of acts) await act();

  mkdirSync(join(left, 'other'), { recursive: true });
  await assert.rejects(open({ after: async () => {} }, noWait, { socket }), /left\.sock cannot be bound/);
  assert.ok(existsSync(join(left, 'other')));
  rmSync(left, { recursive: true });
});

test('a path of as many bytes as the kernel takes can be bound', async () => {
  const socket = join(directory, 'x'.repeat(107 - directory.length - 1));
  assert.equal(socket.length, 107);
  const acts: (() => Promise<void>)[] = [];
  await open({ after: (act) => void acts.push(act) }, noWait, { socket });
  assert.ok(statSync(socket).isSocket());
  for (const act of acts) await act();
});

test('while the socket is bound the mask of the process stays, and nothing is left beside it', async () => {
  const umask = () => /^Umask:\s*(\d+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  const before = umask();
  const acts: (() => Promise<void>)[] = [];
  const opening = open({ after: (act) => void acts.push(act) });
  assert.equal(umask(), before);
  const { socket } = await opening;
  assert.deepEqual(
    readdirSync(dirname(socket)).filter((name) => name.startsWith('.')),
    [],
  );
  for (const act of acts) await act();
  assert.ok(!existsSync(socket));
});

test('the calls that clients make first are answered', async () => {
  const { client } = shared;
  const version = await client.Version({});
  assert.deepEqual(
    [version.version, version.runtimeName, version.runtimeVersion, version.runtimeApiVersion],
    ['0.1.0', 'crisp', '0.1.0', 'v1'],
  );
  const { status: state } = await client.Status({});
  assert.deepEqual(
    state?.conditions.map(({ type, status: is }) => [type, is]),
    [
      ['RuntimeReady', true],
      ['NetworkReady', false],
    ],
  );
  assert.equal((await client.RuntimeConfig({})).linux?.cgroupDriver, 1);
  const { imageFilesystems } = await client.ImageFsInfo({});
  assert.equal(imageFilesystems[0]?.usedBytes?.value.toString(), '9007199254740993');
});

test('all 43 RPCs are registered; one that is not implemented has crisp’s message', async () => {
  assert.equal(all.length, 43);
  const refused: string[] = [];
  for (const [name, { path, responseStream }] of all) {
    if (name === 'GetContainerEvents') continue; // it never ends by itself
    const { code, details } = await raw(shared.socket, path, Buffer.alloc(0), responseStream);
    if (code !== status.UNIMPLEMENTED) continue;
    refused.push(name);
    assert.match(details, new RegExp(`^${name} is not implemented: .*; .*CheckpointContainer`));
  }
  assert.deepEqual(refused, ['CheckpointPod', 'RestorePod']);
});

test('malformed bytes are INVALID_ARGUMENT, and reported to the observer', async () => {
  for (const bytes of [Buffer.from([0xff]), Buffer.from([0x0a, 0x7f, 0x01]), Buffer.alloc(64, 0xff)]) {
    for (const name of ['StopContainer', 'ImageStatus']) {
      const path = all.find(([known]) => known === name)?.[1].path ?? '';
      const before = shared.ended.length;
      assert.equal((await raw(shared.socket, path, bytes)).code, status.INVALID_ARGUMENT);
      assert.deepEqual(shared.ended.slice(before), [[name, 'InvalidArgument']]);
    }
  }
});

test('a request without a required field is refused before the services are called', async () => {
  const { client } = shared;
  for (const call of [
    client.RunPodSandbox({}),
    client.CreateContainer({ podSandboxId: SANDBOX }),
    client.PullImage({}),
    client.ImageStatus({ image: {} }),
    client.RemoveImage({}),
    client.ExecSync({ containerId: CONTAINER, timeout: -1 as never }),
  ]) {
    assert.equal((await rejection(call)).status, status.INVALID_ARGUMENT);
  }
});

test('unknown ids: stop and remove succeed, the others are NOT_FOUND', async () => {
  const { client } = shared;
  for (const id of ['', 'f'.repeat(64), 'zz', '../../etc']) {
    await client.StopContainer({ containerId: id });
    await client.RemoveContainer({ containerId: id });
    await client.StopPodSandbox({ podSandboxId: `x${id}` });
    await client.RemovePodSandbox({ podSandboxId: `x${id}` });
    assert.equal((await rejection(client.ContainerStatus({ containerId: id }))).status, status.NOT_FOUND);
    assert.equal((await rejection(client.StartContainer({ containerId: id }))).status, status.NOT_FOUND);
    assert.equal(
      (await rejection(client.PodSandboxStatus({ podSandboxId: `x${id}` }))).status,
      status.NOT_FOUND,
    );
    assert.deepEqual((await client.ListContainers({ filter: { id: `x${id}` } })).containers, []);
  }
  assert.equal((await client.ImageStatus({ image: { image: 'unknown' } })).image, null);
});

test('an empty pod id matches no pod, though it is a prefix of every id', async () => {
  await shared.client.StopPodSandbox({ podSandboxId: '' });
  assert.equal((await rejection(shared.client.PodSandboxStatus({}))).status, status.NOT_FOUND);
});

test('a string that is not well-formed Unicode is an error, and the daemon keeps serving', async () => {
  for (const containerId of ['\ud83d\ude00'.repeat(5000), `x${'\ud83d\ude00'.repeat(5000)}`]) {
    assert.equal((await rejection(shared.client.ContainerStatus({ containerId }))).status, status.NOT_FOUND);
  }
  const halfPair = Buffer.from([0x0a, 0x03, 0xed, 0xa0, 0x80]);
  const path = all.find(([name]) => name === 'ContainerStatus')?.[1].path ?? '';
  assert.equal((await raw(shared.socket, path, halfPair)).code, status.INVALID_ARGUMENT);
  await shared.client.Version({});
});

test('a long message of wide characters fits into the headers', async () => {
  const error = await rejection(shared.client.ContainerStatus({ containerId: '\u4e2d'.repeat(10_000) }));
  assert.equal(error.status, status.NOT_FOUND);
  assert.match(error.message, /^container \u4e2d+$/);
});

test('a bug is INTERNAL and logged as one; an unavailable registry keeps its prefix', async () => {
  const bug = await rejection(shared.client.RemoveContainer({ containerId: CONTAINER }));
  assert.equal(bug.status, status.INTERNAL);
  assert.ok(shared.logged.includes('error internal error'));
  const pull = await rejection(shared.client.PullImage({ image: { image: 'registry.example/x' } }));
  assert.deepEqual([pull.status, pull.code], [status.UNKNOWN, 'RegistryUnavailable']);
});

test('a request of 20 MiB is accepted', async () => {
  const reply = await shared.client.ExecSync({ containerId: CONTAINER, cmd: ['x'.repeat(20 << 20)] });
  assert.equal(Buffer.from(reply.stdout).toString(), String(20 << 20));
});

test('a client that cancels aborts the operation', async (t) => {
  const begun = Promise.withResolvers<Operation>();
  const aborted = Promise.withResolvers<unknown>();
  const { client, server, ended } = await open(t, (op) => {
    begun.resolve(op);
    return new Promise((_, reject) => {
      op.signal.addEventListener('abort', () => {
        aborted.resolve(op.signal.reason);
        reject(op.signal.reason);
      });
    });
  });
  const controller = new AbortController();
  const call = rejection(client.StopContainer({ containerId: CONTAINER }, { signal: controller.signal }));
  const op = await begun.promise;
  assert.deepEqual(server.operations, [op]);
  assert.deepEqual(
    op.running.map(({ name }) => name),
    ['grace 0'],
  );
  controller.abort();
  assert.equal((await call).status, status.CANCELLED);
  const reason = await aborted.promise;
  assert.ok(reason instanceof CrispError && reason.code === 'Cancelled');
  await client.Version({});
  assert.deepEqual(server.operations, []);
  assert.deepEqual(ended[0], ['StopContainer', 'Cancelled']);
});

test('calls that end well though their client has cancelled them hold up none of its others', async (t) => {
  const waiting: (() => void)[] = [];
  const { client, ended } = await open(t, () => new Promise<void>((resolve) => waiting.push(resolve)));
  const controller = new AbortController();
  // More than replies of one client are encoded at a time.
  const calls = Array.from({ length: 20 }, () =>
    rejection(client.StopContainer({ containerId: CONTAINER }, { signal: controller.signal })),
  );
  while (waiting.length < calls.length) await client.Version({});
  controller.abort();
  for (const call of calls) assert.equal((await call).status, status.CANCELLED);
  await client.Version({}); // behind the cancellations on the connection
  for (const end of waiting) end();
  while (ended.filter(([name]) => name === 'StopContainer').length < calls.length)
    await new Promise(setImmediate);
  assert.equal((await client.Version({}, { timeoutMs: 30_000 })).runtimeName, 'crisp');
});

test('a client’s deadline aborts the operation too', async (t) => {
  const aborted = Promise.withResolvers<void>();
  const { client } = await open(t, (op) => {
    op.signal.addEventListener('abort', () => aborted.resolve());
    return aborted.promise;
  });
  const error = await rejection(client.StopContainer({ containerId: CONTAINER }, { timeoutMs: 100 }));
  assert.equal(error.status, status.DEADLINE_EXCEEDED);
  await aborted.promise;
});

test('closing accepts no new call and lets a running one end', async (t) => {
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const wait = async () => {
    begun.resolve();
    await gate.promise;
  };
  const { client, server, socket } = await open(t, wait, { closeMs: 60_000 });
  const running = client.StopContainer({ containerId: CONTAINER });
  await begun.promise;
  const closed = server.close();
  const late = await raw(socket, all[0]?.[1].path ?? '', Buffer.alloc(0));
  assert.equal(late.code, status.UNAVAILABLE);
  gate.resolve();
  await running;
  await closed;
});

test('a call that runs longer than closeMs is cancelled with a reason', async (t) => {
  const begun = Promise.withResolvers<void>();
  const { client, server } = await open(t, (op) => {
    begun.resolve();
    return new Promise((_, reject) => op.signal.addEventListener('abort', () => reject(op.signal.reason)));
  });
  const call = rejection(client.StopContainer({ containerId: CONTAINER }));
  await begun.promise;
  await server.close();
  const error = await call;
  assert.equal(error.status, status.UNAVAILABLE);
  assert.match(error.message, /the daemon is stopping/);
});

test('a call that ignores its signal does not keep the daemon running', async (t) => {
  const begun = Promise.withResolvers<void>();
  const { client, server } = await open(t, () => {
    begun.resolve();
    return new Promise(() => {});
  });
  const call = rejection(client.StopContainer({ containerId: CONTAINER }));
  await begun.promise;
  await server.close();
  await call;
});

test('an idle connection does not keep the daemon running', async (t) => {
  const { client, server } = await open(t, noWait, { closeMs: 60_000 });
  await client.Version({});
  await server.close();
});

test('the error for a socket that cannot be bound names its path', async (t) => {
  await assert.rejects(
    open(t, noWait, { socket: join(directory, 'missing/crisp.sock') }),
    (error) =>
      error instanceof CrispError &&
      error.code === 'Unavailable' &&
      /missing\/crisp\.sock/.test(error.message),
  );
});

test('the image and the runtime service share the socket', async () => {
  const reply: cri.ListImagesResponse = await shared.client.ListImages({});
  assert.deepEqual(reply.images, []);
});
