/**
 * A virtual machine: Debian with systemd as PID 1 and cgroup v2, emulated by qemu, so 10 to 60 times slower than the
 * machine it runs on. Its disk outlives its power. No network leads out of it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../image-service/registry.ts';
import { exchange, type Finished } from './agent.ts';
import type { NodeImage } from './cache.ts';
import { Monitor, withState } from './monitor.ts';
import { CONSOLE, FILES, type Ports, type QemuSettings, qemuArguments } from './qemu.ts';

/** Generous, as all waits here: what is starved is not broken. */
const BOOT_MS = 15 * 60_000;
const RUN_MS = 20 * 60_000;
const OFF_MS = 5 * 60_000;
const SPARE_BYTES = 2 * 2 ** 30;
/** The memory and the devices of a copy. */
const STATE = 'state';

export class Machine implements AsyncDisposable {
  readonly #settings: QemuSettings;
  readonly #ports: Ports;
  #qemu: ChildProcess | undefined;
  #monitor: Monitor | undefined;
  #ended: Promise<unknown> = Promise.resolve();
  /** qemu's own messages since the last start. */
  #complaints = '';

  private constructor(settings: QemuSettings, ports: Ports) {
    this.#settings = settings;
    this.#ports = ports;
  }

  static async #off(settings: QemuSettings): Promise<Machine> {
    return new Machine(settings, { agent: await freePort(), cri: await freePort() });
  }

  /** A machine with a fresh disk, up. */
  static async start(settings: QemuSettings, image: NodeImage): Promise<Machine> {
    const machine = await Machine.#off(settings);
    // A run of another recipe deletes this one's image, and the machine boots again.
    for (const name of ['kernel', 'initrd', 'disk'] as const)
      copySparse(image[name], machine.#path(FILES[name]));
    writeFileSync(machine.#path(FILES.spare), '');
    truncateSync(machine.#path(FILES.spare), SPARE_BYTES);
    await machine.boot();
    return machine;
  }

  /** A machine that goes on where `save` has copied one; its clock is set. Throws where qemu does not take the copy. */
  static async restore(settings: QemuSettings, copy: string): Promise<Machine> {
    const machine = await Machine.#off(settings);
    for (const name of Object.values(FILES)) copySparse(join(copy, name), machine.#path(name));
    try {
      await machine.#switchOn(withState(join(copy, STATE))).runOn();
      const { code, output } = await machine.#firstReply(
        // Sent again where there is no reply: a late one must not set the clock back.
        `now=${Math.ceil(Date.now() / 1000)}; [ "$(date +%s)" -ge $now ] || date -s @$now`,
      );
      if (code !== 0) throw machine.#failure(`the clock cannot be set: ${output}`);
      return machine;
    } catch (error) {
      await machine.cut();
      throw new Error(`${(error as Error).message} ${machine.#complaints}`);
    }
  }

  /**
   * Copies the machine as it runs, with its memory, into a directory. Nothing may be connected to it, and it must not have written
   * to its second disk, which is not copied. Where this throws the machine may have stopped.
   */
  async save(directory: string): Promise<void> {
    if (!this.#monitor) throw new Error('the machine is off');
    await this.#monitor.execute('stop');
    await this.#monitor.saveState(join(directory, STATE));
    for (const name of Object.values(FILES)) copySparse(this.#path(name), join(directory, name));
    await this.#monitor.execute('cont');
  }

  #path(name: string): string {
    return join(this.#settings.directory, name);
  }

  /** Where crisp's socket is to be had on this side of the machine. */
  get criPort(): number {
    return this.#ports.cri;
  }

  /** The messages of the kernel and systemd since the last boot. */
  console(): string {
    const path = this.#path(CONSOLE);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  get isOn(): boolean {
    return this.#qemu?.exitCode === null && this.#qemu.signalCode === null;
  }

  /** Switches it on and waits until systemd has started all. */
  async boot(): Promise<void> {
    this.#switchOn([]);
    const { code, output } = await this.#firstReply('systemctl is-system-running --wait');
    if (code === 0) return;
    const why = await this.run('systemctl --failed; journalctl -b -p warning --no-pager | tail -30');
    throw this.#failure(`systemd is ${output.trim()}\n${why.output}`);
  }

  #switchOn(more: readonly string[]): Monitor {
    const args = [...qemuArguments(this.#settings, this.#ports), ...more];
    const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...args], {
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    this.#qemu = qemu;
    this.#ended = once(qemu, 'exit');
    this.#complaints = '';
    qemu.stderr.setEncoding('utf8').on('data', (text) => {
      this.#complaints += text;
    });
    this.#monitor = new Monitor(qemu);
    return this.#monitor;
  }

  /** What it replies to a script that is sent until it replies. */
  async #firstReply(script: string): Promise<Finished> {
    // What is sent before the machine has a network is lost, and refused before the agent listens; a slow machine is given longer
    // and longer to reply.
    let patience = 3000;
    for (const limit = Date.now() + BOOT_MS; ; await sleep(200)) {
      const late = Date.now() + patience - 100;
      const reply = await exchange(this.#ports.agent, script, patience).catch(() => undefined);
      if (reply) return reply;
      if (Date.now() >= late) patience *= 2;
      if (!this.isOn) throw this.#failure(`qemu ended with ${this.#qemu?.exitCode}`);
      if (Date.now() > limit) throw this.#failure(`not within ${BOOT_MS / 1000} s`);
    }
  }

  #failure(why: string): Error {
    const console = this.console().slice(-3000);
    return new Error(`the machine does not come up: ${why}\n${this.#complaints}\n${console}`);
  }

  /** Runs a bash script as root. Its background processes keep running. Rejects where the machine does not reply. */
  async run(script: string, timeoutMs = RUN_MS): Promise<Finished> {
    if (!this.isOn) throw new Error('the machine is off');
    return exchange(this.#ports.agent, script, timeoutMs);
  }

  /** Runs a script that must succeed; its output without the last newline. */
  async sh(script: string, timeoutMs = RUN_MS): Promise<string> {
    const { code, output } = await this.run(`set -eu -o pipefail\n${script}`, timeoutMs);
    if (code !== 0) throw new Error(`exit code ${code} of\n${script}\n${output}`);
    return output.trimEnd();
  }

  /** Takes the power away: what the guest has not written to its disk is lost. */
  async cut(): Promise<void> {
    this.#qemu?.kill('SIGKILL');
    await this.#ended;
    this.#qemu = undefined;
    this.#monitor = undefined;
  }

  /** Shuts down in order. */
  async off(): Promise<void> {
    // The reply may be lost during the shutdown.
    await this.run('systemctl poweroff --no-block').catch(() => {});
    const limit = new AbortController();
    const late = sleep(OFF_MS, 'late', { signal: limit.signal }).catch(() => {});
    const outcome = await Promise.race([this.#ended, late]);
    limit.abort();
    if (outcome === 'late')
      throw new Error(`no power off within ${OFF_MS / 1000} s\n${this.console().slice(-3000)}`);
    this.#qemu = undefined;
    this.#monitor = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cut();
  }
}

function copySparse(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['--sparse=always', '--', from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cannot copy ${from}: ${stderr}`);
}
