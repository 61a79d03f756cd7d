import { spawnSync } from 'node:child_process';
import { existsSync, globSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Architecture } from './architectures.ts';

/** The pause program of an architecture: that of the set-up, or built by a cross compiler. Throws FailedPrecondition. */
export function pauseProgram(project: string, { node, gnu }: Architecture): string {
  const shim = join(project, 'linux/shim');
  if (node === process.arch) return join(shim, 'build/pause');
  const program = join(shim, `build/pause-${node}`);
  if (isNewer(program, globSync([`${shim}/*.{c,h}`, `${shim}/compile`]))) return program;
  const { status, stderr, error } = spawnSync(join(shim, 'compile'), [compiler(node, gnu), program], {
    encoding: 'utf8',
  });
  if (status === 0) return program;
  throw new CrispError('FailedPrecondition', `the pause program for ${node}: ${error?.message ?? stderr}`, {
    hint: `install the cross compiler (Debian: apt-get install gcc-${gnu} libc6-dev-${node === 'x64' ? 'amd64' : node}-cross)`,
  });
}

/** Version of the C library that is in the program, as the compiler of the architecture has it; undefined without a compiler. */
export function staticLibrary({ node, gnu }: Architecture): string | undefined {
  const args = ['-E', '-dM', '-include', 'features.h', '-x', 'c', '/dev/null'];
  const { stdout } = spawnSync(compiler(node, gnu), args, { encoding: 'utf8' });
  const of = (name: string) => new RegExp(`^#define ${name} (\\d+)$`, 'm').exec(stdout ?? '')?.[1];
  const [major, minor] = [of('__GLIBC__'), of('__GLIBC_MINOR__')];
  return major && minor ? `${major}.${minor}` : undefined;
}

const compiler = (node: string, gnu: string): string => (node === process.arch ? 'gcc' : `${gnu}-gcc`);

const isNewer = (target: string, sources: readonly string[]): boolean =>
  existsSync(target) && sources.every((source) => statSync(source).mtimeMs <= statSync(target).mtimeMs);
