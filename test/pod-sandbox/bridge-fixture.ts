/** A fixture for one network made in two ways: by the real plugins, and by crisp itself. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { newSandboxId, type SandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import { openKernel } from '#linux/index.ts';
import type { Child, Kernel, NatTables } from '#linux/ports/kernel.ts';
import { noNetworkObserver, type PortMapping } from '#pod-sandbox/index.ts';
import { BridgeNetwork } from '#pod-sandbox/network/bridge/bridge.ts';
import type { Attachment } from '#pod-sandbox/network/cni/attachment.ts';
import { parseNetworkConfig } from '#pod-sandbox/network/cni/conflist.ts';
import { Cni } from '#pod-sandbox/network/network.ts';
import { planAttachment } from '#pod-sandbox/network/request.ts';
import { sampleConfig } from '../fixtures/sandbox-config.ts';
import { GIVEN_MAC } from './native-cases.ts';

export type Way = 'native' | 'exec';

export interface Pod {
  readonly id: SandboxId;
  readonly netns: string;
  readonly attachment: Attachment;
  /** As it was recorded before ADD, for the native way. */
  readonly planned?: Attachment;
}

const LIMIT = 60_000;

export class BridgeFixture implements AsyncDisposable {
  readonly kernel: Kernel;
  readonly directory: string;
  readonly cni: Cni;
  /** How often rules were written, or erased, without a program. */
  direct = 0;
  readonly #native: BridgeNetwork[] = [];
  /** The first directory of plugins. */
  readonly plugins: string;

  private constructor(kernel: Kernel, directory: string) {
    this.kernel = kernel;
    this.directory = directory;
    this.plugins = join(directory, 'plugins');
    this.cni = this.limited(LIMIT);
  }

