/** Pids are reused: only with the boot id and the start time does one identify a process. */
import { readdirSync, readFileSync } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import { fromNode } from '../libc/errno.ts';
import type { ProcessRef } from '../ports/kernel.ts';

export interface ProcessStat {
  /** One letter of proc(5); Z is a process that has ended and waits to be reaped. */
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  readonly startTime: string;
  /** Of a zombie: its wait status, as waitpid(2) will return it. */
  readonly exitCode: number;
}

/** Reads /proc/PID/stat; undefined where there is no such process. */
export function readStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ESRCH') return undefined;
    throw fromNode(error, `read the state of process ${pid}`);
  }
  return parseStat(text);
}

/** The name in parentheses may hold anything, parentheses and newlines included: fields are counted after the last. */
export function parseStat(text: string): ProcessStat | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, , session] = fields;
  const startTime = fields[19];
  if (!state || !parent || !startTime) return undefined;
  return {
    state,
    parent: Number(parent),
    session: Number(session ?? 0),
    startTime,
    exitCode: Number(fields[49] ?? 0),
  };
}

/** The boot's random id. */
export const readBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();

const ended = new Set(['Z', 'X', 'x']);

/** The reference of a living process. */
export function referenceOf(pid: number, bootId: string): ProcessRef | undefined {
  const stat = readStat(pid);
  return stat && !ended.has(stat.state) ? { pid, startTime: stat.startTime, bootId } : undefined;
}

/** Whether the very process of the reference lives. */
export function isAlive(process: ProcessRef, bootId: string): boolean {
  if (process.bootId !== bootId || !Number.isSafeInteger(process.pid) || process.pid <= 0) return false;
  return referenceOf(process.pid, bootId)?.startTime === process.startTime;
}

/** See `Processes.withVariable`. */
export function withVariable(entry: string, bootId: string): ProcessRef[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    const found = referenceOf(pid, bootId);
    return found && environmentOf(pid).includes(entry) ? [found] : [];
  });
}

function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return []; // it has ended, or is not this user's
  }
}
