import { closeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { errnoName, refused } from '../libc/errno.ts';
import { fsconfig, fsconfigCreate, fsopenAsync, lastErrno } from '../libc/libc.ts';
import type { Mounts } from '../ports/kernel.ts';
import { backingDevices, readAheadAs } from './erofs-readahead.ts';
import { checkErofsImage } from './erofs-superblock.ts';
import {
  attach,
  FSOPEN_CLOEXEC,
  kernelMessages,
  SET_FLAG,
  SET_STRING,
  VALUE_LIMIT,
} from './file-system-context.ts';
import { LoopDevice } from './loop.ts';
import { ShortNames } from './short-names.ts';

/** Mounts an EROFS image; see `Mounts.erofs`. */
export async function mountErofs(request: Parameters<Mounts['erofs']>[0]): Promise<void> {
  const { image, target, by, direct = false, context } = request;
  const what = `mount erofs ${image} at ${target}`;
  await checkErofsImage(image, what);
  if (by === 'loop') {
    await using device = await LoopDevice.attach(image, what);
    return await mountFrom(device.path, { target, context, reading: 'as a disk' }, what);
  }
  using names = new ShortNames();
  const before = await backingDevices();
  const source = Buffer.byteLength(image) > VALUE_LIMIT ? names.of(image) : image;
  const reading = direct ? 'directly' : 'directly if possible';
  await mountFrom(source, { target, context, reading }, what);
  await readAheadAs(image, before);
}

type Reading = 'as a disk' | 'directly' | 'directly if possible';

async function mountFrom(
  source: string,
  {
    target,
    context: label,
    reading,
  }: Pick<Parameters<Mounts['erofs']>[0], 'target' | 'context'> & { readonly reading: Reading },
  what: string,
): Promise<void> {
  const opened = await fsopenAsync('erofs', FSOPEN_CLOEXEC);
  if (opened.result < 0) throw explained(what, opened.errno);
  const context = opened.result;
  try {
    set(context, SET_STRING, 'source', source, what);
    set(context, SET_FLAG, 'ro', null, what);
    if (label !== undefined) set(context, SET_STRING, 'context', label, what);
    // Data is read past the page cache of the file, where the kernel knows this (6.13) and the file system can.
    if (reading !== 'as a disk' && fsconfig(context, SET_FLAG, 'directio', null) < 0) {
      const errno = errnoName(lastErrno());
      const messages = kernelMessages(context);
      if (reading === 'directly')
        throw cannotReadDirectly(`${what}: directio: ${errno} (${messages})`, errno);
    }
    const created = await fsconfigCreate(context);
    if (created.result < 0) throw explained(what, created.errno, kernelMessages(context));
    await attach(context, target, true, what);
  } finally {
    closeSync(context);
  }
}

const cannotReadDirectly = (message: string, errno: string): CrispError =>
  new CrispError('FailedPrecondition', message, {
    errno,
    hint: 'use a later kernel, or mount through a loop device: else the page cache holds files twice',
  });

function set(context: number, command: number, key: string, value: string | null, what: string): void {
  if (fsconfig(context, command, key, value) < 0)
    throw refused(`${what}: ${key}`, lastErrno(), kernelMessages(context));
}

const hints: Readonly<Record<string, string>> = {
  ENODEV: 'load the kernel module erofs, or use a kernel that has it',
  ENOSYS: 'use Linux 5.2 or later',
  ENOTBLK: 'use Linux 6.12 or later with CONFIG_EROFS_FS_BACKED_BY_FILE, or mount through a loop device',
};

/** FailedPrecondition where this kernel can never do it, else its refusal. */
function explained(what: string, errno: number, messages = ''): CrispError {
  const name = errnoName(errno);
  const hint = hints[name];
  if (hint === undefined) return refused(what, errno, messages);
  const detail = messages === '' ? '' : ` (${messages})`;
  return new CrispError('FailedPrecondition', `${what}: ${name}${detail}`, { errno: name, hint });
}
