/**
 * Reads the configuration again. First everything of it is checked and opened, beside what is in effect; only if nothing is
 * wrong, all parts of the daemon change. A wrong one changes nothing.
 */
import { dirname } from 'node:path';
import type { ReloadReply } from '#api/admin/contract.ts';
import type { LoadedConfig } from '#config/index.ts';
import { CrispError, describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import { located } from '../located.ts';
import type { ServiceManager } from '../notify.ts';
import { logOverrides } from './overrides.ts';
import { changesText, type RunningConfig } from './running-config.ts';

/** Prepares one part of the daemon for a configuration. Throws a CrispError that begins with the option that is wrong. */
export type ReloadPart = (next: LoadedConfig) => Promise<PreparedChange>;

export interface ReloadParts {
  /** Reads the files and the flags of the start. Throws InvalidArgument with `file:line`. */
  readonly load: () => Promise<LoadedConfig>;
  readonly running: RunningConfig;
  /** In the order in which they are prepared. */
  readonly parts: readonly ReloadPart[];
  readonly manager: Pick<ServiceManager, 'reloading' | 'ready'>;
  /** Of the service manager, while the daemon serves. */
  readonly status: string;
  readonly log: Log;
}

/** One reload. Throws what is wrong with the configuration. */
export async function reload({
  load,
  running,
  parts,
  manager,
  status,
  log,
}: ReloadParts): Promise<ReloadReply> {
  await manager.reloading();
  try {
    const next = await load();
    refuseMissing(running.loaded.files, next.files);
    const changes = running.changes(next);
    const { effective, applied, restartNeeded } = changes;
    const failures = await changeAll(parts, effective);
    running.takeOver(changes);
    if (failures.length > 0) throw inPart(failures);
    log.info({ applied, files: effective.files }, 'configuration reloaded');
    logOverrides(next, log);
    if (restartNeeded.length > 0)
      log.warn({ restartNeeded }, `restart needed for: ${changesText(restartNeeded)}`);
    return { applied, restartNeeded };
  } catch (error) {
    const hint = error instanceof CrispError ? error.hint : undefined;
    running.refuse(describeError(error));
    log.error(
      { error: describeError(error), hint },
      'configuration not reloaded: the one that was read before stays in effect',
    );
    throw error;
  } finally {
    const [refused] = running.refused?.split('\n') ?? [];
    await manager.ready(refused === undefined ? status : `${status}; reload refused: ${refused}`);
  }
}

/** A file that is being replaced would mean the defaults of all its options. A drop-in may go. */
function refuseMissing(before: readonly string[], now: readonly string[]): void {
  const gone = before.find((file) => !now.includes(file) && !dirname(file).endsWith('.d'));
  if (gone === undefined) return;
  throw new CrispError('FailedPrecondition', `configuration: ${gone} is not there any more`, {
    hint: 'put it back, empty for the defaults of all its options; or restart crisp',
  });
}

const inPart = (failures: readonly unknown[]): CrispError =>
  new CrispError('Internal', `configuration applied in part: ${failures.map(describeError).join('; ')}`, {
    hint: 'restart crisp; pods keep running',
  });

/** What has failed in parts that should have changed, which is a bug: the others have changed. */
async function changeAll(parts: readonly ReloadPart[], next: LoadedConfig): Promise<unknown[]> {
  const prepared: PreparedChange[] = [];
  try {
    for (const part of parts) prepared.push(await part(next));
  } catch (error) {
    for (const change of prepared.reverse()) await change.discard();
    throw located(error, next.settings);
  }
  return prepared.flatMap((change) => {
    try {
      change.apply();
      return [];
    } catch (error) {
      return [error];
    }
  });
}
