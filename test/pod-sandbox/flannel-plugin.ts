/**
 * A stand-in for the CNI plugin `flannel`, which Debian does not package: what flannel-io/cni-plugin 1.9.1 does for a
 * delegate. It is compared with crisp's own way of it, so it shares no code with that.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

type Json = Record<string, unknown>;

const { CNI_COMMAND: command, CNI_CONTAINERID: id = '', CNI_PATH: path = '' } = process.env;
const input = readFileSync(0, 'utf8');
const config: Json = JSON.parse(input);
const dataDir = String(config['dataDir'] ?? '/var/lib/cni/flannel');
const kept = join(dataDir, id);

/** Calls the delegate with the plugin's own environment; its output and exit code are the plugin's. */
function call(netconf: string): number {
  const { type } = JSON.parse(netconf);
  const program = path.split(':').map((directory) => join(directory, type));
  const { status } = spawnSync(program.find((file) => existsSync(file)) ?? type, {
    input: netconf,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  return status ?? 1;
}

/** Keys in order, as Go writes maps. */
const ordered = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(ordered)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .toSorted(([one], [other]) => (one < other ? -1 : 1))
            .map(([key, content]) => [key, ordered(content)]),
        )
      : value;

/** Without the host's bits; only for the prefix lengths of the tests. */
function masked(cidr: string): string {
  const [address = '', length = ''] = cidr.split('/');
  if (!address.includes(':') && length === '24') return `${address.replace(/\.\d+$/, '.0')}/24`;
  return cidr.replace(/::1\//, '::/');
}

function add(): number {
  const env: Record<string, string> = {};
  const file = String(config['subnetFile'] ?? '/run/flannel/subnet.env');
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [key = '', value = ''] = line.split('=');
    env[key] = value;
  }
  const delegate = (config['delegate'] ?? {}) as Json;
  const ipam = (config['ipam'] ?? {}) as Json;
  const routes = ((ipam['routes'] ?? []) as Json[]).map(({ dst }) => ({ dst: String(dst).toLowerCase() }));
  const subnets = [env['FLANNEL_SUBNET'], env['FLANNEL_IPV6_SUBNET']].filter(
    (subnet) => subnet !== undefined,
  );
  for (const networks of [env['FLANNEL_NETWORK'], env['FLANNEL_IPV6_NETWORK']])
    for (const dst of networks?.split(',') ?? []) routes.push({ dst });
  delegate['name'] = config['name'];
  delegate['type'] ??= 'bridge';
  delegate['ipMasq'] ??= env['FLANNEL_IPMASQ'] !== 'true';
  delegate['mtu'] ??= Number(env['FLANNEL_MTU']);
  delegate['isGateway'] ??= true;
  delegate['cniVersion'] = config['cniVersion'];
  ipam['type'] ??= 'host-local';
  ipam['ranges'] = subnets.map((subnet) => [{ subnet: masked(subnet) }]);
  ipam['routes'] = routes;
  delegate['ipam'] = ipam;
  const netconf = JSON.stringify(ordered(delegate));
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  writeFileSync(kept, netconf, { mode: 0o600 });
  return call(netconf);
}

function remove(): number {
  if (!existsSync(kept)) return 0;
  const status = call(readFileSync(kept, 'utf8'));
  if (status === 0) rmSync(kept);
  return status;
}

process.exitCode = command === 'ADD' ? add() : remove();
