/** The parts of an attachment in this process: the links to create, the rules to write, and the CNI result. */
import type { SandboxId } from '#core/ids.ts';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { JoinedBridge, JoinRequest } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';
import { type CniResult, parseResult } from '../cni/result.ts';
import type { PodRules, PublishedPort } from './nat-rules.ts';
import type { AddressRange, BridgePlan } from './plan.ts';

/** An address of the pod. */
export interface AssignedAddress {
  readonly range: AddressRange;
  readonly ip: string;
}

interface Route {
  readonly dst: string;
  readonly gw?: string;
}

/** The index of the pod's own interface in the result. */
const POD_INTERFACE = 2;

const gatewayOf = ({ family, gateway }: AddressRange): string => formatIp({ family, value: gateway });

/** As `request.ts` has planned them. */
export const publishedPorts = (capabilities: Attachment['capabilities']): readonly PublishedPort[] =>
  (capabilities['portMappings'] as readonly PublishedPort[] | undefined) ?? [];

/** The rules of each family that the network has. */
export function podRules(
  id: SandboxId,
  { config, capabilities }: Attachment,
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
): PodRules[] {
  return plan.ranges.map(({ family, prefixLength }) => {
    const ip = assigned.find(({ range }) => range.family === family)?.ip;
    return {
      network: config.name,
      id,
      family,
      address: ip === undefined ? undefined : { ip, prefixLength },
      masquerade: plan.masquerade,
      ports: plan.portmap ? publishedPorts(capabilities) : [],
      snat: plan.portmap?.snat ?? false,
    };
  });
}

export function joinRequest(
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
  rules: readonly PodRules[],
  pod: { readonly netns: string; readonly interfaceName: string },
): JoinRequest {
  const { bridge, mtu, hairpin, loopback } = plan;
  const local = rules.find(({ family, ports, snat }) => family === 4 && ports.length > 0 && snat);
  const bridgeAddresses = assigned.map(({ range }) => ({
    address: gatewayOf(range),
    prefixLength: range.prefixLength,
  }));
  return {
    ...pod,
    bridge,
    mtu,
    hairpin,
    loopback,
    addresses: assigned.map(({ range, ip }) => ({ address: ip, prefixLength: range.prefixLength })),
    gateways: plan.gateway ? bridgeAddresses : [],
    routes: routesOf(plan, assigned).map((route) => throughGateway(route, assigned)),
    localnet: local?.address?.ip,
  };
}

/** As the plugin bridge prints it. */
export function resultOf(
  { config, interfaceName }: Attachment,
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
  { joined, netns }: { readonly joined: JoinedBridge; readonly netns: string },
): CniResult {
  const routes = routesOf(plan, assigned);
  const result = {
    interfaces: [
      { name: plan.bridge, mac: joined.bridgeMac },
      { name: joined.nodeName, mac: joined.nodeMac },
      { name: interfaceName, mac: joined.podMac, sandbox: netns },
    ],
    ips: assigned.map(({ range, ip }) => ({
      interface: POD_INTERFACE,
      address: `${ip}/${range.prefixLength}`,
      gateway: gatewayOf(range),
    })),
    ...(routes.length > 0 ? { routes } : {}),
    dns: {},
  };
  return parseResult(JSON.stringify(result), config.cniVersion);
}

/** With a default route of each family where the bridge is to be that. */
function routesOf(plan: BridgePlan, assigned: readonly AssignedAddress[]): Route[] {
  const routes = plan.routes.map(({ destination, prefixLength, gateway }) => ({
    dst: `${destination}/${prefixLength}`,
    ...(gateway === undefined ? {} : { gw: gateway }),
  }));
  if (!plan.defaultGateway) return routes;
  const defaults = assigned.map(({ range }) => ({
    dst: range.family === 4 ? '0.0.0.0/0' : '::/0',
    gw: gatewayOf(range),
  }));
  return [...routes, ...defaults];
}

/** A route without a gateway goes by that of the pod's own address. */
function throughGateway(
  { dst, gw }: Route,
  assigned: readonly AssignedAddress[],
): JoinRequest['routes'][number] {
  const [destination = '', length] = dst.split('/');
  const own = assigned.find(({ range }) => range.family === parseIp(destination)?.family);
  return { destination, prefixLength: Number(length), gateway: gw ?? (own ? gatewayOf(own.range) : '') };
}
