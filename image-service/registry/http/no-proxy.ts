/** NO_PROXY as Go's programs read it (golang.org/x/net/http/httpproxy): nodes have one value for all of them. */
import { BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';

/** A host as a URL gives it: lower case, an IPv6 address without brackets. The port is never empty. */
export interface Address {
  readonly host: string;
  readonly port: string;
}

type Rule = (address: Address) => boolean;

/**
 * Whether an address is asked without a proxy: by `name` (and below), `.name` or `*.name` (below alone), an IP address,
 * each of them also with `:port`, a CIDR, or `*`, separated by commas. What is none of these is ignored.
 */
export function noProxy(list: string): (address: Address) => boolean {
  const entries = list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '');
  if (entries.includes('*')) return () => true;
  const rules = entries.flatMap((entry) => ruleOf(entry) ?? []);
  return (address) => isLocal(address) || rules.some((rule) => rule(address));
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** Where IPv6 has the addresses of IPv4. */
const MAPPED = new BlockList();
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6');

const isLocal = ({ host }: Address): boolean => host === 'localhost' || contains(LOOPBACK, host);

function ruleOf(entry: string): Rule | undefined {
  const [network = '', bits, ...more] = entry.split('/');
  if (bits !== undefined && more.length === 0 && isIP(network) > 0) return cidrRule(network, bits);
  const [name, port] = splitPort(entry);
  if (name === '') return undefined;
  const hasPort: Rule = (address) => port === '' || port === address.port;
  const family = familyOf(name);
  if (family) {
    const one = new BlockList();
    one.addAddress(name, family);
    return (address) => contains(one, address.host) && hasPort(address);
  }
  const below = name.startsWith('*.') ? name.slice(1) : name;
  const suffix = ascii(below.startsWith('.') ? below : `.${below}`);
  const own = below.startsWith('.') ? undefined : suffix.slice(1);
  return (address) => (address.host === own || address.host.endsWith(suffix)) && hasPort(address);
}

function cidrRule(network: string, bits: string): Rule | undefined {
  const family = familyOf(network);
  const limit = family === 'ipv4' ? 32 : 128;
  if (!family || !/^\d{1,3}$/.test(bits) || Number(bits) > limit) return undefined;
  const subnet = new BlockList();
  subnet.addSubnet(network, Number(bits), family);
  // Node finds addresses of IPv4 also in networks such as ::/0, Go in those that are theirs alone.
  const ofIPv4 = family === 'ipv4' || (contains(MAPPED, network) && Number(bits) >= 96);
  return ({ host }) => contains(subnet, host) && contains(MAPPED, host) === ofIPv4;
}

/** `host:port` and `[address]:port`; an IPv6 address without brackets has no port. */
function splitPort(entry: string): readonly [name: string, port: string] {
  const [, bracketed, ofBracketed = ''] = /^\[([^\]]*)\](?::(\d*))?$/.exec(entry) ?? [];
  if (bracketed !== undefined) return [bracketed, ofBracketed];
  const parts = entry.split(':');
  return parts.length === 2 ? [parts[0] ?? '', parts[1] ?? ''] : [entry, ''];
}

/** Undefined where it is not an address; one with a zone is not one for Go. */
function familyOf(text: string): 'ipv4' | 'ipv6' | undefined {
  if (text.includes('%')) return undefined;
  const family = isIP(text);
  return family === 4 ? 'ipv4' : family === 6 ? 'ipv6' : undefined;
}

function contains(list: BlockList, host: string): boolean {
  const family = familyOf(host);
  return family !== undefined && list.check(host, family);
}

/** A suffix begins with a dot, which a domain does not. */
function ascii(suffix: string): string {
  const isAscii = Buffer.byteLength(suffix) === suffix.length; // else `1` would become 0.0.0.1
  const name = isAscii ? '' : domainToASCII(suffix.slice(1));
  return name === '' ? suffix : `.${name}`;
}
