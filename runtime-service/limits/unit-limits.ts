/**
 * systemd's reload writes what it knows of a scope anew, and `memory.oom.group`, sets of processors, and limits that were
 * changed since the container's creation are not of what it knows. So crisp writes the record's limits once more.
 */
import { describeError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Context } from '../context.ts';
import { isUnit } from '../spec/annotations.ts';
import { limitFiles } from '../spec/limit-files.ts';

const LISTEN_MS = 60_000;

/** Restores limits after each reload, from now on. Returns the end of it. Where no container is a unit it costs nothing. */
export function restoreUnitLimits(context: Context): () => void {
  const { containers, kernel, log } = context;
  if (kernel.cgroups.version === 1) return () => {};
  const forget = kernel.systemd.onReload(() => {
    for (const { id } of runningUnits(context)) void restoreLimits(context, id);
  });
  if (containers.list().length > 0 && runningUnits(context).length > 0) {
    // A reload may have been while no daemon ran: what it took is told with the first connection.
    kernel.systemd.listen(AbortSignal.timeout(LISTEN_MS)).catch((error: unknown) => {
      log.warn(
        { error: describeError(error) },
        'systemd cannot be heard: after its reload limits may be gone',
      );
    });
  }
  return forget;
}

const runningUnits = ({ containers }: Context) =>
  containers.list().filter(({ state, cgroup }) => state === 'running' && isUnit(cgroup.oci));

/** Never throws: the container runs on, and the log tells what it lacks. */
async function restoreLimits({ containers, kernel, host, log }: Context, id: ContainerId): Promise<void> {
  await containers.exclusive(id, async () => {
    const record = containers.get(id);
    if (record?.state !== 'running') return;
    const { path } = record.cgroup;
    for (const { file, value } of limitFiles(record.resources, host)) {
      try {
        if (kernel.cgroups.read(path, file) !== value) await kernel.cgroups.write(path, file, value);
      } catch (error) {
        if (hasCode(error, 'NotFound')) continue;
        log.warn(
          { container: id, file, value, error: describeError(error) },
          'a limit is gone since systemd reloaded',
        );
      }
    }
  });
}
