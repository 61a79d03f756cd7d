import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { findProgram } from './programs.ts';

const ELF = Buffer.from('\x7fELF', 'latin1');

/**
 * The program of one OCI runtime. A crun that is executed from a file makes itself a mount that cannot be written
 * (CVE-2019-5736) and executes itself again from there, for each verb: one that finds itself in a sealed copy does
 * neither, which saves 1 ms of three and the lock of the host's mounts. Copies of other runtimes were not faster.
 */
export class RuntimeProgram {
  readonly isCrun: boolean;
  readonly #name: string;
  readonly #processes: Pick<Processes, 'seal'>;
  #path: string | undefined;
  #copied = '';
  #copy: string | undefined;

  /** `name`: an absolute path, or to be looked up. */
  constructor(name: string, processes: Pick<Processes, 'seal'>) {
    this.isCrun = basename(name).startsWith('crun');
    this.#name = name;
    this.#processes = processes;
  }

  /** Absolute. Throws NotFound where the program is not there; looked up until it is found. */
  get path(): string {
    this.#path ??= findProgram(this.#name);
    return this.#path;
  }

  /** The next use looks it up again: it may be installed elsewhere now. */
  forget(): void {
    this.#path = undefined;
  }

  /** The absolute path to execute: of the program that is at `path` now. Throws NotFound. */
  get executable(): string {
    const { path } = this;
    if (!this.isCrun) return path;
    const { dev, ino, size, ctimeMs } = statSync(path, { throwIfNoEntry: false }) ?? {};
    if (ino === undefined) throw gone(path);
    const identity = `${dev} ${ino} ${size} ${ctimeMs}`;
    if (identity !== this.#copied) {
      // An older copy stays: a monitor may be about to execute it.
      this.#copy = this.#sealed(path);
      this.#copied = identity;
    }
    return this.#copy ?? path;
  }

  /** Scripts depend on their path, and a kernel may refuse to execute copies: then the file itself is executed. */
  #sealed(path: string): string | undefined {
    try {
      const program = readFileSync(path);
      if (!program.subarray(0, ELF.length).equals(ELF)) return undefined;
      return this.#processes.seal(basename(path), program)?.path;
    } catch {
      return undefined;
    }
  }
}

const gone = (path: string): CrispError =>
  new CrispError('NotFound', `program ${path} does not exist any more`, { hint: 'reinstall it' });
