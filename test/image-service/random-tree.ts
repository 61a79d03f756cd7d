/** Random trees of files, for comparisons. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';

export interface TreeNode {
  readonly name: string;
  readonly kind: 'file' | 'sparse' | 'directory' | 'symlink' | 'hardlink' | 'fifo';
  readonly mode: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
  readonly content: string;
  readonly size: number;
  readonly target: string;
}

const word = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    'space here',
    'new\nline',
    'ümläut',
    '\\back',
    '.hidden',
    '-dash',
    'x'.repeat(120),
  ),
  fc
    .string({ minLength: 1, maxLength: 12 })
    .filter((text) => /^[^/\0]+$/.test(text) && !/^\.{1,2}$/.test(text)),
);
/** Names, kinds, modes and times that file systems allow; no whiteouts. */
export const treeNode: fc.Arbitrary<TreeNode> = fc.record({
  name: fc
    .array(
      word.filter((text) => !text.startsWith('.wh.')),
      { minLength: 1, maxLength: 4 },
    )
    .map((parts) => parts.join('/')),
  kind: fc.constantFrom('file', 'sparse', 'directory', 'symlink', 'hardlink', 'fifo'),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  mtime: fc.integer({ min: -1_000_000_000, max: 4_000_000_000 }),
  content: fc.string({ maxLength: 1000 }),
  size: fc.nat(2_000_000),
  target: fc.string({ minLength: 1, maxLength: 150 }).filter((text) => !text.includes('\0')),
});

/** Makes the tree; what does not fit (a file where a directory is) is left out. */
export function plant(root: string, nodes: readonly TreeNode[]): void {
  const files: string[] = [];
  for (const one of nodes) {
    const path = join(root, one.name);
    try {
      if (lstatSync(path, { throwIfNoEntry: false })) continue;
      mkdirSync(join(path, '..'), { recursive: true });
      make(path, one, files);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      if (!['EEXIST', 'ENOTDIR', 'ENOENT', 'ENAMETOOLONG', 'EISDIR', 'EINVAL'].includes(code)) throw error;
    }
  }
}

function make(path: string, { kind, mode, mtime, content, size, target }: TreeNode, files: string[]): void {
  if (kind === 'symlink') symlinkSync(target, path);
  if (kind === 'hardlink') linkSync(files[size % Math.max(1, files.length)] ?? path, path);
  if (kind === 'symlink' || kind === 'hardlink') return;
  if (kind === 'directory') mkdirSync(path);
  else if (kind === 'fifo') execFileSync('mkfifo', ['--', path], { stdio: 'ignore' });
  else {
    writeFileSync(path, content, { flag: 'wx' });
    files.push(path);
    if (kind === 'sparse') {
      const fd = openSync(path, 'r+');
      ftruncateSync(fd, 65_536 + size);
      writeSync(fd, 'in the middle', 32_768 + Math.floor(size / 2));
      closeSync(fd);
    }
  }
  chmodSync(path, mode);
  utimesSync(path, mtime, mtime);
}
