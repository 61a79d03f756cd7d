/** Conversions of values that several options share. */
import type { Convert, Result } from './option.ts';

const withoutSlash = (path: unknown): unknown =>
  typeof path === 'string' && path.length > 1 ? path.replace(/\/+$/, '') : path;

/** A directory, which the peers may write with a slash at its end. */
export const directory =
  (...to: readonly string[]): Convert =>
  (value) => ({ set: [[to, withoutSlash(value)]] });

/** Directories; where they are the peer's default, which is part of crisp's, nothing is set. */
export const directories =
  (fallback: readonly string[], same: string, ...to: readonly string[]): Convert =>
  (value) => {
    const list = (value as readonly unknown[]).map(withoutSlash);
    const isDefault =
      list.length === fallback.length && list.every((path, index) => path === fallback[index]);
    return isDefault ? { same } : { set: [[to, list]] };
  };

/** A duration in Go's form; one of zero means something else to each option. */
export const duration =
  (zero: Result, ...to: readonly string[]): Convert =>
  (value) =>
    isZero(value) ? zero : { set: [[to, value]] };

const isZero = (value: unknown): boolean => value === '' || /^0+(\.0+)?[a-zµ]*s?$/.test(String(value));

const LEVELS: Readonly<Record<string, string>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  '': 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  fatal: 'error',
  panic: 'error',
};

export const logLevel: Convert = (value) => {
  const level = LEVELS[String(value).toLowerCase()];
  if (level === undefined)
    return { cannot: 'crisp has the levels debug, info, warn and error: choose log.level' };
  const note = level === value || value === '' ? '' : `the nearest level of crisp is ${level}`;
  return { set: [[['log', 'level'], level]], ...(note === '' ? {} : { note }) };
};

/** `host:port`, with brackets around an IPv6 address. */
export const listenAddress = (host: unknown, port: unknown): string => {
  const text = String(host);
  return text.includes(':') && !text.startsWith('[') ? `[${text}]:${port}` : `${text}:${port}`;
};

/** An option that counts only while another one is on. */
export const onlyIf =
  (isOn: (around: Parameters<Convert>[1]) => boolean, why: string, convert: Convert): Convert =>
  (value, around) =>
    isOn(around) ? convert(value, around) : { same: why };

/** Something that crisp does not have: that is the same as off. */
export const offIsSame =
  (why: string, cannot: string, off: unknown = false): Convert =>
  (value) =>
    value === off ? { same: why } : { cannot };
