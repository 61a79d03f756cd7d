/**
 * A virtual machine: Debian with systemd as PID 1 and cgroup v2, emulated by qemu, so 10 to 60 times slower than the
 * machine it runs on. Its disk outlives its power. No network leads out of it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../image-service/registry.ts';
import type { NodeImage } from './cache.ts';

/** Generous, as all waits here: what is starved is not broken. */
const BOOT_MS = 15 * 60_000;
const RUN_MS = 20 * 60_000;
const OFF_MS = 5 * 60_000;
const MEMORY_MB = 2048;
const SPARE_BYTES = 2 * 2 ** 30;
const AGENT = 7777;
const CRI = 7778;
/** `quiet` and the rest save emulated time. */
const KERNEL_LINE =
  'console=ttyS0 quiet panic=-1 mitigations=off audit=0 nokaslr tsc=reliable no_timer_check random.trust_cpu=on systemd.unified_cgroup_hierarchy=1 systemd.show_status=0';

export interface Finished {
  readonly code: number;
  /** Both streams as they came. */
  readonly output: string;
}

export interface MachineSettings {
  readonly image: NodeImage;
  /** Holds the disk and the console's log. */
  readonly directory: string;
  /** A second disk, `/dev/vdb`: what the machine writes there is gone when it is switched off. */
  readonly kit: string;
}

export class Machine implements AsyncDisposable {
  readonly #settings: MachineSettings;
  readonly #agentPort: number;
  /** Where crisp's socket is to be had on this side of the machine. */
  readonly criPort: number;
  #qemu: ChildProcess | undefined;
  #ended: Promise<unknown> = Promise.resolve();

  private constructor(settings: MachineSettings, agentPort: number, criPort: number) {
    this.#settings = settings;
    this.#agentPort = agentPort;
    this.criPort = criPort;
  }

