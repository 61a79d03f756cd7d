/** The image in which the accesses of containers are measured: many files, and a layer with a program of 500 files and a large file. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { BuiltImage } from '../test/harness/images.ts';
import { compile, imageOf, packLayer, walk, withLayer } from './large-image.ts';
import { manyFilesImage, numbers } from './many-files.ts';

export const FEEL = '/feel';
export const NODE = '/program/node';
export const PROGRAM = '/program/main.cjs';
export const MODULES = '/program/modules';
export const LARGE_FILE = '/large';
export const LARGE_MIB = 200;
const FILES = 500;

/** The node of this process, with its shared libraries where its ELF header and the loader look for them. */
function copyNode(root: string): void {
  const program = realpathSync(process.execPath);
  mkdirSync(dirname(join(root, NODE)), { recursive: true });
  copyFileSync(program, join(root, NODE));
  const { stdout, status } = spawnSync('ldd', [program], { encoding: 'utf8' });
  if (status !== 0) throw new CrispError('Internal', `ldd ${program} exited with ${status}`);
  for (const [, library = ''] of stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(/gm)) {
    mkdirSync(dirname(join(root, library)), { recursive: true });
    copyFileSync(library, join(root, library)); // the file that a symlink leads to
  }
}

/** Modules of 0.5 to 20 KiB, in 25 directories, and a program that loads all of them. */
function writeProgram(root: string): void {
  const source = numbers();
  const next = (): number => source.next().value as number;
  const loads: string[] = [];
  for (let file = 0; file < FILES; file++) {
    const name = `part-${file % 25}/module-${file}.cjs`;
    const lines = Array.from(
      { length: 6 + ((next() >>> 16) % 300) },
      (_, line) => `exports.value${line} = (input) => input * ${next()} + ${next()};`,
    );
    mkdirSync(dirname(join(root, MODULES, name)), { recursive: true });
    writeFileSync(join(root, MODULES, name), `${lines.join('\n')}\n`);
    loads.push(`count += Object.keys(require('${MODULES}/${name}')).length > 0 ? 1 : 0;`);
  }
  const check = `if (count !== ${FILES}) throw new Error(\`\${count} modules\`);`;
  writeFileSync(join(root, PROGRAM), `let count = 0;\n${loads.join('\n')}\n${check}\n`);
}

function writeLargeFile(root: string): void {
  const piece = Buffer.alloc(1 << 20);
  const source = numbers();
  const pieces = Array.from({ length: LARGE_MIB }, () => {
    for (let at = 0; at < piece.length; at += 1024) piece.writeUInt32LE(source.next().value as number, at);
    return Buffer.from(piece);
  });
  writeFileSync(join(root, LARGE_FILE), Buffer.concat(pieces));
}

/** Builds it in the directory, on top of the image of many files. */
export async function feelImage(directory: string): Promise<BuiltImage> {
  const root = join(directory, 'root');
  mkdirSync(root, { recursive: true });
  try {
    compile(root, 'feel');
    copyNode(root);
    writeProgram(root);
    writeLargeFile(root);
    const layer = await packLayer(
      directory,
      0,
      [...walk(root, Infinity)].map(({ path }) => path),
      root,
    );
    const own = imageOf([layer.blobs.gzip], [layer.diffId]);
    return withLayer((await manyFilesImage()).images.gzip, own);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
