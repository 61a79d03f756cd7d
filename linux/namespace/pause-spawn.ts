import { closeSync } from 'node:fs';
import { makePipe, spawnProcess } from '../process/spawn.ts';

/** A pause process and the parent's ends of its two pipes. */
export interface SpawnedPause {
  readonly pid: number;
  readonly start: number;
  readonly status: number;
}

/** Starts the pause program with its two pipes. Nothing else is open in it. */
export function spawnPause(program: string, argv: readonly string[]): SpawnedPause {
  const start = makePipe();
  let status: ReturnType<typeof makePipe>;
  try {
    status = makePipe();
  } catch (error) {
    closeSync(start.read);
    closeSync(start.write);
    throw error;
  }
  try {
    const descriptors = new Map([
      [0, start.read],
      [1, status.write],
      [2, status.write],
    ]);
    const pid = spawnProcess({ program, argv, env: {}, descriptors });
    return { pid, start: start.write, status: status.read };
  } catch (error) {
    closeSync(start.write);
    closeSync(status.read);
    throw error;
  } finally {
    closeSync(start.read);
    closeSync(status.write);
  }
}
