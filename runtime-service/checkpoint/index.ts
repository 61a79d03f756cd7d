/**
 * CheckpointContainer: the processes of a running container, by the OCI runtime and CRIU, with its writable layer and its
 * specification in one archive, in the layout that checkpointctl and CRI-O know. The container runs on.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { tarEnd } from '#core/tar/writer.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { undoContainer } from '../lifecycle/undo.ts';
import { ended } from '../oci-runtime/call-outcome.ts';
import type { OciRuntime } from '../oci-runtime/cli.ts';
import { criuErrors, needCriu } from './criu.ts';
import { layerArchive } from './layer-archive.ts';
import { fileMember, textMember } from './members.ts';

/** Where the client sets no limit. */
const LIMIT_MS = 10 * 60_000;

export interface CheckpointRequest {
  /** Absolute path of the archive. */
  readonly location: string;
  /** 0: ten minutes. */
  readonly timeoutMs: number;
}

/** The checkpoints that run now: one of a container at a time. */
export class Checkpoints {
  readonly #context: Context;
  readonly #running = new Set<ContainerId>();

  constructor(context: Context) {
    this.#context = context;
  }

  /**
   * Throws InvalidArgument for an invalid location, FailedPrecondition for a container that does not run or is being
   * checkpointed, Unimplemented where its OCI runtime or the node has no CRIU, RuntimeFailed with the end of CRIU's log.
   */
  async checkpoint(id: ContainerId, request: CheckpointRequest, op: Operation): Promise<void> {
    const record = this.#context.containers.resolve(id);
    await checkLocation(request.location);
    checkRunning(record);
    const oci = this.#context.handlers.get(record.handler);
    await needCriu(oci, 'checkpoint');
    if (this.#running.has(id)) {
      throw new CrispError('FailedPrecondition', `container ${id} is being checkpointed already`, {
        hint: 'wait for the other checkpoint',
      });
    }
    this.#running.add(id);
    try {
      await this.#dump(record, oci, request, op);
    } finally {
      this.#running.delete(id);
    }
  }

  async #dump(
    { id }: ContainerRecord,
    oci: OciRuntime,
    { location, timeoutMs }: CheckpointRequest,
    op: Operation,
  ): Promise<void> {
    const { containers } = this.#context;
    const directory = join(containers.directory(id), `checkpoint-${randomBytes(4).toString('hex')}`);
    await this.#change(id, (record) => {
      checkRunning(record);
      return { ...record, intents: [...record.intents, { kind: 'checkpoint', path: directory }] };
    });
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const reason = () => criuErrors(join(directory, 'work', 'dump.log'));
      await ended((run) =>
        op.deadline('checkpoint', timeoutMs || LIMIT_MS, (signal) =>
          run(oci.checkpoint(id, directory, signal, reason)),
        ),
      );
      await op.stage('archive', () => this.#write(id, directory, location));
    } finally {
      await this.#forget(id, directory, op.detached('clean-up'));
    }
  }

  async #write(id: ContainerId, directory: string, location: string): Promise<void> {
    const record = this.#context.containers.resolve(id);
    const part = `${location}.part`;
    try {
      // Left by a daemon that died, or by another program: the open of a pipe would block.
      await rm(part, { force: true });
      const file = await open(part, 'wx', 0o600);
      try {
        for await (const piece of this.#archive(record, directory)) await file.write(piece);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(part, location);
    } catch (error) {
      await rm(part, { force: true });
      const full = ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
      if (error instanceof CrispError || !full) throw error;
      throw new CrispError('ResourceExhausted', `checkpoint of ${id}: ${location} does not fit`, {
        cause: error,
        hint: 'free space there, or write the checkpoint elsewhere',
      });
    }
  }

  async *#archive(record: ContainerRecord, directory: string): AsyncGenerator<Buffer> {
    const { options, containers } = this.#context;
    yield textMember('config.dump', JSON.stringify(configDump(record), undefined, 2));
    yield textMember('spec.dump', await readFile(pathsOf(options, record.id).config, 'utf8'));
    const layer = join(directory, 'rootfs-diff.tar');
    const file = await open(layer, 'w', 0o600);
    try {
      const upper = join(containers.directory(record.id), 'upper');
      for await (const piece of layerArchive(upper)) await file.write(piece);
    } finally {
      await file.close();
    }
    const members = [['rootfs-diff.tar', layer], ...(await images(directory))] as const;
    for (const [name, path] of members) {
      await using file = await open(path, 'r');
      yield* fileMember(file, { ...OWNER, name, mtime: Date.now() / 1000 });
    }
    yield tarEnd();
  }

  async #change(id: ContainerId, change: (record: ContainerRecord) => ContainerRecord): Promise<void> {
    const { containers } = this.#context;
    await containers.exclusive(id, () => containers.commit(change(containers.resolve(id))));
  }

  /** The same undo as a removal's or a recovery's; it is done where the container was removed meanwhile. */
  async #forget(id: ContainerId, directory: string, op: Operation): Promise<void> {
    const { containers } = this.#context;
    await containers.exclusive(id, async () => {
      const record = containers.get(id);
      if (!record) return;
      const { left } = await undoContainer(
        this.#context,
        record,
        op,
        (intent) => intent.kind === 'checkpoint' && intent.path === directory,
      );
      await containers.commit({ ...record, intents: left });
    });
  }
}

const OWNER = { mode: 0o600, uid: 0, gid: 0 };

function checkRunning(record: ContainerRecord): void {
  if (record.state === 'running') return;
  throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not running`, {
    hint: 'checkpoint a running container',
  });
}

async function checkLocation(location: string): Promise<void> {
  const refuse = (why: string, cause?: unknown) =>
    new CrispError('InvalidArgument', `checkpoint: location ${JSON.stringify(location)} ${why}`, {
      hint: 'name a file in a directory of this node by its absolute path',
      cause,
    });
  if (
    !isAbsolute(location) ||
    location.endsWith('/') ||
    location.includes('\0') ||
    location.split('/').includes('..')
  )
    throw refuse('is not an absolute path of a file');
  const directory = await stat(dirname(location)).catch((error: unknown) => {
    throw refuse('is not in a directory', error);
  });
  if (!directory.isDirectory()) throw refuse('is not in a directory');
}

/** What CRIU has written, below `checkpoint/` in the archive. */
async function images(directory: string): Promise<(readonly [name: string, path: string])[]> {
  const found = await readdir(join(directory, 'checkpoint'));
  const members = found.map((name) => [`checkpoint/${name}`, join(directory, 'checkpoint', name)] as const);
  const log = join(directory, 'work', 'dump.log');
  const logged = await stat(log).then(
    () => true,
    () => false,
  );
  return logged ? [...members, ['dump.log', log]] : members;
}

const configDump = ({ id, metadata, image, handler, createdAt, sandboxId }: ContainerRecord) => ({
  id,
  name: metadata.name,
  rootfsImage: image.name,
  rootfsImageRef: image.id,
  rootfsImageName: image.userSpecified || image.name,
  runtime: handler,
  createdTime: new Date(Number(createdAt / 1_000_000n)).toISOString(),
  checkpointedTime: new Date().toISOString(),
  podSandboxId: sandboxId,
});
