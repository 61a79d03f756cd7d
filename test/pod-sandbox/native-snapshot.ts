/** All that a network leaves on the node and in its pods, in a form that two runs can be compared in. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kernel } from '#linux/kernel.ts';

export type Snapshot = Readonly<Record<string, unknown>>;

const SEPARATOR = '=====';
const sysctls = (paths: string) => `grep -rs . ${paths} | grep -v stable_secret`;
const NODE = [
  'ip -d -j addr',
  'ip -j -4 route show table all',
  'ip -j -6 route show table main',
  'bridge -d -j link',
  'iptables-save -t nat',
  'ip6tables-save -t nat',
  sysctls('/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf'),
];
const POD = [
  'ip -d -j addr',
  'ip -j -4 route show table all',
  'ip -j -6 route show table main',
  sysctls('/proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf'),
];

export interface Place {
  readonly kernel: Kernel;
  readonly directory: string;
  /** Of each pod: its namespace, and the node's end of its link where it has one. */
  readonly pods: readonly { readonly netns: string; readonly link: string | undefined }[];
}

/** Milliseconds in which the kernel tells the state of new links. */
const SETTLING = 3_000;

/** `settled`: waits until the kernel has found out which links carry frames; else that is left out. */
export async function snapshot(place: Place, settled: boolean): Promise<Snapshot> {
  for (const until = performance.now() + SETTLING; ; ) {
    const taken = await take(place, settled);
    const waiting = /"(NO-CARRIER|linkdown)"|"BROADCAST"[^\]]*\][^\]]*"operstate":"(DOWN|UNKNOWN)"/;
    if (!settled || performance.now() > until || !waiting.test(JSON.stringify(taken))) return taken;
  }
}

async function take(place: Place, states: boolean): Promise<Snapshot> {
  const plain = (text: string) =>
    place.pods.reduce((all, { link }, n) => (link ? all.replaceAll(link, `LINK${n}`) : all), text);
  const { kernel } = place;
  const view = { plain, chance: states ? CHANCE : STATES };
  const pods = place.pods.map(({ netns }) => look(kernel, POD, view, ['nsenter', `--net=${netns}`]));
  return {
    node: await look(kernel, NODE, view, []),
    pods: await Promise.all(pods),
    files: await filesBelow(place.directory),
  };
}

async function look(
  kernel: Kernel,
  commands: readonly string[],
  { plain, chance }: { readonly plain: (text: string) => string; readonly chance: RegExp },
  inside: readonly string[],
): Promise<unknown> {
  const argv = [...inside, 'sh', '-c', commands.join(`; echo ${SEPARATOR}; `)];
  const env = { PATH: process.env['PATH'] ?? '' };
  const output = await kernel.processes.run({ argv, env, limit: 1 << 24 }, AbortSignal.timeout(30_000));
  const parts = output.stdout.toString().split(`${SEPARATOR}\n`);
  if (parts.length !== commands.length) throw new Error(`${commands}: ${output.stderr}`);
  return Object.fromEntries(
    commands.map((command, n) => [command, comparable(plain(parts[n] ?? ''), chance)]),
  );
}

/** Without what time and chance decide: numbers of links, MAC addresses, timers, the kernel's link-local addresses. */
function comparable(text: string, chance: RegExp): unknown {
  const masked = text.replace(/\b(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}\b/g, 'MAC');
  if (!/^\s*\[/.test(masked)) {
    const lines = masked.split('\n').filter((line) => !line.startsWith('#'));
    return masked.startsWith('/proc/') ? lines.sort() : lines;
  }
  const list: Record<string, unknown>[] = JSON.parse(masked || '[]');
  return list
    .filter((entry) => !/^fe80|^ff00/.test(String(entry['dst'] ?? '')))
    .map((entry) => strip(entry, chance) as Record<string, unknown>)
    .filter((entry) => Object.keys(entry).length > 0)
    .sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
}

const CHANCE =
  /^link$|index|timer|netns|port_no|port_id|designated_port|life_time|tentative|bridge_id|designated|root|dadfailed/;
/** The same, with what becomes of a bridge's state when its last port is gone. */
const STATES = new RegExp(`${CHANCE.source}|^operstate$|^flags$|^state$`);

function strip(value: unknown, chance: RegExp): unknown {
  if (Array.isArray(value)) {
    const kept = value.filter((one) => one?.scope !== 'link' && one?.family !== 'none');
    return kept.map((one) => strip(one, chance));
  }
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key]) => !chance.test(key));
  return Object.fromEntries(kept.map(([key, content]) => [key, strip(content, chance)]));
}

async function filesBelow(directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of await readdir(directory, { recursive: true }).catch(() => [] as string[])) {
    const path = join(directory, name);
    const { mode } = await stat(path);
    const isFile = (mode & 0o170000) === 0o100000;
    found[name] = `${mode.toString(8)} ${isFile ? JSON.stringify(await readFile(path, 'utf8')) : ''}`;
  }
  return Object.fromEntries(Object.entries(found).sort());
}
