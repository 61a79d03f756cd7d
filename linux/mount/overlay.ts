import { closeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { check, checkOutcome, errnoName, refused } from '../libc/errno.ts';
import { asynchronous, fsconfig, fsconfigCreate, fsopen, lastErrno, mount } from '../libc/libc.ts';
import type { Mounts } from '../ports/kernel.ts';
import {
  attach,
  FSOPEN_CLOEXEC,
  kernelMessages,
  SET_FLAG,
  SET_STRING,
  VALUE_LIMIT,
} from './file-system-context.ts';
import { ShortNames } from './short-names.ts';

type Overlay = Parameters<Mounts['overlay']>[0];

const MS_RDONLY = 1;
/** mount(2) takes one page for all options. */
const PAGE = 4095;
/**
 * Bytes of lower layers in the mount's line of /proc/self/mountinfo. Readers in Go, the OCI runtime among them, refuse
 * lines of 64 KiB, so that one such mount would keep all containers of the node from starting.
 */
const LINE_LIMIT = 32 << 10;

/**
 * Mounts an overlay. Linux 6.7 and later take each lower layer by itself (`lowerdir+`), so that their number has no
 * limit but the kernel's own of 500; older ones get all of them in one string of short names.
 */
export async function mountOverlay(request: Overlay): Promise<void> {
  const what = `mount overlay at ${request.target}`;
  if (request.lower.length === 0) throw new CrispError('InvalidArgument', `${what}: no lower layer`);
  if ((request.upper === undefined) !== (request.work === undefined)) {
    throw new CrispError('InvalidArgument', `${what}: upper and work go together`);
  }
  using names = new ShortNames();
  const context = fsopen('overlay', FSOPEN_CLOEXEC);
  if (context < 0 && errnoName(lastErrno()) === 'ENOSYS') return await mountInOneString(request, names, what);
  check(context, what);
  try {
    if (!configure(context, request, names, what)) return await mountInOneString(request, names, what);
    const created = await fsconfigCreate(context);
    if (created.result < 0) {
      const messages = kernelMessages(context);
      // Before Linux 6.5 overlay took its options as one string: options are only parsed then, without a message.
      if (errnoName(created.errno) === 'EINVAL' && messages === '')
        return await mountInOneString(request, names, what);
      throw refused(what, created.errno, messages);
    }
    await attach(context, request.target, request.upper === undefined, what);
  } finally {
    closeSync(context);
  }
}

/**
 * How kernels before 6.7 refuse `lowerdir+`: those that parse parameters do not know it, and those before 6.5 only collect them, and
 * notice that they are more than a page (fs/fs_context.c).
 */
const TAKES_ONE_STRING = /unknown parameter|legacy: cumulative options too large/i;

/** Sets all parameters; false where the kernel does not know `lowerdir+`. */
function configure(context: number, request: Overlay, names: ShortNames, what: string): boolean {
  const isLong = request.lower.reduce((sum, path) => sum + Buffer.byteLength(path) + 1, 0) > LINE_LIMIT;
  const value = (path: string) => (fits(path) && !isLong ? path : names.of(path));
  const set = (key: string, text: string, shown = `${key}=${text}`) => {
    if (fsconfig(context, SET_STRING, key, text) >= 0) return true;
    const errno = lastErrno();
    const messages = kernelMessages(context);
    if (errnoName(errno) === 'EINVAL' && TAKES_ONE_STRING.test(messages)) return false;
    throw refused(`${what}: ${shown}`, errno, messages);
  };
  const { lower, upper, work, options = [] } = request;
  if (!set('source', 'overlay')) return false;
  for (const layer of lower) if (!set('lowerdir+', value(layer), `layer ${layer}`)) return false;
  if (upper !== undefined && !set('upperdir', value(upper))) return false;
  if (work !== undefined && !set('workdir', value(work))) return false;
  if (request.volatile) fsconfig(context, SET_FLAG, 'volatile', null);
  for (const option of options) {
    const [key = '', ...rest] = option.split('=');
    if (rest.length > 0) {
      if (!set(key, rest.join('='))) return false;
    } else if (fsconfig(context, SET_FLAG, key, null) < 0)
      throw refused(`${what}: ${key}`, lastErrno(), kernelMessages(context));
  }
  return true;
}

/** Whether the kernel takes the path as it is: short, and without the characters that overlay gives a meaning. */
const fits = (path: string): boolean => Buffer.byteLength(path) <= VALUE_LIMIT && !/[\\:,]/.test(path);

/** By mount(2). Each layer is a short name of about 18 bytes: some 200 fit. */
async function mountInOneString(request: Overlay, names: ShortNames, what: string): Promise<void> {
  const options = [`lowerdir=${request.lower.map((layer) => names.of(layer)).join(':')}`];
  if (request.upper !== undefined) options.push(`upperdir=${names.of(request.upper)}`);
  if (request.work !== undefined) options.push(`workdir=${names.of(request.work)}`);
  const data = [...options, ...(request.options ?? []).map(quoted)].join(',');
  const size = Buffer.byteLength(data);
  if (size > PAGE) {
    throw new CrispError(
      'KernelRefused',
      `${what}: ${request.lower.length} layers do not fit into one page of options`,
      {
        hint: 'use Linux 6.7 or later, or an image with fewer layers',
      },
    );
  }
  const flags = request.upper === undefined ? MS_RDONLY : 0;
  const by = (text: string) => asynchronous(mount, 'overlay', request.target, 'overlay', flags, text);
  const isVolatile = request.volatile === true && size + ',volatile'.length <= PAGE;
  let outcome = await by(isVolatile ? `${data},volatile` : data);
  // Before Linux 5.10 there is no such option; others may be refused with the same number.
  if (isVolatile && outcome.result < 0 && errnoName(outcome.errno) === 'EINVAL') outcome = await by(data);
  checkOutcome(outcome, request.options?.length ? `${what} with ${request.options.join(',')}` : what);
}

/**
 * An option of mount(2)'s one string. A comma ends it there unless it is in quotes, which the kernel removes for
 * the labels of security modules (selinux_sb_eat_lsm_opts): `context="…:s0:c1,c2"`. fsconfig(2) takes values as they are.
 */
export function quoted(option: string): string {
  const at = option.indexOf('=');
  const value = option.slice(at + 1);
  if (at < 0 || !/[,"]/.test(value)) return option;
  if (!value.includes('"')) return `${option.slice(0, at)}="${value}"`;
  throw new CrispError('InvalidArgument', `mount option ${option} contains a quotation mark`, {
    hint: 'give a label without one',
  });
}
