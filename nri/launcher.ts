/** The plugins of the plugin directory: started in the order of their names, and again when they end. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, errnoOf } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { checkExecutable } from '#linux/fs/executable.ts';
import { readRegular } from '#linux/fs/regular-file.ts';
import type { Child } from '#linux/ports/kernel.ts';
import type { Given } from './admission.ts';
import { launchedFile, type NriOptions } from './options.ts';
import type { NriSystem } from './ports.ts';

const FILE = /^(\d\d)-([A-Za-z0-9_.+-]{1,128})$/;
const MAX_CONFIG = 1 << 20;
/** The wait before a plugin is started again: doubled until one has run for a while, in ms. */
const FIRST_WAIT_MS = 1000;
const MAX_WAIT_MS = 60_000;
/** One that has run for this time has started well, in ms. */
const STEADY_MS = 60_000;
/** How long one may take to end by itself when its connection is closed, in ms. */
const GRACE_MS = 1000;
const MAX_LINE = 1024;
const SIGTERM = 15;
const SIGKILL = 9;
/** How long a process that was killed may take to be gone, in ms: the kernel may hold it. */
const KILLED_MS = 2000;
/**
 * In the environment of plugins: random, and in a file for root alone, so that the next daemon finds those that a killed one has
 * left, and nothing else.
 */
const TOKEN_VARIABLE = 'CRISP_NRI_TOKEN';
const TOKEN = /^[0-9a-f]{32}$/;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface LauncherParts {
  readonly options: Pick<NriOptions, 'pluginDirectory' | 'configDirectory' | 'state'>;
  readonly system: Pick<NriSystem, 'processes' | 'files'>;
  readonly log: Log;
  /** Serves its connection: `active` resolves when it is active or has ended, `ended` when it has ended. Neither rejects. */
  readonly connect: (
    socket: Duplex,
    pid: number,
    given: Given,
  ) => { readonly active: Promise<void>; readonly ended: Promise<unknown> };
  /** Its file is gone: it is missed no more. */
  readonly forget: (plugin: string) => void;
}

/** One file of the directory. */
interface Program {
  readonly path: string;
  readonly index: string;
  readonly name: string;
}

/** What is wrong with one that does not run. */
export interface NotRunning {
  readonly plugin: string;
  readonly message: string;
}

export class Launcher {
  readonly #parts: LauncherParts;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly #failed = new Map<string, string>();
  readonly #token = randomBytes(16).toString('hex');

  constructor(parts: LauncherParts) {
    this.#parts = parts;
  }

