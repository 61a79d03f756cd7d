/** The containers in which the accesses run: bench/feel.c times them, inside. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import { FEEL } from './feel-image.ts';
import { inParallel, removePod } from './pods.ts';
import { type BenchEnvironment, processesNamed, type Side } from './running-side.ts';

const EXEC_SECONDS = 300;
const WIDTH = 4;
const MAPPED_MS = 120_000;
const LOOK_MS = 100;

/** Runs `/feel` with the arguments in a container; the number that it prints. */
export type Run = (command: readonly string[]) => Promise<number>;

export class FeelContainers {
  readonly #side: Side;
  readonly #environment: BenchEnvironment;
  readonly #image: string;
  #count = 0;

  constructor(side: Side, environment: BenchEnvironment, image: string) {
    this.#side = side;
    this.#environment = environment;
    this.#image = image;
  }

  /** One container in a pod, for the time of the work. */
  async in(work: (run: Run) => Promise<void>): Promise<void> {
    await this.#inPod(1, [FEEL, 'hold'], async ([containerId = '']) => {
      await work((command) => this.#run(containerId, command));
    });
  }

  /** The sum of the proportional shares of a file that each of the containers has mapped whole, in MiB. */
  async mappedByAll(count: number, command: readonly string[], file: string): Promise<number> {
    let sum = 0;
    await this.#inPod(count, command, async () => {
      const whole = () => processesNamed('feel').map((pid) => mappingOf(pid, file));
      const deadline = performance.now() + MAPPED_MS;
      while (whole().filter(({ rss, size }) => rss === size && size > 0).length < count) {
        if (performance.now() > deadline)
          throw new CrispError('Internal', `not all of ${count} containers have mapped ${file}`);
        await sleep(LOOK_MS);
      }
      sum = whole().reduce((total, { pss }) => total + pss, 0) / 1024;
    });
    return sum;
  }

  async #run(containerId: string, command: readonly string[]): Promise<number> {
    const cmd = [FEEL, ...command];
    const { exitCode, stdout, stderr } = await this.#side.server.client.ExecSync(
      { containerId, cmd, timeout: fromBigInt(BigInt(EXEC_SECONDS)) },
      { timeoutMs: EXEC_SECONDS * 1000 },
    );
    const printed = Number(Buffer.from(stdout).toString().trim() || 'nothing');
    if (exitCode === 0 && Number.isFinite(printed)) return printed;
    const said = Buffer.from(stderr).toString().trim().slice(-400);
    throw new CrispError('Internal', `${cmd.join(' ')} exited with ${exitCode}: ${said}`);
  }

  async #inPod(
    count: number,
    command: readonly string[],
    work: (containers: readonly string[]) => Promise<void>,
  ): Promise<void> {
    const { client } = this.#side.server;
    const name = `feel-${++this.#count}`;
    const sandboxConfig: cri.PodSandboxConfigInit = {
      metadata: { name, uid: `uid-${name}`, namespace: 'bench', attempt: 0 },
      logDirectory: join(this.#environment.directory, 'logs', name),
      linux: {
        cgroupParent: `${this.#environment.cgroup}/${name}`,
        securityContext: { namespaceOptions: { network: cri.NamespaceMode.NODE } },
      },
    };
    const { podSandboxId } = await client.RunPodSandbox({ config: sandboxConfig });
    const numbers = Array.from({ length: count }, (_, number) => number);
    try {
      const containers = await inParallel(numbers, WIDTH, async (number) => {
        const config = {
          metadata: { name: `main-${number}`, attempt: 0 },
          image: { image: this.#image },
          command,
          logPath: `${number}.log`,
        };
        const { containerId } = await client.CreateContainer({ podSandboxId, config, sandboxConfig });
        await client.StartContainer({ containerId });
        return containerId;
      });
      await work(containers);
    } finally {
      await removePod(this.#side, podSandboxId);
    }
  }
}

/** KiB of a process's mapping of the file; zeros where it has none. */
function mappingOf(pid: number, file: string): { size: number; rss: number; pss: number } {
  let text = '';
  try {
    text = readFileSync(`/proc/${pid}/smaps`, 'utf8');
  } catch {
    // It has ended.
  }
  const entry = new RegExp(` ${file}\n(?:[A-Z].*\n)*`).exec(text)?.[0] ?? '';
  const value = (key: string): number => Number(new RegExp(`^${key}: +(\\d+) kB`, 'm').exec(entry)?.[1] ?? 0);
  return { size: value('Size'), rss: value('Rss'), pss: value('Pss') };
}
