/**
 * The addresses of a network in the files of the CNI plugin `host-local` 1.1.1, under its lock: a file by the name of
 * each address in use with its owner inside, and the last one given of each range. Crisp and the plugin may take turns.
 */
import { mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, errnoOf, hasCode } from '#core/errors.ts';
import { tryLock } from '#linux/fs/lock.ts';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { NativeRange } from './plan.ts';

/** Milliseconds between looks at a lock that another holds. */
const LOOK_AGAIN = 5;
const LOCK = 'lock';

/** A link of a pod. */
export interface Owner {
  readonly id: string;
  readonly interfaceName: string;
}

/** Takes the next free address of each range. Throws ResourceExhausted where one has none, or the disk is full. */
export async function allocateAddresses(
  directory: string,
  ranges: readonly NativeRange[],
  owner: Owner,
  signal: AbortSignal,
): Promise<string[]> {
  using _lock = await lockNew(directory, signal);
  const used = new Set(await readdir(directory));
  const taken: string[] = [];
  for (const [index, range] of ranges.entries()) {
    const take = () => takeOne(directory, index, range, { used, owner });
    const address = (await take()) ?? ((await freeEmptied(directory, used)) ? await take() : undefined);
    if (address === undefined) throw exhausted(directory, range);
    taken.push(address);
  }
  return taken;
}

/** Under the lock an empty file is nobody's (see below); whose it was is not known any more. Whether one was freed. */
async function freeEmptied(directory: string, used: Set<string>): Promise<boolean> {
  let freed = false;
  for (const name of used) {
    if (!parseIp(name) || (await stat(join(directory, name))).size > 0) continue;
    await unlink(join(directory, name));
    used.delete(name);
    freed = true;
  }
  return freed;
}

/** Gives the owner's addresses back. `known` are all of them; undefined: they are looked for. */
export async function releaseAddresses(
  directory: string,
  known: readonly string[] | undefined,
  owner: Owner,
  signal: AbortSignal,
): Promise<void> {
  using lock = await lockPresent(directory, signal);
  if (!lock) return;
  for (const name of known ?? (await readdir(directory))) {
    if (!parseIp(name)) continue;
    const path = join(directory, name);
    const content = (await readFile(path, 'utf8').catch(missing))?.trim();
    // Under the lock an empty file is nobody's: a power cut or a full disk has taken what was to stand in it.
    if (content === '' || content === ownership(owner) || content === owner.id)
      await unlink(path).catch(missing);
  }
}

const ownership = ({ id, interfaceName }: Owner): string => `${id}\r\n${interfaceName}`;

/** undefined where none is free. */
async function takeOne(
  directory: string,
  index: number,
  range: NativeRange,
  { used, owner }: { readonly used: ReadonlySet<string>; readonly owner: Owner },
): Promise<string | undefined> {
  const marker = join(directory, `last_reserved_ip.${index}`);
  const last = parseIp((await readFile(marker, 'utf8').catch(missing))?.trim() ?? '');
  const after = last?.family === range.family ? last.value : undefined;
  for (const value of candidates(range, after)) {
    const address = formatIp({ family: range.family, value });
    if (used.has(address)) continue;
    const path = join(directory, address);
    try {
      await writeFile(path, ownership(owner), { flag: 'wx', mode: 0o644 });
      await writeFile(marker, address, { mode: 0o644 });
      return address;
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') continue;
      throw unwritable(path, error);
    }
  }
  return undefined;
}

function exhausted(directory: string, range: NativeRange): CrispError {
  const [first, end] = [range.first, range.last].map((value) => formatIp({ family: range.family, value }));
  return new CrispError('ResourceExhausted', `no address from ${first} to ${end} is free in ${directory}`, {
    hint: 'remove pods of this node, or give its network a larger subnet',
  });
}

/** All addresses of the range but the gateway's, beginning behind the one given last. */
export function* candidates(
  { first, last, gateway }: NativeRange,
  after: bigint | undefined,
): Generator<bigint> {
  const size = last - first + 1n;
  const start = after !== undefined && after >= first && after <= last ? after - first + 1n : 0n;
  for (let step = 0n; step < size; step++) {
    const value = first + ((start + step) % size);
    if (value !== gateway) yield value;
  }
}

async function lockNew(directory: string, signal: AbortSignal): Promise<Disposable> {
  const lock = await lockPresent(directory, signal);
  if (lock) return lock;
  await mkdir(directory, { recursive: true, mode: 0o755 }).catch((error: unknown) => {
    throw unwritable(directory, error);
  });
  const made = await lockPresent(directory, signal);
  if (made) return made;
  throw new CrispError('NetworkFailed', `${directory} was removed while an address was being taken`);
}

/** undefined where there is no such directory. Waits for other holders as long as the signal lets it. */
async function lockPresent(directory: string, signal: AbortSignal): Promise<Disposable | undefined> {
  try {
    for (;;) {
      signal.throwIfAborted();
      const lock = tryLock(join(directory, LOCK), 0o750);
      if (lock) return lock;
      await sleep(LOOK_AGAIN);
    }
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}

function missing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
  return undefined;
}

function unwritable(path: string, cause: unknown): CrispError {
  const full = ['ENOSPC', 'EDQUOT'].includes(errnoOf(cause) ?? '');
  return new CrispError(full ? 'ResourceExhausted' : 'NetworkFailed', `${path} cannot be written`, {
    cause,
    hint: full ? 'free space on that file system' : 'check the rights on the directory of addresses',
  });
}
