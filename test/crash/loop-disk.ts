/**
 * A file system on a file, whose power can be cut at any instant: what has reached the file by then is what a disk would
 * have kept. The file is copied while it is mounted, and the copy is mounted later, as after a power cut.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, cpSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export const KINDS = ['xfs', 'ext4', 'btrfs'] as const;
export type Kind = (typeof KINDS)[number];

const SIZE = '320M';
const MAKE: Readonly<Record<Kind, readonly string[]>> = {
  xfs: ['mkfs.xfs', '-q', '-f'],
  ext4: ['mkfs.ext4', '-q', '-F'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
};
/** Nothing that a file system does to hide missing flushes. A mount namespace that was made meanwhile may hold another copy: `nouuid`. */
const OPTIONS: Readonly<Record<Kind, string>> = { xfs: ',nouuid', ext4: ',noauto_da_alloc', btrfs: '' };

function run(command: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout.trim();
}

/** Why there can be none here, or undefined. */
export function obstacle(kind: Kind, directory: string): string | undefined {
  try {
    new LoopDisk(kind, join(directory, `try-${kind}`)).remove();
    return undefined;
  } catch (error) {
    return String(error);
  }
}

export class LoopDisk {
  readonly #kind: Kind;
  readonly #directory: string;
  #copies = 0;
  #written = '';

  /** Makes and mounts it; `directory` is its own. */
  constructor(kind: Kind, directory: string) {
    this.#kind = kind;
    this.#directory = directory;
    mkdirSync(this.root, { recursive: true });
    run('truncate', '-s', SIZE, this.#image);
    const [make = '', ...args] = MAKE[kind];
    run(make, ...args, this.#image);
    this.#mount(this.#image);
  }

  get root(): string {
    return join(this.#directory, 'mounted');
  }

  get #image(): string {
    return join(this.#directory, 'image');
  }

  /** What the disk would hold if the power went now: a copy, or undefined where nothing was written since the last one. */
  cut(): string | undefined {
    if (this.#writes() === this.#written) return undefined;
    const copy = join(this.#directory, `cut-${this.#copies++}`);
    // What the file system writes by itself meanwhile would be of another instant.
    do {
      this.#written = this.#writes();
      run('cp', '--sparse=always', this.#image, copy);
    } while (this.#writes() !== this.#written);
    return copy;
  }

  sync(): void {
    run('sync', '--file-system', this.root);
  }

  /** A file of another process is made durable: with it goes the journal, of all that has been done before. */
  strangersSync(): void {
    const file = openSync(join(this.root, 'stranger'), 'a');
    writeSync(file, 'x');
    fsyncSync(file);
    closeSync(file);
  }

  /** Puts what the copy has in a directory into another one. The disk itself must be unmounted. */
  recover(copy: string, directory: string, target: string): void {
    this.#mount(copy, ',ro'); // its journal is replayed all the same
    try {
      cpSync(join(this.root, directory), target, { recursive: true });
    } finally {
      this.unmount();
    }
  }

  unmount(): void {
    run('umount', this.root);
  }

  remove(): void {
    spawnSync('umount', ['-l', this.root]);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #mount(image: string, more = ''): void {
    const device = run('losetup', '--find', '--show', image);
    try {
      run('mount', '-t', this.#kind, '-o', `noatime${OPTIONS[this.#kind]}${more}`, device, this.root);
    } finally {
      run('losetup', '--detach', device); // when it is unmounted
    }
  }

  /** Of the loop device: writes completed, and sectors. */
  #writes(): string {
    const line = readFileSync('/proc/self/mountinfo')
      .toString()
      .split('\n')
      .find((mount) => mount.split(' ')[4] === this.root);
    const device = line?.split(' - ')[1]?.split(' ')[1] ?? '';
    const numbers = readFileSync(`/sys/block/${device.replace('/dev/', '')}/stat`, 'utf8')
      .trim()
      .split(/\s+/);
    return `${numbers[4]} ${numbers[6]}`;
  }
}
