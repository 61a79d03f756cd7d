import { readFileSync } from 'node:fs';

/** The text of a small file, such as a pid file or one of /proc; empty where it cannot be read. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
