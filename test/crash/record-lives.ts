/**
 * The lives of crisp's records, each carried out by the store that has it in the product: what is requested when, and
 * what a client may rely on from when on. After a power cut anywhere in it the next daemon must find one of the
 * versions that are permitted there.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageId, SandboxId } from '#core/ids.ts';
import { silentLog } from '#core/operation.ts';
import { RecordStore, type Versioned } from '#core/record-store.ts';
import { VolatileCopies } from '#core/volatile-copies.ts';
import type { ImageRecord } from '#image-service/image/image.ts';
import { ImageStore } from '#image-service/store/images.ts';
import { LayerStore } from '#image-service/store/layer-store.ts';
import { Staging } from '#image-service/store/staging.ts';
import { files as realFiles } from '#linux/fs/files.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { defaultLinux } from '#pod-sandbox/config.ts';
import { RECORD_VERSION, type SandboxRecord } from '#pod-sandbox/sandbox.ts';
import { Sandboxes } from '#pod-sandbox/sandboxes.ts';
import type { ContainerRecord } from '#runtime-service/container.ts';
import { Containers } from '#runtime-service/containers.ts';
import { describeImage } from '../image-service/erofs-store.ts';

export const ABSENT = 'absent';
const ID = 'ab'.repeat(32);
const DATA = 'data of a layer\n'.repeat(500);

/** Which versions a power cut may leave now. */
export class Permitted {
  #versions: string[] = [ABSENT];
  readonly #onChange: () => Promise<void>;

  constructor(onChange: () => Promise<void>) {
    this.#onChange = onChange;
  }

