/** The parts of an attachment in this process: the links to create, the rules to write, and the CNI result. */
import type { SandboxId } from '#core/ids.ts';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { JoinedBridge, JoinRequest, MadePair, PairRequest } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';
import { type CniResult, parseResult } from '../cni/result.ts';
import type { PodRules, PublishedPort } from './nat-rules.ts';
import type { AddressRange, BridgePlan } from './plan.ts';
import { macOf } from './tuning.ts';

/** An address of the pod. */
export interface AssignedAddress {
  readonly range: AddressRange;
  readonly ip: string;
}

interface Route {
  readonly dst: string;
  readonly gw?: string;
}

const gatewayOf = ({ family, gateway }: AddressRange): string => formatIp({ family, value: gateway });

/** As `request.ts` has planned them. */
export const publishedPorts = (capabilities: Attachment['capabilities']): readonly PublishedPort[] =>
  (capabilities['portMappings'] as readonly PublishedPort[] | undefined) ?? [];

/** The rules of each family that the network has. */
export function podRules(
  id: SandboxId,
  { config, capabilities, interfaceName }: Attachment,
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
): PodRules[] {
  return plan.ranges.map(({ family, prefixLength }) => {
    const ip = assigned.find(({ range }) => range.family === family)?.ip;
    return {
      network: config.name,
      id,
      interfaceName,
      family,
      address: ip === undefined ? undefined : { ip, prefixLength },
      masquerade: plan.masquerade,
      ports: plan.portmap ? publishedPorts(capabilities) : [],
      snat: plan.portmap?.snat ?? false,
      publishes: plan.portmap !== undefined,
      backends: plan.backends,
    };
  });
}

export interface PodEnd {
  readonly netns: string;
  readonly interfaceName: string;
}

export function joinRequest(
  bridge: string,
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
  rules: readonly PodRules[],
  pod: PodEnd,
): JoinRequest {
  const { mtu, hairpin, loopback, forceAddress } = plan;
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
    forceAddress,
    addresses: assigned.map(({ range, ip }) => ({ address: ip, prefixLength: range.prefixLength })),
    gateways: plan.gateway ? bridgeAddresses : [],
    routes: routesOf(plan, assigned).map((route) => throughGateway(route, assigned)),
    localnet: localnetOf(rules),
  };
}

export function pairRequest(
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
  rules: readonly PodRules[],
  pod: PodEnd,
): PairRequest {
  const { mtu, loopback } = plan;
  return {
    ...pod,
    mtu,
    loopback,
    addresses: assigned.map(({ range, ip }) => ({
      address: ip,
      prefixLength: range.prefixLength,
      gateway: gatewayOf(range),
    })),
    routes: routesOf(plan, assigned).map((route) => throughGateway(route, assigned)),
    localnet: localnetOf(rules),
  };
}

/** The pod's IPv4 address, where published ports are to be reached from localhost. */
const localnetOf = (rules: readonly PodRules[]): string | undefined =>
  rules.find(({ family, ports, snat }) => family === 4 && ports.length > 0 && snat)?.address?.ip;

export interface MadeLinks {
  readonly joined: JoinedBridge | MadePair;
  /** For what leaves the pod, where that is limited. */
  readonly device: { readonly name: string; readonly mac: string } | undefined;
}

/** As the plugins print it. */
export function resultOf(
  { config, interfaceName, capabilities }: Attachment,
  plan: BridgePlan,
  assigned: readonly AssignedAddress[],
  { joined, netns, device }: MadeLinks & { readonly netns: string },
): CniResult {
  const routes = routesOf(plan, assigned);
  const interfaces = [
    ...('bridgeMac' in joined ? [{ name: plan.bridge, mac: joined.bridgeMac }] : []),
    { name: joined.nodeName, mac: joined.nodeMac },
    { name: interfaceName, mac: joined.podMac, sandbox: netns },
  ];
  const mac = macOf(plan.tuning, capabilities);
  const tuned = interfaces.map((link) =>
    mac !== undefined && link.name === interfaceName ? { ...link, mac } : link,
  );
  const result = {
    interfaces: [...tuned, ...(device ? [device] : [])],
    ips: assigned.map(({ range, ip }) => ({
      interface: interfaces.length - 1,
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
