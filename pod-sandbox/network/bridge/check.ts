/** CHECK of an attachment that crisp has made: what its result says is still there. */
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { PodLink } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';

/** What differs from the recorded result, in words; empty where all is there. `found`: undefined where the link is gone. */
export function differences(
  { result, interfaceName }: Pick<Attachment, 'result' | 'interfaceName'>,
  found: PodLink | undefined,
): string[] {
  if (!result) return [];
  if (!found) return [`the pod has no link ${interfaceName}`];
  const own = (result.interfaces ?? []).findIndex(({ name, sandbox }) => name === interfaceName && sandbox);
  const mac = lower(result.interfaces?.[own]?.['mac']);
  const addresses = (result.ips ?? []).filter(({ interface: index }) => index === own);
  // Those of plugins behind are not checked before.
  const routes = (Array.isArray(result['routes']) ? (result['routes'] as unknown[]) : []).filter(isRoute);
  return [
    ...(found.up ? [] : [`its link ${interfaceName} carries no frames`]),
    ...(mac === undefined || mac === found.mac
      ? []
      : [`its link ${interfaceName} has the MAC address ${found.mac}, not ${mac}`]),
    ...addresses
      .filter(({ address }) => !found.addresses.includes(canonical(address)))
      .map(({ address }) => `its link ${interfaceName} lacks the address ${address}`),
    ...routes
      .filter(({ dst }) => !found.routes.some(({ to }) => to === canonical(dst)))
      .map(({ dst }) => `it has no route to ${dst} by ${interfaceName}`),
  ];
}

const lower = (text: unknown): string | undefined =>
  typeof text === 'string' && text !== '' ? text.toLowerCase() : undefined;

const isRoute = (route: unknown): route is { readonly dst: string } =>
  typeof route === 'object' && route !== null && 'dst' in route && typeof route.dst === 'string';

/** As the kernel's are written. */
function canonical(cidr: string): string {
  const [address = '', length = ''] = cidr.split('/');
  const ip = parseIp(address);
  return ip ? `${formatIp(ip)}/${length}` : cidr;
}
