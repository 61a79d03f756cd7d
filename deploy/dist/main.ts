/**
 * `npm run dist [-- --output DIR --tree-only --arch ARCH --version VERSION]`: crisp with all that it needs from this repository in one
 * directory and one tarball, `build/crisp-VERSION-linux-ARCH{,.tar.gz}`. Two builds of one commit have the same bytes.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CrispError, describeError } from '#core/errors.ts';
import { architecture } from './architectures.ts';
import { sourceDate } from './source-date.ts';
import { writeTarball } from './tarball.ts';
import { buildTree } from './tree.ts';

const PROJECT = join(import.meta.dirname, '../..');

try {
  process.umask(0o022);
  const { values: given } = parseArgs({
    options: {
      output: { type: 'string', default: join(PROJECT, 'build') },
      'tree-only': { type: 'boolean', default: false },
      arch: { type: 'string', default: process.arch },
      version: { type: 'string' },
    },
  });
  const date = sourceDate(PROJECT);
  const settings = { output: resolve(given.output), date, version: given.version };
  const tree = await buildTree(PROJECT, architecture(given.arch), settings);
  if (!given['tree-only']) await writeTarball(dirname(tree), basename(tree), `${tree}.tar.gz`, date);
  console.log(given['tree-only'] ? tree : `${tree}.tar.gz`);
} catch (error) {
  console.error(`dist: ${describeError(error)}`);
  if (error instanceof CrispError) console.error(`hint: ${error.hint}`);
  process.exitCode = 1;
}
