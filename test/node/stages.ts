/**
 * Machines of a run up to where the test files begin: booted once, and copied as it runs, so that a file goes on with the copy. In the
 * run's directory a copy takes as much as the machine has of memory and disk in use: 0.7 GiB without crisp, 1.2 GiB with it.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeImage } from './cache.ts';
import { makeKit, REGISTRY } from './kit.ts';
import { Machine } from './machine.ts';

export interface Stage {
  readonly name: string;
  readonly before?: Stage;
  /** Run in the machine, which is at the stage before. */
  readonly script: string;
  /** Of one without a stage before: added to the kernel's command line. */
  readonly kernelLine?: string;
}

/** The kit is in the home of the scripts, until the machine is switched off; the registry's files are needed after that, too. */
const READY: Stage = {
  name: 'ready',
  script: `mount -o ro /dev/vdb /root && cp -R /root/registry /srv/registry && systemctl start node-registry
    mkdir -p /etc/crisp/crisp.toml.d
    printf '[image.registries."${REGISTRY}"]\\ninsecure = true\\n' >/etc/crisp/crisp.toml.d/50-test.toml`,
};
const INSTALLED: Stage = { name: 'installed', before: READY, script: 'cd /root && crisp/install' };
/** With SELinux in the place of AppArmor, permissive. */
const LABELLED: Stage = {
  name: 'labelled',
  kernelLine: 'security=selinux selinux=1 enforcing=0',
  script: `${READY.script}\n${INSTALLED.script}`,
};
/** On a kernel that has no IPv6, not one that has it switched off. */
const WITHOUT_IPV6: Stage = {
  name: 'without-ipv6',
  kernelLine: 'ipv6.disable=1',
  script: `${READY.script}\n${INSTALLED.script}`,
};

const kernelLineOf = ({ before, kernelLine }: Stage): string | undefined =>
  before ? kernelLineOf(before) : kernelLine;

type Timer = (step: string) => void;

/** Brings machines to a stage. What its files share is in `shared`, of which there is one for all files of a run. */
export class Stages {
  readonly #shared: string;
  readonly #timer: Timer;

  constructor(shared: string, timer: Timer) {
    this.#shared = shared;
    this.#timer = timer;
  }

  /** A machine with the kit, without crisp; in a directory of its own. */
  ready = (directory: string): Promise<Machine> => this.#start(READY, directory);
  /** The same with crisp installed and serving. */
  installed = (directory: string): Promise<Machine> => this.#start(INSTALLED, directory);
  /** The same on a kernel with SELinux, which is permissive. */
  labelled = (directory: string): Promise<Machine> => this.#start(LABELLED, directory);
  /** The same on a kernel without IPv6. */
  withoutIpv6 = (directory: string): Promise<Machine> => this.#start(WITHOUT_IPV6, directory);

  async #start(stage: Stage, directory: string): Promise<Machine> {
    const kit = await this.#kit();
    const machine = await this.#reach(stage, directory, kit);
    // Not before: a copy has the kit as it was made.
    await machine.sh('mount -o remount,rw /root');
    return machine;
  }

  async #kit(): Promise<string> {
    const kit = join(this.#shared, 'kit.img');
    if (existsSync(kit)) return kit;
    rmSync(this.#shared, { recursive: true, force: true });
    mkdirSync(this.#shared);
    await makeKit(this.#shared);
    this.#timer('kit made');
    return kit;
  }

  async #reach(stage: Stage, directory: string, kit: string): Promise<Machine> {
    const restored = await this.#restored(stage, directory, kit);
    if (restored) return restored;
    const machine = stage.before
      ? await this.#reach(stage.before, directory, kit)
      : await Machine.start({ directory, kit, kernelLine: kernelLineOf(stage) }, await nodeImage());
    await machine.sh(stage.script);
    this.#timer(stage.name);
    if (!this.#copies || (await this.#saved(machine, stage))) return machine;
    await machine.cut();
    return this.#reach(stage, directory, kit);
  }

  async #restored(stage: Stage, directory: string, kit: string): Promise<Machine | undefined> {
    const { name } = stage;
    const copy = join(this.#shared, name);
    if (!this.#copies || !existsSync(copy)) return undefined;
    try {
      const kernelLine = kernelLineOf(stage);
      const machine = await Machine.restore({ directory, kit, kernelLine }, copy);
      this.#timer(`${name} by a copy`);
      return machine;
    } catch (error) {
      this.#giveUp('a copy does not run', error);
      return undefined;
    }
  }

  async #saved(machine: Machine, { name }: Stage): Promise<boolean> {
    const copy = mkdtempSync(join(this.#shared, `${name}-`));
    try {
      await machine.save(copy);
      renameSync(copy, join(this.#shared, name));
      this.#timer(`${name} copied`);
      return true;
    } catch (error) {
      this.#giveUp('the machine cannot be copied', error);
      rmSync(copy, { recursive: true, force: true });
      return false;
    }
  }

  get #copies(): boolean {
    return !existsSync(join(this.#shared, 'no-copies'));
  }

  /** From here on each file boots. */
  #giveUp(what: string, error: unknown): void {
    const [why] = (error as Error).message.split('\n');
    console.log(`# ${what}, each file boots a machine: ${why}`);
    writeFileSync(join(this.#shared, 'no-copies'), '');
  }
}