  /** The node's rules, each change without a program counted. */
  #nat(tables: NatTables): Kernel['nat'] {
    const { nat } = this.kernel;
    const counted = async (change: Promise<boolean>) => {
      const done = await change;
      if (done) this.direct++;
      return done;
    };
    return {
      tables,
      matchesIptables: (...args) => nat.matchesIptables(...args),
      add: (rules) => counted(nat.add(rules)),
      remove: (rules) => counted(nat.remove(rules)),
    };
  }

  /** With other limits (milliseconds), another PATH, other tables where there is no iptables, and more variables. */
  limited(
    limit: number,
    path = process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    tables = this.kernel.nat.tables,
    more: Readonly<Record<string, string>> = {},
  ): Cni {
    const environment = { PATH: path, ...more };
    const native = this.bridgeNetwork(path, tables, more);
    return new Cni(this.kernel.processes, {
      binDirs: [this.plugins, '/usr/lib/cni', '/opt/cni/bin'],
      environment,
      maxOutput: 1 << 20,
      addLimit: limit,
      delLimit: limit,
      native,
      observer: noNetworkObserver,
    });
  }

  bridgeNetwork(
    path: string,
    tables = this.kernel.nat.tables,
    more: Readonly<Record<string, string>> = {},
  ): BridgeNetwork {
    const { links, processes } = this.kernel;
    const native = new BridgeNetwork({ links, processes, nat: this.#nat(tables) }, { PATH: path, ...more });
    this.#native.push(native);
    return native;
  }

  static async make(): Promise<BridgeFixture> {
    const base = process.env['CRISP_TEST_DIR'];
    if (!base) throw new Error('run this through test/run.ts: it makes the namespaces and sets CRISP_TEST_*');
    const fixture = new BridgeFixture(await openKernel(), await mkdtemp(join(base, 'native-')));
    await installFlannel(fixture.plugins);
    await fixture.#reset(); // other tests of this run leave the plugins' shared rules
    return fixture;
  }

  /** The record before ADD. */
  plan(
    way: Way,
    conflist: object,
    id: SandboxId,
    portMappings: readonly PortMapping[],
    annotations: Readonly<Record<string, string>> = {},
  ): Attachment {
    const network = parseNetworkConfig('/net.d/10-test.conflist', JSON.stringify(conflist));
    const sandbox = { id, config: sampleConfig({ portMappings, annotations }), cgroup: '/x' };
    const planned = planAttachment(network, sandbox, 'auto');
    assert.equal(planned.way, 'native', `it is not native: ${JSON.stringify(conflist)}`);
    return inWay(way, planned, planned);
  }

  /** A new pod with an empty network namespace, attached. */
  async add(
    way: Way,
    conflist: object,
    id: SandboxId = newSandboxId(),
    ports: readonly PortMapping[] = [],
    annotations: Readonly<Record<string, string>> = {},
  ): Promise<Pod> {
    const netns = await this.namespace(id);
    const planned = this.plan(way, conflist, id, ports, annotations);
    const attachment = await this.cni.attach(id, planned, netns, this.operation());
    for (const native of this.#native) await native.waitForProbes();
    return { id, netns, attachment, planned: this.plan('native', conflist, id, ports, annotations) };
  }

  async namespace(id: SandboxId): Promise<string> {
    const netns = join(this.directory, `net-${id}`);
    await this.kernel.namespaces.pinEmptyNetwork(netns);
    return netns;
  }

  async remove(way: Way, { id, netns, attachment, planned }: Pod): Promise<void> {
    await this.cni.detach(id, inWay(way, attachment, planned ?? attachment), netns, this.operation());
  }

  operation(signal?: AbortSignal): Operation {
    return new Operation('test', signal ? { signal } : {});
  }

  nodeLink({ result }: Attachment): string | undefined {
    const name = result?.interfaces?.find(isNodeEnd)?.['name'];
    return typeof name === 'string' ? name : undefined;
  }

  /** The attachment's outcome without names and addresses that are random. */
  comparable({ result, ips }: Attachment, n: number): object {
    const interfaces = result?.interfaces?.map(({ mac, ...others }) => {
      if (GIVEN_MAC.test(String(mac))) return { ...others, mac };
      assert.match(String(mac), /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      return isNodeEnd(others) ? { ...others, name: `LINK${n}` } : others;
    });
    return { result: { ...result, interfaces }, ips };
  }

  async run(...argv: string[]): Promise<string> {
    const env = { PATH: process.env['PATH'] ?? '' };
    const output = await this.kernel.processes.run({ argv, env }, AbortSignal.timeout(30_000));
    if (output.status.code !== 0) throw new Error(`${argv.join(' ')}: ${output.stderr}`);
    return output.stdout.toString();
  }

  /** A program that runs until the end of the block; begun when it has written something. */
  async child(...argv: string[]): Promise<Child & AsyncDisposable> {
    const env = { PATH: process.env['PATH'] ?? '' };
    const child = await this.kernel.processes.spawn({
      argv,
      env,
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: { fd: 2 },
    });
    if (child.stdout) await once(child.stdout, 'data');
    const end = async () => {
      child.stdin?.destroy();
      this.kernel.processes.signal(child.process, 9);
      await child.exited;
    };
    return { ...child, [Symbol.asyncDispose]: end };
  }

  /** What a node with other software has in its tables: the chains of the node, and rules of others there. */
  async others(): Promise<void> {
    for (const [program, address] of [
      ['iptables', '192.0.2.1'],
      ['ip6tables', '2001:db8::1'],
    ] as const) {
      await this.run(program, '-t', 'nat', '-A', 'POSTROUTING', '-s', address, '-j', 'RETURN', '--wait');
      await this.run(program, '-A', 'FORWARD', '-s', address, '-j', 'DROP', '--wait');
    }
  }

  /** What a test makes on the bridge; at the end the node is set back to where it was before. */
  network(bridge: string, dataDir: string): { readonly pods: Pod[] } & AsyncDisposable {
    const pods: Pod[] = [];
    return {
      pods,
      [Symbol.asyncDispose]: async () => {
        await this.run('sh', '-c', `ip link delete ${bridge} || true`);
        await this.#reset();
        await rm(dataDir, { recursive: true, force: true });
        for (const name of await readdir(this.directory)) {
          if (name.startsWith('net-')) await this.#unpin(join(this.directory, name));
        }
      },
    };
  }

  async #reset(): Promise<void> {
    await this.run('nft', 'flush', 'ruleset');
    await writeFile('/proc/sys/net/ipv4/ip_forward', '0');
    await writeFile('/proc/sys/net/ipv6/conf/all/forwarding', '0');
  }

  async #unpin(netns: string): Promise<void> {
    await this.kernel.mounts.unmount(netns);
    await unlink(netns);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kernel.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** The same attachment for the other way: what a daemon with another config would record. */
function inWay(way: Way, made: Attachment, { head: planned }: Attachment): Attachment {
  const { way: _, head, delegate, ...attachment } = made;
  if (way === 'exec') return attachment;
  const recorded = head ?? (planned && { ...planned, ips: attachment.ips });
  return {
    ...attachment,
    way,
    ...(recorded ? { head: recorded } : {}),
    ...(delegate ? { delegate } : {}),
  };
}

/** The real plugin, where CRISP_TEST_FLANNEL names it: Debian has none. */
async function installFlannel(directory: string): Promise<void> {
  const given = process.env['CRISP_TEST_FLANNEL'];
  const program = given || `${process.execPath} ${fileURLToPath(import.meta.resolve('./flannel-plugin.ts'))}`;
  await mkdir(directory);
  await writeFile(join(directory, 'flannel'), `#!/bin/sh\nexec ${program}\n`, { mode: 0o755 });
}

/** Names that are random: of the node's end of the pod's link. */
const isNodeEnd = ({ name, sandbox }: Readonly<Record<string, unknown>>): boolean =>
  sandbox === undefined && /^veth[0-9a-f]{8}$/.test(String(name));
