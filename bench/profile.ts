/** Where crisp's own time goes. */
import type { BenchOptions } from './options.ts';
import type { Ground } from './sides.ts';

export async function profile(_ground: Ground, _directory: string, _options: BenchOptions): Promise<void> {}
