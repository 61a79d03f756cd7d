/** Which of a pod's addresses is its main one: the first of a family, or as the plugins have them. */
import { isIP } from 'node:net';

export type IpPreference = 'cni' | 'ipv4' | 'ipv6';

/** The first address of the family before the others, which keep their order; unchanged where there is none of it. */
export function inPreferredOrder(ips: readonly string[], preference: IpPreference): readonly string[] {
  const family = { cni: 0, ipv4: 4, ipv6: 6 }[preference];
  const at = ips.findIndex((ip) => isIP(ip) === family);
  return at <= 0 ? ips : [...ips.slice(at, at + 1), ...ips.toSpliced(at, 1)];
}
