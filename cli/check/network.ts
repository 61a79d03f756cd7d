/** The network of pods, and what listens where. */
import type { Node } from '#daemon/preflight/node.ts';
import { cniChecks } from './cni.ts';
import { forwardingChecks } from './forwarding.ts';
import { iptablesCheck } from './iptables.ts';
import { kubeletChecks } from './kubelet.ts';
import { linkManagersCheck } from './link-managers.ts';
import { nriCheck } from './nri.ts';
import { podNetworkChecks } from './pod-network.ts';
import { type Check, failure, ok, type Result } from './result.ts';

export const networkChecks: readonly Check[] = [
  ...cniChecks,
  ...podNetworkChecks,
  iptablesCheck,
  ...forwardingChecks,
  linkManagersCheck,
  { id: 'socket', run: (node) => socket(node, 'socket', node.config.socket) },
  { id: 'admin-socket', run: (node) => socket(node, 'admin_socket', node.config.adminSocket) },
  nriCheck,
  { id: 'ports', run: ports },
  ...kubeletChecks,
];

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
