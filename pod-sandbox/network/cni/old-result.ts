/**
 * Results in the form of CNI 0.1.0 and 0.2.0: at most one address of each family, `ip4` and `ip6`, each with its gateway and
 * routes. Files without a version mean 0.1.0, and some plugins reply in this form whatever version is requested.
 */
type Json = Readonly<Record<string, unknown>>;

const FAMILIES = [
  ['ip4', '4'],
  ['ip6', '6'],
] as const;

export const isOldVersion = (version: string): boolean => version === '0.1.0' || version === '0.2.0';

/** Whether a plugin's result has the old form. */
export const isOldForm = (result: Json): boolean =>
  !('ips' in result) && FAMILIES.some(([key]) => result[key] !== undefined && result[key] !== null);

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** In the form of 0.3.0: `ips` and `routes`. What is not an object is passed on as it is, for the check to refuse it. */
export function fromOldForm(result: Json): Json {
  const ips: unknown[] = [];
  const routes: unknown[] = [];
  for (const [key, version] of FAMILIES) {
    const given = result[key];
    if (given === undefined || given === null) continue;
    if (!isObject(given)) {
      ips.push(given);
      continue;
    }
    const { ip, gateway, routes: own } = given;
    ips.push({ version, address: ip, ...(gateway ? { gateway } : {}) });
    if (!Array.isArray(own)) continue;
    const withGateway = (route: unknown) => (isObject(route) && gateway ? { gw: gateway, ...route } : route);
    routes.push(...own.map(withGateway));
  }
  const { ip4: _, ip6: _six, ...others } = result;
  return { ...others, ips, ...(routes.length > 0 ? { routes } : {}) };
}

/** For a plugin of the old version: the first address of each family. */
export function toOldForm({ cniVersion, ips, routes, dns }: Json): Json {
  const all = Array.isArray(ips) ? ips.filter(isObject) : [];
  const old: Record<string, unknown> = { cniVersion };
  for (const [key, version] of FAMILIES) {
    const ofFamily = (text: unknown) => String(text).includes(':') === (version === '6');
    const first = all.find(({ address }) => ofFamily(address));
    if (!first) continue;
    const { address, gateway } = first;
    const own = Array.isArray(routes)
      ? routes.filter((route) => isObject(route) && ofFamily(route['dst']))
      : [];
    old[key] = { ip: address, ...(gateway ? { gateway } : {}), ...(own.length > 0 ? { routes: own } : {}) };
  }
  return { ...old, ...(dns === undefined ? {} : { dns }) };
}
