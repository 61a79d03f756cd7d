/**
 * Reads TLS files again when they change: with a watch of their directories where the node has one, and by asking at
 * intervals, for a watch does not see what is replaced behind a link or on another machine.
 */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { FileWatch, Inotify } from '#linux/ports/inotify.ts';
import type { TlsMaterial, TlsSection } from './tls-files.ts';

const POLL_MS = 10_000;
/** After an event: a certificate and its key are two files, written one after the other. */
const SETTLE_MS = 250;

export interface CertificateWatchParts {
  readonly section: TlsSection;
  readonly paths: readonly string[];
  /** Reads and checks the files. Throws InvalidArgument. */
  readonly read: () => TlsMaterial | undefined;
  /** Puts it in use; called with what is found first, too. */
  readonly changed: (material: TlsMaterial) => void;
  readonly inotify: Pick<Inotify, 'watch'>;
  readonly log: Log;
  /** In ms; ten seconds where absent. */
  readonly pollMs?: number;
}

export class CertificateWatch implements Disposable {
  readonly #parts: CertificateWatchParts;
  readonly #poll: NodeJS.Timeout;
  readonly #watches: FileWatch[] = [];
  #settling: NodeJS.Timeout | undefined;
  #material: TlsMaterial | undefined;
  /** Of the files that were read last. */
  #stamp = '';
  #problem = '';
  #checking = false;
  #closed = false;

  constructor(parts: CertificateWatchParts) {
    this.#parts = parts;
    this.#poll = setInterval(() => void this.check(), parts.pollMs ?? POLL_MS).unref();
    for (const directory of new Set(parts.paths.map((path) => dirname(path)))) this.#watch(directory);
    void this.check();
  }

  /** Reads the files if they are others than before. Files that cannot be used are logged once. Never throws. */
  async check(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    try {
      const stamp = await stampOf(this.#parts.paths);
      if (stamp !== this.#stamp && !this.#closed) this.#read(stamp);
    } finally {
      this.#checking = false;
    }
  }

  #read(stamp: string): void {
    const { section, log, read, changed, paths } = this.#parts;
    this.#stamp = stamp;
    try {
      const material = read();
      this.#problem = '';
      if (!material || isDeepStrictEqual(material, this.#material)) return;
      const isFirst = this.#material === undefined;
      this.#material = material;
      changed(material);
      if (!isFirst) log.info({ section, files: paths }, 'TLS files have changed: new connections use them');
    } catch (error) {
      const problem = describeError(error);
      if (problem === this.#problem) return;
      this.#problem = problem;
      const hint = error instanceof CrispError ? error.hint : undefined;
      log.warn(
        { section, error: problem, hint },
        'TLS files cannot be used: those that were read before are',
      );
    }
  }

  #watch(directory: string): void {
    const { section, inotify } = this.#parts;
    try {
      const watch = inotify.watch(`certificates of ${section}`, directory, () => this.#soon());
      if (watch) this.#watches.push(watch);
    } catch {
      // The directory is missing: asking at intervals notices when it is there.
    }
  }

  #soon(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => void this.check(), SETTLE_MS).unref();
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#settling);
    for (const watch of this.#watches) watch[Symbol.dispose]();
  }
}

async function stampOf(paths: readonly string[]): Promise<string> {
  const stamps = await Promise.all(
    paths.map(async (path) => {
      try {
        const { dev, ino, mtimeNs, ctimeNs, size } = await stat(path, { bigint: true });
        return [dev, ino, mtimeNs, ctimeNs, size].join(':');
      } catch (error) {
        return errnoOf(error) ?? 'unknown';
      }
    }),
  );
  return stamps.join(' ');
}
