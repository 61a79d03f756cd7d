/** All that a network leaves on the node and in its pods, in a form that two runs can be compared in. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kernel } from '#linux/ports/kernel.ts';
import { GIVEN_MAC } from './native-cases.ts';

export type Snapshot = Readonly<Record<string, unknown>>;

const RANDOM_MAC = /\b(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}\b/g;
const SEPARATOR = '=====';
const sysctls = (paths: string) => `grep -rs . ${paths} | grep -v stable_secret`;
const NODE = [
  'ip -d -j addr',
  'ip -j -4 route show table all',
  'ip -j -6 route show table main',
  'bridge -d -j link',
  'iptables-save -t nat',
  'ip6tables-save -t nat',
  'iptables-save -t filter',
  'ip6tables-save -t filter',
  'tc -j qdisc show',
  'for l in $(ip -o link show type veth | cut -d: -f2 | cut -d@ -f1); do tc filter show dev $l ingress; done',
  sysctls('/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf'),
];
const POD = [
  'ip -d -j addr',
  'ip -j -4 route show table all',
  'ip -j -6 route show table main',
  sysctls(
    '/proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_local_port_range /proc/sys/net/core/somaxconn',
  ),
];

export interface Place {
  readonly kernel: Kernel;
  readonly directory: string;
  /** Of each pod: its namespace, and the node's end of its link where it has one. */
  readonly pods: readonly { readonly netns: string; readonly link: string | undefined }[];
}

/** Milliseconds within which the kernel reports the state of a pod's new links. */
const SETTLING = 3_000;

/** `live`: waits until the links of the pods are seen to carry frames. */
export async function snapshot(place: Place, live: boolean): Promise<Snapshot> {
  const plain = (text: string) =>
    place.pods.reduce((all, { link }, n) => (link ? all.replaceAll(link, `LINK${n}`) : all), text);
  const { kernel } = place;
  const pods = place.pods.map(({ netns }) => inside(kernel, plain, netns, live));
  return {
    node: await snapshotOf(kernel, NODE, { plain, loose: true }, []),
    pods: await Promise.all(pods),
    files: await filesBelow(place.directory),
  };
}

async function inside(
  kernel: Kernel,
  plain: (text: string) => string,
  netns: string,
  live: boolean,
): Promise<unknown> {
  for (const until = performance.now() + SETTLING; ; ) {
    const seen = await snapshotOf(kernel, POD, { plain, loose: !live }, ['nsenter', `--net=${netns}`]);
    if (!live || performance.now() > until || !/"(NO-CARRIER|linkdown)"/.test(JSON.stringify(seen)))
      return seen;
  }
}

interface View {
  readonly plain: (text: string) => string;
  /** Without the state of the carrier, which the kernel reports late: a bridge's changes with its ports. */
  readonly loose: boolean;
}

async function snapshotOf(
  kernel: Kernel,
  commands: readonly string[],
  { plain, loose }: View,
  enter: readonly string[],
): Promise<unknown> {
  const argv = [...enter, 'sh', '-c', commands.join(`; echo ${SEPARATOR}; `)];
  const env = { PATH: process.env['PATH'] ?? '' };
  const output = await kernel.processes.run({ argv, env, limit: 1 << 24 }, AbortSignal.timeout(30_000));
  const parts = output.stdout.toString().split(`${SEPARATOR}\n`);
  if (parts.length !== commands.length) throw new Error(`${commands}: ${output.stderr}`);
  return Object.fromEntries(
    commands.map((command, n) => [command, comparable(plain(parts[n] ?? ''), loose)]),
  );
}

/** Without what time and chance decide: numbers of links, MAC addresses, timers, the kernel's link-local addresses. */
function comparable(text: string, loose: boolean): unknown {
  const masked = text
    .replace(RANDOM_MAC, (mac) => (GIVEN_MAC.test(mac) ? mac : 'MAC'))
    .replace(/\bindex \d+/g, 'index N');
  if (!/^\s*\[/.test(masked)) {
    const lines = masked.split('\n').filter((line) => !line.startsWith('#'));
    return masked.startsWith('/proc/') ? lines.sort() : lines;
  }
  const list: Record<string, unknown>[] = JSON.parse(masked || '[]');
  return list
    .filter((entry) => !/^fe80|^ff00/.test(String(entry['dst'] ?? '')))
    .map((entry) => strip(entry, loose) as Record<string, unknown>)
    .filter((entry) => Object.keys(entry).length > 0)
    .sort((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1));
}

const CHANCE =
  /^link$|index|timer|netns|port_no|port_id|designated_port|life_time|tentative|bridge_id|designated|root|dadfailed/;
const CARRIER = ['NO-CARRIER', 'LOWER_UP', 'linkdown'];

function strip(value: unknown, loose: boolean): unknown {
  if (Array.isArray(value)) {
    const kept = value.filter((one) => one?.scope !== 'link' && one?.family !== 'none');
    return kept.filter((one) => !(loose && CARRIER.includes(one))).map((one) => strip(one, loose));
  }
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key]) => !CHANCE.test(key) && !(loose && key === 'operstate'));
  return Object.fromEntries(kept.map(([key, content]) => [key, strip(content, loose)]));
}

async function filesBelow(directory: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of await readdir(directory, { recursive: true }).catch(() => [] as string[])) {
    const path = join(directory, name);
    const { mode } = await stat(path);
    const isFile = (mode & 0o170000) === 0o100000;
    // What tuning keeps of a link that is gone.
    const content = isFile ? (await readFile(path, 'utf8')).replace(RANDOM_MAC, 'MAC') : undefined;
    found[name] = `${mode.toString(8)} ${content === undefined ? '' : JSON.stringify(content)}`;
  }
  return Object.fromEntries(Object.entries(found).sort());
}
