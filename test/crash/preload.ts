/**
 * Loaded into a daemon before its own code (`node --import`): makes it die where a test requires it, without any hook in
 * the product. It wraps `Operation.stage`, and checks at each boundary whether the file $CRISP_CRASH_AT names it; then
 * it removes the file and kills its own process. $CRISP_CRASH_LOG collects the boundaries that are passed. As long as the
 * file `$CRISP_CRASH_AT-hold` names a boundary, whatever comes there waits, and `$CRISP_CRASH_AT-held` shows it.
 *
 * A boundary is written `<operation>: <stage>, before` or `…, after`.
 */
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread } from 'node:worker_threads';

const HOLD_MS = 5;
const at = process.env['CRISP_CRASH_AT'] ?? '';
const log = process.env['CRISP_CRASH_LOG'];
const groups = (process.env['CRISP_CRASH_GROUPS'] ?? '').split(':').filter(Boolean);

/** Ids and random names differ from run to run. */
const nameOf = (operation: string, stage: string, phase: string): string =>
  `${operation}: ${stage.replace(/\/\S*/g, '…').replaceAll(/[0-9a-f]{12,64}/g, '…')}, ${phase}`;

/** Whether the file names the boundary; without an order there is none. */
function names(file: string, boundary: string): boolean {
  try {
    return readFileSync(file, 'utf8') === boundary;
  } catch {
    return false;
  }
}

async function pass(boundary: string): Promise<void> {
  if (log) appendFileSync(log, `${boundary}\n`);
  if (names(at, boundary)) {
    rmSync(at);
    process.kill(process.pid, 'SIGKILL');
  }
  while (names(`${at}-hold`, boundary)) {
    writeFileSync(`${at}-held`, boundary);
    await sleep(HOLD_MS);
  }
}

if (isMainThread && process.argv[1]?.endsWith('cli/main.ts')) {
  // What the daemon starts is born in these groups, where the test finds it however its parent ended.
  for (const group of groups) writeFileSync(`${group}/cgroup.procs`, String(process.pid));
  const { Operation } = await import('#core/operation.ts');
  const original = Operation.prototype.stage;
  Operation.prototype.stage = async function stage<T>(name: string, step: () => Promise<T> | T): Promise<T> {
    await pass(nameOf(this.name, name, 'before'));
    const value = await original.call(this, name, step);
    await pass(nameOf(this.name, name, 'after'));
    return value as T;
  };
  const lifetime = Number(process.env['CRISP_CRASH_AFTER_MS'] ?? 0);
  if (lifetime > 0) setTimeout(() => process.kill(process.pid, 'SIGKILL'), lifetime).unref();
}
