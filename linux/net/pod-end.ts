/** What bridge.ts and pair.ts share: the pod's veth pair, and sysctls. Synchronous; for the namespace worker. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { CrispError, errnoOf } from '#core/errors.ts';
import { namingSync } from '../libc/errno.ts';
import { OpenFile } from '../namespace/setns.ts';
import type { LeaveRequest } from '../ports/kernel.ts';
import { type IpAddress, parseIp } from './ip-address.ts';
import type { FoundLink, RtnetlinkSocket } from './rtnetlink.ts';

/** How many random names are tried. */
const NAMES = 10;

/** Returns the name of the node's end. */
export function addPair(
  links: RtnetlinkSocket,
  { netns, interfaceName, mtu }: LeaveRequest & { readonly mtu: number },
): string {
  using namespace = new OpenFile(netns);
  for (let left = NAMES; ; left--) {
    const name = `veth${randomBytes(4).toString('hex')}`;
    try {
      links.addVeth({ name, peer: interfaceName, peerNamespace: namespace.fd, mtu });
      return name;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || left === 1) throw error;
      if (links.find(name)) continue;
      throw new CrispError('NetworkFailed', `the pod has a link ${interfaceName} already`, { cause: error });
    }
  }
}

/** The node may have IPv6 disabled for new links. */
export function allowIpv6(name: string): void {
  const key = `ipv6/conf/${name}/disable_ipv6`;
  if (setting(key) === '1') set(key, '0');
}

/** Lets what comes from 127.0.0.0/8 be forwarded to the pod: for host ports on localhost. */
export function allowLocalnet(links: RtnetlinkSocket, pod: IpAddress): void {
  const index = links.linkTo(pod);
  if (index !== undefined) set(`ipv4/conf/${links.nameOf(index)}/route_localnet`, '1');
}

/** Has the node forward packets of the family. */
export function forward(family: 4 | 6): void {
  const key = family === 4 ? 'ipv4/ip_forward' : 'ipv6/conf/all/forwarding';
  if (setting(key) !== '1') set(key, '1');
}

export function mustFind(links: RtnetlinkSocket, name: string): FoundLink {
  const found = links.find(name);
  if (found) return found;
  throw new CrispError('NetworkFailed', `the link ${name} is gone`, {
    hint: 'see which other program changes the links of this node',
  });
}

export function requireIp(text: string): IpAddress {
  const ip = parseIp(text);
  if (ip) return ip;
  throw new CrispError('InvalidArgument', `${JSON.stringify(text)} is not an IP address`);
}

const path = (key: string): string => `/proc/sys/net/${key}`;
export const setting = (key: string): string =>
  namingSync(`read sysctl ${key}`, () => readFileSync(path(key), 'utf8').trim());
export const set = (key: string, value: string): void =>
  namingSync(`set sysctl ${key} to ${value}`, () => writeFileSync(path(key), value, { flag: 'r+' }));

/** For settings that a kernel may lack. */
export function trySysctl(key: string, value: string): void {
  try {
    set(key, value);
  } catch {
    // A kernel without IPv6 has no such key, and nothing for it to prevent.
  }
}
