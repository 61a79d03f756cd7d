import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { CrispError, errnoOf } from '#core/errors.ts';

/** Larger ones are not certificates; the bundles of systems have a quarter of a megabyte. */
const MAX_BYTES = 16 << 20;
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]{1,65536}-----END CERTIFICATE-----/g;

export interface PemFile {
  readonly text: string;
  /** Its certificates, each in PEM. */
  readonly certificates: readonly string[];
  /** Of its content. */
  readonly hash: string;
}

/** Files of certificates and keys, read again only where they have changed. */
export class PemFiles {
  readonly #known = new Map<string, { readonly version: string; readonly file: PemFile }>();

  /** Throws FailedPrecondition where it cannot be read; `what` names its use. */
  read(path: string, what: string): PemFile {
    try {
      const stat = statSync(path, { bigint: true });
      // A fifo would be waited for, and a device has no end.
      if (!stat.isFile()) throw new CrispError('FailedPrecondition', 'it is not a regular file');
      const { mtimeNs, ctimeNs, ino, size } = stat;
      const version = [mtimeNs, ctimeNs, ino, size].join();
      const known = this.#known.get(path);
      if (known?.version === version) return known.file;
      if (size > MAX_BYTES) throw new CrispError('FailedPrecondition', `it has more than ${MAX_BYTES} bytes`);
      const text = readFileSync(path, 'utf8');
      const hash = createHash('sha256').update(text).digest('hex');
      const file = { text, certificates: text.match(BLOCK) ?? [], hash };
      this.#known.set(path, { version, file });
      return file;
    } catch (error) {
      const why = error instanceof CrispError ? error.message : (errnoOf(error) ?? 'it cannot be read');
      throw new CrispError('FailedPrecondition', `${what} ${path}: ${why}`, {
        hint: 'name a file that exists and that root can read, or remove the setting',
      });
    }
  }

  /** Forgets files that are not read any more. */
  keepOnly(paths: ReadonlySet<string>): void {
    for (const path of this.#known.keys()) if (!paths.has(path)) this.#known.delete(path);
  }
}