  /**
   * Ends the plugins of an earlier daemon, then starts those that are there, one after the other. Resolves when all are active, or
   * have failed once. Never throws.
   */
  async begin(): Promise<void> {
    const { log, options } = this.#parts;
    try {
      await this.#endLeftOvers();
      const programs = await this.#programs();
      // Written before the first is started.
      if (programs.length > 0)
        await this.#parts.system.files.writeAtomic(launchedFile(options.state), this.#token, { mode: 0o600 });
      for (const program of programs) {
        if (this.#stop.signal.aborted) return;
        const first = Promise.withResolvers<void>();
        this.#running.push(this.#keep(program, first.resolve));
        await first.promise;
      }
    } catch (error) {
      log.error(
        { directory: options.pluginDirectory, error: describeError(error) },
        'NRI plugins cannot be started',
      );
      this.#failed.set(options.pluginDirectory, describeError(error));
    }
  }

  get notRunning(): readonly NotRunning[] {
    return [...this.#failed].map(([plugin, message]) => ({ plugin, message }));
  }

  /** They have their connections closed, and are killed where that does not end them. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
    await rm(launchedFile(this.#parts.options.state), { force: true }).catch(() => {});
  }

  async #endLeftOvers(): Promise<void> {
    const { system, options, log } = this.#parts;
    const file = launchedFile(options.state);
    if (!existsSync(file)) return;
    const token = (await readRegular(file, 1024)).toString('latin1');
    const found = TOKEN.test(token) ? system.processes.withVariable(TOKEN_VARIABLE, token) : [];
    for (const process of found) {
      log.warn({ pid: process.pid }, 'an NRI plugin of an earlier daemon still runs: it is ended');
      system.processes.signal(process, SIGKILL);
    }
    await rm(file, { force: true });
  }

  async #programs(): Promise<Program[]> {
    const { pluginDirectory } = this.#parts.options;
    const names = await readdir(pluginDirectory).catch((error) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    const found = await Promise.all(
      names.sort().map((name) => this.#program(`${pluginDirectory}/${name}`, name)),
    );
    return found.filter((program) => program !== undefined);
  }

  async #program(path: string, file: string): Promise<Program | undefined> {
    const isProgram = await stat(path).then(
      (status) => status.isFile() && (status.mode & 0o111) !== 0,
      () => false,
    );
    if (!isProgram) return undefined;
    const [, index, name] = FILE.exec(file) ?? [];
    if (index !== undefined && name !== undefined) return { path, index, name };
    this.#parts.log.warn({ path }, 'not an NRI plugin: its name is not two digits, a hyphen and a name');
    return undefined;
  }

  /** Runs it again and again. */
  async #keep(program: Program, onFirst: () => void): Promise<void> {
    const { signal } = this.#stop;
    const plugin = `${program.index}-${program.name}`;
    for (let wait = FIRST_WAIT_MS; !signal.aborted; ) {
      const begun = performance.now();
      try {
        await this.#run(program, () => {
          this.#failed.delete(plugin);
          onFirst();
        });
      } catch (error) {
        this.#failed.set(plugin, describeError(error));
      }
      onFirst();
      if (signal.aborted) return;
      if (!existsSync(program.path)) {
        this.#failed.delete(plugin);
        this.#parts.forget(plugin);
        this.#parts.log.info({ plugin, path: program.path }, 'the file of an NRI plugin is gone');
        return;
      }
      if (performance.now() - begun >= STEADY_MS) wait = FIRST_WAIT_MS;
      const message = this.#failed.get(plugin) ?? 'it has ended';
      this.#failed.set(plugin, message);
      this.#parts.log.warn(
        { plugin, path: program.path, message, seconds: wait / 1000 },
        'an NRI plugin is started again',
      );
      await sleep(wait, undefined, { signal, ref: false }).catch(() => {});
      wait = Math.min(MAX_WAIT_MS, wait * 2);
    }
  }

  /** One life of it. Throws where it cannot be started. */
  async #run({ path, index, name }: Program, onActive: () => void): Promise<void> {
    const { system, connect, log } = this.#parts;
    const { signal } = this.#stop;
    const config = await this.#configOf(index, name);
    await checkExecutable(path);
    if (signal.aborted) return;
    const child = await system.processes.spawn({
      argv: [path],
      env: {
        PATH,
        NRI_PLUGIN_NAME: name,
        NRI_PLUGIN_IDX: index,
        NRI_PLUGIN_SOCKET: '3',
        [TOKEN_VARIABLE]: this.#token,
      },
      cwd: '/',
      stderr: 'pipe',
      stdout: 'null',
      extra: { 3: 'socket' },
    });
    logLines(child, log.child({ plugin: `${index}-${name}` }));
    const socket = child.extra[3] as Duplex;
    if (!signal.aborted) {
      const { active, ended } = connect(socket, child.process.pid, { index, name, config });
      void active.then(onActive);
      const stopped = Promise.withResolvers<void>();
      const stop = () => stopped.resolve();
      signal.addEventListener('abort', stop, { once: true });
      await Promise.race([child.exited, ended, stopped.promise]);
      signal.removeEventListener('abort', stop);
    }
    socket.destroy();
    await this.#end(child);
  }

  /** It notices the end of its connection; what does not is killed. */
  async #end(child: Child): Promise<void> {
    const { processes } = this.#parts.system;
    const timer = new AbortController();
    const grace = sleep(GRACE_MS, true, { signal: timer.signal }).catch(() => false);
    processes.signal(child.process, SIGTERM);
    if (await Promise.race([child.exited.then(() => false), grace])) processes.signal(child.process, SIGKILL);
    timer.abort();
    await Promise.race([child.exited, sleep(KILLED_MS, undefined, { ref: false })]);
    child.stderr?.destroy();
  }

  async #configOf(index: string, name: string): Promise<string> {
    for (const file of [`${index}-${name}.conf`, `${name}.conf`]) {
      const path = `${this.#parts.options.configDirectory}/${file}`;
      try {
        return (await readRegular(path, MAX_CONFIG)).toString('utf8');
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
    }
    return '';
  }
}

/** What it writes to standard error, for `log.level = "debug"`. */
function logLines({ stderr }: Child, log: Log): void {
  let rest = '';
  stderr?.on('data', (piece: Buffer) => {
    const lines = (rest + piece.toString('utf8')).split('\n');
    rest = (lines.pop() ?? '').slice(0, MAX_LINE);
    for (const line of lines)
      log.debug({ line: line.slice(0, MAX_LINE).toWellFormed() }, 'output of an NRI plugin');
  });
}