  /** A machine with a fresh disk, up. */
  static async start(settings: MachineSettings): Promise<Machine> {
    const machine = new Machine(settings, await freePort(), await freePort());
    const { status, stderr } = spawnSync(
      'cp',
      ['--sparse=always', '--', settings.image.disk, machine.#disk],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`cannot copy the disk: ${stderr}`);
    // A run of another recipe deletes this one's image, and the machine boots again.
    copyFileSync(settings.image.kernel, machine.#kernel);
    copyFileSync(settings.image.initrd, machine.#initrd);
    writeFileSync(machine.#spare, '');
    truncateSync(machine.#spare, SPARE_BYTES);
    await machine.boot();
    return machine;
  }

  get #kernel(): string {
    return join(this.#settings.directory, 'vmlinuz');
  }

  get #initrd(): string {
    return join(this.#settings.directory, 'initrd.img');
  }

  get #disk(): string {
    return join(this.#settings.directory, 'disk.img');
  }

  /** `/dev/vdc` of the machine: empty, for file systems of other kinds than its root's. */
  get #spare(): string {
    return join(this.#settings.directory, 'spare.img');
  }

  get #console(): string {
    return join(this.#settings.directory, 'console.log');
  }

  /** The messages of the kernel and systemd since the last boot. */
  console(): string {
    return existsSync(this.#console) ? readFileSync(this.#console, 'utf8') : '';
  }

  get isOn(): boolean {
    return this.#qemu?.exitCode === null;
  }

  /** Switches it on and waits until systemd has started all; its seconds. */
  async boot(): Promise<number> {
    const started = performance.now();
    const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...this.#arguments()], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    this.#qemu = qemu;
    this.#ended = once(qemu, 'exit');
    let output = '';
    qemu.stderr?.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    const failed = (why: string): Error =>
      new Error(`the machine does not come up: ${why}\n${output}\n${this.console().slice(-3000)}`);
    // What is sent before the machine has a network is lost; a slow machine is given longer and longer to reply.
    let patience = 3000;
    for (const limit = Date.now() + BOOT_MS; ; await sleep(200)) {
      const reply = this.#exchange('systemctl is-system-running --wait', patience);
      const state = await reply.catch(() => undefined);
      patience *= 2;
      if (state?.code === 0) return (performance.now() - started) / 1000;
      if (state) {
        const why = await this.run('systemctl --failed; journalctl -b -p warning --no-pager | tail -30');
        throw failed(`systemd is ${state.output.trim()}\n${why.output}`);
      }
      if (qemu.exitCode !== null) throw failed(`qemu ended with ${qemu.exitCode}`);
      if (Date.now() > limit) throw failed(`not within ${BOOT_MS / 1000} s`);
    }
  }

  #arguments(): string[] {
    const { kit } = this.#settings;
    const forward = `hostfwd=tcp:127.0.0.1:${this.#agentPort}-:${AGENT},hostfwd=tcp:127.0.0.1:${this.criPort}-:${CRI}`;
    const accelerator = process.env['CRISP_NODE_ACCEL'] ?? 'tcg,thread=multi';
    return [
      ['-M', 'q35', '-accel', accelerator, '-cpu', 'max', '-smp', '2', '-m', String(MEMORY_MB)],
      ['-nodefaults', '-no-reboot', '-display', 'none', '-serial', `file:${this.#console}`],
      ['-kernel', this.#kernel, '-initrd', this.#initrd, '-append', KERNEL_LINE],
      ['-netdev', `user,id=net,restrict=on,${forward}`, '-device', 'virtio-net-pci,netdev=net,romfile='],
      // The machine's own page cache is what a power cut loses; qemu's writes are in this host's.
      ['-drive', `file=${this.#disk},if=virtio,format=raw,cache=unsafe`],
      ['-drive', `file=${kit},if=virtio,format=raw,snapshot=on`],
      ['-drive', `file=${this.#spare},if=virtio,format=raw,cache=unsafe`],
    ].flat();
  }

  /** Runs a bash script as root. Its background processes keep running. Rejects where the machine does not reply. */
  async run(script: string, timeoutMs = RUN_MS): Promise<Finished> {
    if (!this.isOn) throw new Error('the machine is off');
    return this.#exchange(script, timeoutMs);
  }

  /** Runs a script that must succeed; its output without the last newline. */
  async sh(script: string, timeoutMs = RUN_MS): Promise<string> {
    const { code, output } = await this.run(`set -eu -o pipefail\n${script}`, timeoutMs);
    if (code !== 0) throw new Error(`exit code ${code} of\n${script}\n${output}`);
    return output.trimEnd();
  }

  async #exchange(script: string, timeoutMs: number): Promise<Finished> {
    const marker = randomBytes(12).toString('hex');
    const socket = connect(this.#agentPort, '127.0.0.1');
    const timer = setTimeout(() => socket.destroy(new Error(`no end after ${timeoutMs} ms`)), timeoutMs);
    try {
      const bytes = Buffer.from(script);
      socket.write(Buffer.concat([Buffer.from(`${marker} ${bytes.length}\n`), bytes]));
      return await readReply(socket, marker);
    } catch (error) {
      throw new Error(`a script in the machine: ${(error as Error).message}\n${script}`);
    } finally {
      clearTimeout(timer);
      socket.destroy();
    }
  }

  /** Takes the power away: what the guest has not written to its disk is lost. */
  async cut(): Promise<void> {
    this.#qemu?.kill('SIGKILL');
    await this.#ended;
    this.#qemu = undefined;
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
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cut();
  }
}

/** Reads up to the line that ends a reply: the marker and the exit code. */
async function readReply(socket: Socket, marker: string): Promise<Finished> {
  const end = new RegExp(`\\n${marker} (\\d+)\\n`);
  let text = '';
  socket.setEncoding('utf8');
  for await (const piece of socket as AsyncIterable<string>) {
    text += piece;
    const found = end.exec(text.slice(-(piece.length + 64)));
    if (found) return { code: Number(found[1]), output: text.slice(0, text.lastIndexOf(`\n${marker} `)) };
  }
  throw new Error('the connection ended before the script');
}