  get now(): readonly string[] {
    return [...this.#versions];
  }

  /** It may be found from now on. */
  async ask(version: string): Promise<void> {
    this.#versions.push(version);
    await this.#onChange();
  }

  /** Nothing that was before it may be found any more. */
  async lasts(version: string): Promise<void> {
    this.#versions = this.#versions.slice(this.#versions.lastIndexOf(version));
    await this.#onChange();
  }
}

export interface Ground {
  readonly files: Files;
  /** On the disk whose power is cut; there before the life. */
  readonly root: string;
  /** On a tmpfs: gone with the power. */
  readonly state: string;
  readonly permitted: Permitted;
}

export interface Life {
  readonly name: string;
  readonly live: (ground: Ground) => Promise<void>;
  /** The version that the next daemon finds. */
  readonly look: (root: string, state: string) => Promise<string>;
}

const copies = (state: string, boot: string): VolatileCopies =>
  new VolatileCopies(mkdtempSync(`${state}/`), boot);

/** What the next daemon's store reads; anything but a record or none at all is reported as it is. */
async function read<R extends Versioned>(
  directory: string,
  state: string,
  versionOf: (record: R) => string,
  format = 1,
): Promise<string> {
  const volatile = copies(state, 'boot-2');
  const store = new RecordStore<R>({ directory, version: format, files: realFiles, volatile });
  const { records, broken } = await store.load();
  const unreadable = broken.filter(({ isMissing }) => !isMissing);
  if (unreadable.length > 0) return `UNREADABLE: ${unreadable.map(({ reason }) => reason)}`;
  return [...records.values()].map(versionOf).join(' ') || ABSENT;
}

const sandbox: Life = {
  name: 'sandbox',
  async live({ files, root, state, permitted }) {
    const sandboxes = new Sandboxes(root, files, silentLog, copies(state, 'boot-1'));
    const at = (hostname: string): SandboxRecord => ({ ...sandboxRecord, hostname });
    const end = async (version: string) => {
      await permitted.ask(version);
      await sandboxes.commitNotReady(at(version));
      await sandboxes.close(); // what is late is written
    };
    await sandboxes.load();
    await permitted.ask('planned');
    await sandboxes.create(at('planned'));
    await sandboxes.persist(ID as SandboxId, { durable: true });
    await permitted.lasts('planned');
    await permitted.ask('placed');
    await sandboxes.commit(at('placed'), { durable: false });
    await permitted.ask('ready');
    await sandboxes.commit(at('ready'), { durable: true });
    await permitted.lasts('ready');
    await end('stopped');
    await end('undone');
    await permitted.ask(ABSENT);
    await sandboxes.remove(ID as SandboxId);
  },
  look: (root, state) =>
    read<SandboxRecord>(join(root, 'sandboxes'), state, ({ hostname }) => hostname, RECORD_VERSION),
};

const container: Life = {
  name: 'container',
  async live({ files, root, state, permitted }) {
    const directory = join(root, 'containers');
    const containers = new Containers(directory, files, silentLog, copies(state, 'boot-1'));
    const at = (logPath: string) => ({ ...containerRecord, logPath });
    const update = async (version: string) => {
      await permitted.ask(version);
      await containers.commit(at(version));
    };
    await containers.load();
    await permitted.ask('creating');
    await containers.create(at('creating'));
    await files.makeDirectory(join(directory, ID, 'upper'));
    await update('created');
    await containers.close();
    await update('running');
    await containers.close();
    await permitted.ask('exited');
    await containers.commitEnd(at('exited'));
    await permitted.lasts('exited');
    await update('freed');
    await containers.close();
    await permitted.ask(ABSENT);
    await containers.remove(containerRecord);
  },
  look: (root, state) => read<ContainerRecord>(join(root, 'containers'), state, ({ logPath }) => logPath),
};

const imageStore = (root: string, files: Files) =>
  new ImageStore(join(root, 'images'), join(root, 'retired'), files);

const image: Life = {
  name: 'image',
  async live({ files, root, permitted }) {
    const images = imageStore(root, files);
    await images.load(() => true);
    await permitted.ask('a:1');
    await images.put(imageRecord('a:1'));
    await permitted.lasts('a:1');
    await permitted.ask('a:1,a:2');
    await images.put(imageRecord('a:2'));
    await permitted.lasts('a:1,a:2');
    await permitted.ask(ABSENT);
    const id = await images.remove('a:1');
    if (id) await images.purge(id, () => true);
  },
  look: (root, state) =>
    read<ImageRecord>(join(root, 'images'), state, ({ tags }) => tags.map(({ name }) => name).join()),
};

/** An image that is listed has its layer whole; also where the layer was lost and is made again under its record. */
const layer: Life = {
  name: 'layer',
  async live({ files, root, permitted }) {
    const images = imageStore(root, files);
    const staging = new Staging(join(root, 'staging'), files, () => {});
    const layers = new LayerStore(join(root, 'layers'), staging, files, (name) => images.isNamed(name));
    await staging.open();
    await layers.load();
    await images.load(() => true);
    const commit = async () => {
      await using staged = await layers.stage();
      writeFileSync(join(staged.fs, 'data'), DATA);
      await layers.commit(staged, layerRecord);
    };
    await commit();
    await permitted.ask('whole');
    await files.syncFilesystem(root);
    await images.put(imageRecord('a:1'));
    await permitted.lasts('whole');
    await permitted.ask(ABSENT);
    await layers.remove('diff-1');
    await permitted.ask('whole');
    await commit();
  },
  async look(root, state) {
    const images = imageStore(root, realFiles);
    const layers = new LayerStore(join(root, 'layers'), new Staging(state, realFiles, () => {}), realFiles);
    await layers.load();
    const { broken } = await images.load((record) => record.layers.every((key) => layers.get(key)));
    if (broken.some(({ isMissing }) => !isMissing)) return 'UNREADABLE image';
    if (images.list().length === 0) return ABSENT;
    return readFileSync(join(layers.fs('diff-1'), 'data'), 'utf8') === DATA ? 'whole' : 'TORN';
  },
};

/**
 * A layer that is an EROFS image is made durable by its own file. Its bytes are those that its record promises; of one that is found
 * damaged the next daemon finds the old or the new one, or none.
 */
const layerImage: Life = {
  name: 'layer image',
  async live({ files, root, permitted }) {
    const images = imageStore(root, files);
    const staging = new Staging(join(root, 'staging'), files, () => {});
    const layers = new LayerStore(join(root, 'layers'), staging, files, (name) => images.isNamed(name));
    await staging.open();
    await layers.load();
    await images.load(() => true);
    const commit = async (version: string) => {
      await using staged = await layers.stage('erofs');
      writeFileSync(staged.image, `${version}\n`.repeat(3000));
      const image = describeImage(staged.image);
      await layers.commit(staged, { ...layerRecord, bytes: image.bytes, image });
    };
    await commit('one');
    await permitted.ask('one');
    await images.put(imageRecord('a:1'));
    await permitted.lasts('one');
    await permitted.ask(ABSENT);
    await layers.remove('diff-1');
    await permitted.ask('two');
    await commit('two');
    await permitted.lasts('two');
    layers.suspect('diff-1');
    await permitted.ask(ABSENT);
    await permitted.ask('three');
    await commit('three');
    await permitted.lasts('three');
  },
  async look(root, state) {
    const images = imageStore(root, realFiles);
    const layers = new LayerStore(join(root, 'layers'), new Staging(state, realFiles, () => {}), realFiles);
    await layers.load();
    const { broken } = await images.load((record) => record.layers.every((key) => layers.get(key)));
    if (broken.some(({ isMissing }) => !isMissing)) return 'UNREADABLE image';
    if (images.list().length === 0) return ABSENT;
    const path = layers.image('diff-1');
    if (describeImage(path).digest !== layers.get('diff-1')?.image?.digest) return 'TORN';
    return readFileSync(path, 'utf8').split('\n')[0] ?? '';
  },
};

/** Files that stand alone, such as the configuration made of the node's pod ranges. */
const single: Life = {
  name: 'single file',
  async live({ files, root, permitted }) {
    for (const version of ['one', 'two']) {
      await permitted.ask(version);
      await files.writeAtomic(join(root, 'file'), version, { durable: true });
      await permitted.lasts(version);
    }
    await permitted.ask('three');
    await files.writeAtomic(join(root, 'file'), 'three');
  },
  async look(root) {
    try {
      return readFileSync(join(root, 'file'), 'utf8');
    } catch {
      return ABSENT;
    }
  },
};

/** A store without copies in which every write lasts: the list of leaks is such. */
const listed: Life = {
  name: 'list entry',
  async live({ files, root, permitted }) {
    const store = new RecordStore<Entry>({ directory: join(root, 'leaks'), version: 1, files });
    await store.load();
    for (const text of ['one', 'two']) {
      await permitted.ask(text);
      await (text === 'one' ? store.create : store.write).call(
        store,
        'a',
        { version: 1, text },
        { durable: true },
      );
      await permitted.lasts(text);
    }
    await permitted.ask(ABSENT);
    await store.remove('a');
  },
  look: (root, state) => read<Entry>(join(root, 'leaks'), state, ({ text }) => text),
};

interface Entry extends Versioned {
  readonly text: string;
}

export const LIVES: readonly Life[] = [sandbox, container, image, layer, layerImage, listed, single];

const sandboxRecord: SandboxRecord = {
  version: RECORD_VERSION,
  id: ID as SandboxId,
  config: {
    metadata: { name: 'pod', uid: 'uid', namespace: 'default', attempt: 0 },
    hostname: '',
    logDirectory: '',
    dns: undefined,
    portMappings: [],
    labels: {},
    annotations: {},
    linux: defaultLinux,
  },
  runtimeHandler: '',
  createdAt: 1n,
  bootId: 'boot-1',
  hostname: '',
  state: { name: 'ready' },
  process: undefined,
  pins: {},
  files: { hostname: '', resolvConf: '', shm: '' },
  cgroup: { parent: '/p', monitor: '/p/m', own: false },
  attachments: [],
  intents: [],
};

const containerRecord = {
  version: 1,
  id: ID,
  sandboxId: ID,
  metadata: { name: 'main', attempt: 0 },
  state: 'running',
  createdAt: 1n,
  intents: [],
} as unknown as ContainerRecord;

const imageRecord = (tag: string): ImageRecord => ({
  version: 1,
  id: `sha256:${ID}` as ImageId,
  tags: [{ name: tag, at: 1n }],
  digests: [],
  layers: ['diff-1'],
  blobs: [],
  size: 1,
  compressedSize: 1,
  platform: { os: 'linux', architecture: 'amd64' },
  pulled: 1n,
  config: {
    env: [],
    entrypoint: [],
    cmd: [],
    workingDir: '',
    user: '',
    stopSignal: undefined,
    volumes: [],
    labels: {},
  },
});

const layerRecord = { key: 'diff-1', diffId: 'sha256:1', rootOpaque: false, bytes: DATA.length, inodes: 1 };
