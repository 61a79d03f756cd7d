/**
 * The addresses of a network in the files of the CNI plugin `host-local` 1.1.1, under its lock: a file by the name of
 * each address in use with its owner as content, and the last one assigned of each range. Crisp and the plugin can share
 * the directory.
 */
import { mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, errnoOf, hasCode } from '#core/errors.ts';
import { tryLock } from '#linux/fs/lock.ts';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { AddressRange } from './plan.ts';

/** Milliseconds between tries of a lock that is held. */
const POLL_MS = 5;
const LOCK = 'lock';

/** A link of a pod. */
export interface Owner {
  readonly id: string;
  readonly interfaceName: string;
}

/** Allocates the next free address of each range. Throws ResourceExhausted where one has none, or the disk is full. */
export async function allocateAddresses(
  directory: string,
  ranges: readonly AddressRange[],
  owner: Owner,
  signal: AbortSignal,
): Promise<string[]> {
  using _lock = await lockNew(directory, signal);
  const used = new Set(await readdir(directory));
  const allocated: string[] = [];
  for (const [index, range] of ranges.entries()) {
    const allocate = () => allocateOne(directory, index, range, { used, owner });
    const address =
      (await allocate()) ?? ((await freeEmptied(directory, used)) ? await allocate() : undefined);
    if (address === undefined) throw exhausted(directory, range);
    allocated.push(address);
  }
  return allocated;
}

/** Under the lock an empty file has no owner (see below). Returns whether one was freed. */
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

/** Releases the owner's addresses. `known` are all of them; undefined: they are searched for. */
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
    // Under the lock an empty file has no owner: a power cut or a full disk has lost its content.
    if (content === '' || content === ownership(owner) || content === owner.id)
      await unlink(path).catch(missing);
  }
}

/**
 * The owner's addresses. `known`: all that it had, of which those that have another owner by now are left out; undefined: they are
 * searched for.
 */
export async function heldAddresses(
  directory: string,
  known: readonly string[] | undefined,
  owner: Owner,
  signal: AbortSignal,
): Promise<string[]> {
  using lock = await lockPresent(directory, signal);
  if (!lock) return [...(known ?? [])];
  const held: string[] = [];
  for (const name of known ?? (await readdir(directory))) {
    if (!parseIp(name)) continue;
    const content = (await readFile(join(directory, name), 'utf8').catch(missing))?.trim() || undefined;
    const isFree = content === undefined && known !== undefined; // released before, or its file was lost
    if (isFree || content === ownership(owner) || content === owner.id) held.push(name);
  }
  return held;
}

/** An address in use: its owner is of any container runtime that shares the directory, whatever form its ids have. */
export interface UsedAddress extends Owner {
  readonly address: string;
}

/** The addresses with an owner; `interfaceName` is empty where an early version of the plugin has assigned it. */
export async function usedAddresses(directory: string, signal: AbortSignal): Promise<UsedAddress[]> {
  using lock = await lockPresent(directory, signal);
  if (!lock) return [];
  const found: UsedAddress[] = [];
  for (const address of await readdir(directory)) {
    if (!parseIp(address)) continue;
    signal.throwIfAborted();
    const content = (await readFile(join(directory, address), 'utf8').catch(missing)) ?? '';
    const [id = '', interfaceName = ''] = content.split('\r\n').map((line) => line.trim());
    if (id !== '') found.push({ address, id, interfaceName });
  }
  return found;
}

/** The links that own addresses, each once. */
export async function addressOwners(directory: string, signal: AbortSignal): Promise<Owner[]> {
  const owners = (await usedAddresses(directory, signal)).map(({ id, interfaceName }) => ({
    id,
    interfaceName,
  }));
  return [...new Map(owners.map((owner) => [ownership(owner), owner])).values()];
}

/**
 * Releases addresses that still have these owners, and whose files were written when `isOld` takes (milliseconds since the epoch).
 * Resolves with those released.
 */
export async function freeAddresses(
  directory: string,
  addresses: readonly UsedAddress[],
  isOld: (written: number) => boolean,
  signal: AbortSignal,
): Promise<UsedAddress[]> {
  using lock = await lockPresent(directory, signal);
  if (!lock) return [];
  const freed: UsedAddress[] = [];
  for (const used of addresses) {
    const path = join(directory, used.address);
    const [content, info] = await Promise.all([
      readFile(path, 'utf8').catch(missing),
      stat(path).catch(missing),
    ]);
    if (!content?.startsWith(used.id) || !info || !isOld(info.mtimeMs)) continue;
    await unlink(path).catch(missing);
    freed.push(used);
  }
  return freed;
}

const ownership = ({ id, interfaceName }: Owner): string => `${id}\r\n${interfaceName}`;

/** undefined where none is free. */
async function allocateOne(
  directory: string,
  index: number,
  range: AddressRange,
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

function exhausted(directory: string, range: AddressRange): CrispError {
  const [first, end] = [range.first, range.last].map((value) => formatIp({ family: range.family, value }));
  return new CrispError('ResourceExhausted', `no address from ${first} to ${end} is free in ${directory}`, {
    hint: 'remove pods of this node, or give its network a larger subnet',
  });
}

/** All addresses of the range but the gateway's, beginning after the one assigned last. */
export function* candidates(
  { first, last, gateway }: AddressRange,
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
  throw new CrispError('NetworkFailed', `${directory} was removed while an address was being allocated`);
}

/** undefined where there is no such directory. Waits for other holders until the signal aborts. */
async function lockPresent(directory: string, signal: AbortSignal): Promise<Disposable | undefined> {
  try {
    for (;;) {
      signal.throwIfAborted();
      const lock = tryLock(join(directory, LOCK), 0o750);
      if (lock) return lock;
      await sleep(POLL_MS);
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
