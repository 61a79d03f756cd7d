/** The forms of plugins' configurations: which keys there are, and which values each may have. */

export type Check = (value: unknown) => boolean;
export type Form = Readonly<Record<string, Check>>;

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
export const fits =
  (form: Form): Check =>
  (value) =>
    isObject(value) &&
    Object.entries(value).every(([key, content]) => Object.hasOwn(form, key) && form[key]?.(content));
export const isBoolean: Check = (value) => typeof value === 'boolean';
export const isText: Check = (value) => typeof value === 'string';
export const isNumber: Check = (value) => typeof value === 'number';
export const isOff: Check = (value) => value === false;
export const isMtu: Check = (value) =>
  value === 0 || (Number.isInteger(value) && Number(value) >= 1280 && Number(value) <= 65_535);
export const isLinkName: Check = (value) =>
  typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(value);
export const isBackend: Check = (value) => value === 'iptables' || value === 'nftables';
export const isPath: Check = (value) => typeof value === 'string' && /^\/[^\0]*$/.test(value);
export const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);

/** Kept in each plugin of a list by some tools; crisp overrides them as it does for the plugins. */
export const frame: Form = { type: isText, name: isText, cniVersion: isText };
