/** What pods, containers and pulls could leave behind on the machine and on the disk. */
import { spawnSync } from 'node:child_process';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kernel } from '#linux/ports/kernel.ts';

/** A busy machine needs more than half a minute to undo what a killed daemon has left. */
const WAIT_MS = 120_000;

/** Waits until nothing is found any more; throws with what is found at the end. */
export async function untilNone(what: string, find: () => string[]): Promise<void> {
  const limit = Date.now() + WAIT_MS;
  for (let found = find(); found.length > 0; found = find()) {
    if (Date.now() > limit)
      throw new Error(`${what}: ${found.length} left behind:\n  ${found.slice(0, 20).join('\n  ')}`);
    await sleep(20);
  }
}

export const listOf = (path: string): string[] => {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
};

function output(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Without counters. What plugins make once and keep is among them. */
export const packetRules = (): string[] =>
  output('iptables-save')
    .split('\n')
    .filter((line) => line.startsWith('-A') || line.startsWith(':'))
    .map((line) => line.replace(/\s*\[\d+:\d+\]/, ''));

export const veths = (): string[] =>
  (JSON.parse(output('ip', '-j', 'link', 'show', 'type', 'veth')) as { ifname: string }[]).map(
    ({ ifname }) => ifname,
  );

/** Of the test's own network namespace. */
export const flushPacketRules = (): void => {
  for (const verb of ['-F', '-X']) spawnSync('iptables', ['-t', 'nat', verb]);
};

export const deleteLink = (name: string): void => void spawnSync('ip', ['link', 'delete', name]);

export function commandOf(pid: number): string {
  try {
    const state = /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
    return `${state} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
  } catch {
    return '(gone)';
  }
}

/** The hierarchies that are mounted. */
export const cgroupRoots = (): string[] =>
  readFileSync('/proc/self/mountinfo')
    .toString()
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      return after.startsWith('cgroup') ? [before.split(' ')[4] ?? ''] : [];
    });

export interface ContainerPaths {
  readonly kernel: Kernel;
  /** Holds `root`, `state` and `cni` of the daemon. */
  readonly directory: string;
  /** Parent of the pods' cgroups. */
  readonly podGroup: string;
  /** Packet filter rules that are there without any pod. */
  readonly rules: readonly string[];
}

/** Layers stay mounted without pods, and go with their images or the daemon. */
const layerMounts = (directory: string): string => join(directory, 'state/images/layers');

export function residueOfPods({ kernel, directory, podGroup, rules }: ContainerPaths): string[] {
  const files = ['root/sandboxes', 'root/containers', 'state/sandboxes', 'state/containers', 'state/exits'];
  return [
    ...kernel.cgroups.processes(podGroup).map((pid) => `process ${pid} ${commandOf(pid)}`),
    ...cgroupRoots()
      .flatMap((root) => globSync(`${root}${podGroup}/*/`))
      .map((path) => `cgroup ${path}`),
    ...kernel.mounts
      .below(directory)
      .filter(({ target }) => !target.startsWith(layerMounts(directory)))
      .map(({ target }) => `mount ${target}`),
    ...files.flatMap((path) => listOf(join(directory, path)).map((name) => `file ${path}/${name}`)),
    ...globSync(join(directory, 'state/oci/*/*')).map((path) => `state of the OCI runtime ${path}`),
    ...globSync(join(directory, 'cni/ipam/*/10.*')).map((path) => `address ${path}`),
    ...packetRules()
      .filter((rule) => !rules.includes(rule))
      .map((rule) => `packet filter rule ${rule}`),
    ...veths().map((name) => `link ${name}`),
  ];
}

/** What a pull that was cut short has not given to an image. */
export const residueOfPulls = (directory: string): string[] =>
  listOf(join(directory, 'root/images/staging')).map((name) => `unfinished ${name}`);

/** Files and mounts of images and their layers. */
export function residueOfImages({
  kernel,
  directory,
}: Pick<ContainerPaths, 'kernel' | 'directory'>): string[] {
  const places = ['layers', 'images', 'retired', 'content/blobs/sha256'];
  const mounts = layerMounts(directory);
  return [
    ...places.flatMap((place) =>
      listOf(join(directory, 'root/images', place)).map((name) => `file ${place}/${name}`),
    ),
    // That of the directory on itself is the daemon's.
    ...listOf(mounts).map((name) => `mount point of a layer ${name}`),
    ...kernel.mounts
      .below(mounts)
      .filter(({ target }) => target !== mounts)
      .map(({ target }) => `mount of a layer ${target}`),
  ];
}
