/** A host beside the node: a network namespace, with a link from the node to it, and addresses at both ends. */
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Child } from '#linux/ports/kernel.ts';
import type { PodsFixture } from './pods-fixture.ts';

/** The node's end. */
export const LAN = 'lan0';
/** Another link of the node, for a pod. */
export const SPARE = 'spare0';

export class Lan implements AsyncDisposable {
  readonly #fixture: PodsFixture;
  readonly netns: string;
  readonly #children: Child[] = [];

  private constructor(fixture: PodsFixture, netns: string) {
    this.#fixture = fixture;
    this.netns = netns;
  }

  /** `addresses`: of the host, with their prefixes. */
  static async make(fixture: PodsFixture, addresses: readonly string[]): Promise<Lan> {
    const netns = join(fixture.directory, 'host');
    await fixture.kernel.namespaces.pinEmptyNetwork(netns);
    const lan = new Lan(fixture, netns);
    for (const [name, peer] of [
      [LAN, 'eth0'],
      [SPARE, 'eth1'],
    ] as const) {
      await fixture.run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', peer, 'netns', netns);
      fixture.ownLinks.add(name);
      await fixture.run('ip', 'link', 'set', name, 'up');
      await lan.inside('ip', 'link', 'set', peer, 'up');
    }
    for (const address of addresses) await lan.give('eth0', address);
    return lan;
  }

  /** At once usable: an IPv6 address would be checked for a second first. */
  async give(link: string, address: string): Promise<void> {
    const more = address.includes(':') ? ['nodad'] : [];
    await this.inside('ip', 'addr', 'replace', address, 'dev', link, ...more);
  }

  inside(...argv: string[]): Promise<string> {
    return this.#fixture.run('nsenter', `--net=${this.netns}`, ...argv);
  }

  /** A program of the host, until the end of the test. */
  async start(...argv: string[]): Promise<void> {
    const { kernel, options } = this.#fixture;
    const env = { PATH: options.network.environment['PATH'] ?? '' };
    this.#children.push(
      await kernel.processes.spawn({ argv: ['nsenter', `--net=${this.netns}`, ...argv], env }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process, exited } of this.#children) {
      this.#fixture.kernel.processes.signal(process, 9);
      await exited;
    }
    for (const name of [LAN, SPARE]) await this.#fixture.run('ip', 'link', 'delete', name).catch(() => {});
    await this.#fixture.kernel.mounts.unmount(this.netns);
    await unlink(this.netns);
  }
}
