/** The network of pods, and what listens where. */
import { CrispError, describeError } from '#core/errors.ts';
import { installing, packages } from '#daemon/preflight/distribution.ts';
import type { Node } from '#daemon/preflight/node.ts';
import { kubeletChecks } from './kubelet.ts';
import { distribution } from './programs.ts';
import { type Check, failure, ok, type Result, warning } from './result.ts';

/** Made by crisp itself where it can. */
const NATIVE = new Set(['bridge', 'host-local', 'portmap', 'loopback']);

export const networkChecks: readonly Check[] = [
  { id: 'cni', run: cni },
  {
    id: 'iptables',
    async run(node, signal) {
      try {
        const { path, version } = await node.program('iptables', signal);
        return ok(`${path}, ${version}`);
      } catch (error) {
        return warning(
          `${describeError(error)}: masquerading and host ports of the bridge network need it`,
          installing(packages.iptables, distribution(node)),
        );
      }
    },
  },
  { id: 'socket', run: (node) => socket(node, 'socket', node.config.socket) },
  { id: 'admin-socket', run: (node) => socket(node, 'admin_socket', node.config.adminSocket) },
  { id: 'ports', run: ports },
  ...kubeletChecks,
];

async function cni(node: Node): Promise<Result> {
  const { confDir, binDirs } = node.config.cni;
  try {
    const { name, cniVersion, plugins, source } = await node.network();
    const types = plugins
      .flatMap((plugin) => [plugin.type, ipamOf(plugin['ipam'])])
      .filter((type) => type !== '');
    const missing = types.filter((type) => !binDirs.some((directory) => node.exists(`${directory}/${type}`)));
    const found = `network ${name} of ${source}, CNI ${cniVersion}, plugins ${types.join(' ')}`;
    if (missing.length === 0) return ok(found);
    const remedy = `${installing(packages.plugins, distribution(node))}; or add their directory to cni.bin_dirs`;
    const lacks = `${found}; not in ${binDirs.join(':')}: ${missing.join(' ')}`;
    const isNative = node.config.cni.native === 'auto' && types.every((type) => NATIVE.has(type));
    return isNative ? warning(`${lacks} (crisp makes this network itself)`, remedy) : failure(lacks, remedy);
  } catch (error) {
    const remedy = error instanceof CrispError ? error.hint : `put a CNI configuration into ${confDir}`;
    const found = describeError(error);
    // Network add-ons write one when the node has joined the cluster; the daemon serves without it.
    if (!/^no CNI configuration in/.test(found)) return failure(found, remedy);
    return warning(`${found}: the node is NotReady until there is one`, remedy);
  }
}

const ipamOf = (ipam: unknown): string =>
  typeof ipam === 'object' && ipam !== null && 'type' in ipam && typeof ipam.type === 'string'
    ? ipam.type
    : '';

async function socket(node: Node, key: string, path: string): Promise<Result> {
  const state = await node.socket(path);
  const pid = node.daemon;
  if (state === 'activated')
    return ok(
      pid === undefined
        ? `${path}, where systemd listens: a call starts the daemon`
        : `${path}, where systemd listens for the daemon (pid ${pid})`,
    );
  if (state === 'served' && pid === undefined)
    return failure(`${path} is served by another program`, `stop it, or set ${key}`);
  if (state === 'served') return ok(`${path}, served by the daemon (pid ${pid})`);
  if (state === 'not a socket')
    return failure(`${path} exists and is not a socket`, `move it away, or set ${key}`);
  if (pid !== undefined)
    return failure(`${path} is not served, but a daemon runs (pid ${pid})`, 'see its log, or restart it');
  return ok(`${path} is free`);
}

async function ports(node: Node): Promise<Result> {
  const { metrics, streaming } = node.config;
  const all = [
    ['metrics.address', metrics.address],
    ['streaming.address', streaming.address],
  ] as const;
  const fixed = all.filter(([, address]) => address !== '' && !address.endsWith(':0'));
  if (fixed.length === 0) return ok('none is configured: metrics are off, and sessions use a free one');
  const found: string[] = [];
  const wrong: string[] = [];
  for (const [key, address] of fixed) {
    const port = await node.port(address);
    if (port.state === 'free') found.push(`${key} ${address} is free`);
    else if (port.state === 'unusable') wrong.push(`${key}: ${port.why}`);
    else if (port.pid !== undefined && port.pid === node.daemon)
      found.push(`${key} ${address} is served by the daemon (pid ${port.pid})`);
    else wrong.push(`${key}: ${address} is in use by ${port.program}${port.pid ? ` (pid ${port.pid})` : ''}`);
  }
  if (wrong.length === 0) return ok(found.join(', '));
  const keys = fixed.filter(([key]) => wrong.some((text) => text.startsWith(key))).map(([key]) => key);
  return failure(
    wrong.join('; '),
    `end that program, or set ${keys.join(', ')} to a free address of this node`,
  );
}
