import { readFileSync } from 'node:fs';
import type { MountEntry } from '../ports/kernel.ts';

/** mountinfo writes blank, tab, newline and backslash as three octal digits. */
const unquote = (text: string): string =>
  text.includes('\\')
    ? text.replace(/\\([0-7]{3})/g, (_all, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
    : text;

/** One line of mountinfo (proc(5)); undefined for a malformed line. */
export function parseMount(line: string): MountEntry | undefined {
  const fields = line.split(' ');
  const dash = fields.indexOf('-', 6);
  const [id, parent, device, root, target, options] = fields;
  if (dash < 0 || !id || !parent || !device || !root || !target || !options) return undefined;
  return {
    id: Number(id),
    parent: Number(parent),
    device,
    root: unquote(root),
    target: unquote(target),
    type: unquote(fields[dash + 1] ?? ''),
    source: unquote(fields[dash + 2] ?? ''),
    options: `${options},${fields[dash + 3] ?? ''}`,
    tags: fields.slice(6, dash),
  };
}

/**
 * The mounts of this process's mount namespace, in the kernel's order. Read as bytes: where a line is longer than 8 KiB, such as
 * that of an overlay of many layers, behind shorter ones, `readFileSync` with an encoding damages the heap (Node 24.21).
 */
export function readMounts(): MountEntry[] {
  const mounts: MountEntry[] = [];
  for (const line of readFileSync('/proc/self/mountinfo').toString().split('\n')) {
    const mount = parseMount(line);
    if (mount) mounts.push(mount);
  }
  return mounts;
}

/** Those whose target is the path or is below it. */
export function mountsBelow(path: string): MountEntry[] {
  const prefix = path.endsWith('/') ? path : `${path}/`;
  return readMounts().filter(({ target }) => target === path || target.startsWith(prefix));
}
