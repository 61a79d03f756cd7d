/**
 * `npm run packages [-- --output DIR --arch ARCH --format deb|rpm --version VERSION --fast]`: .deb and .rpm for amd64 and arm64, from the
 * trees of the release. Two builds of one commit have the same bytes. What cannot be built here is named, and the others are built.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CrispError, describeError } from '#core/errors.ts';
import { ARCHITECTURES, type Architecture, architecture } from '../dist/architectures.ts';
import { sourceDate } from '../dist/source-date.ts';
import { buildTree, readPackage } from '../dist/tree.ts';
import { buildDeb } from './deb.ts';
import { buildRpm } from './rpm.ts';
import { type Format, stage } from './staging.ts';

const PROJECT = join(import.meta.dirname, '../..');
const BUILDERS = { deb: buildDeb, rpm: buildRpm };
const FORMATS = Object.keys(BUILDERS) as Format[];

interface Settings {
  readonly output: string;
  readonly version: string;
  readonly date: number;
  readonly isFast: boolean;
}

async function buildAll(one: Architecture, formats: readonly Format[], settings: Settings): Promise<void> {
  const { output, version, date, isFast } = settings;
  const work = mkdtempSync(join(output, '.packages-'));
  try {
    const tree = await buildTree(PROJECT, one, { output: work, date, version });
    for (const format of formats) {
      await attempt(`${format} for ${one.node}`, () => {
        const root = join(work, format);
        stage(root, { project: PROJECT, tree, format, date });
        console.log(BUILDERS[format](one, { root, version, output, date, isFast }));
      });
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function attempt(what: string, build: () => void | Promise<void>): Promise<void> {
  try {
    await build();
  } catch (error) {
    console.error(`packages: ${what}: ${describeError(error)}`);
    if (error instanceof CrispError) console.error(`hint: ${error.hint}`);
    process.exitCode = 1;
  }
}

function formatOf(name: string): Format {
  const found = FORMATS.find((format) => format === name);
  if (found) return found;
  throw new CrispError('InvalidArgument', `${name} is not a format`, {
    hint: `one of ${FORMATS.join(', ')}`,
  });
}

await attempt('arguments', async () => {
  process.umask(0o022);
  const { values: given } = parseArgs({
    options: {
      output: { type: 'string', default: join(PROJECT, 'build') },
      arch: { type: 'string', multiple: true, default: ARCHITECTURES.map(({ node }) => node) },
      format: { type: 'string', multiple: true, default: FORMATS },
      version: { type: 'string', default: readPackage(PROJECT).version },
      fast: { type: 'boolean', default: false },
    },
  });
  const formats = given.format.map(formatOf);
  const architectures = given.arch.map(architecture);
  const output = resolve(given.output);
  mkdirSync(output, { recursive: true });
  const settings = { output, version: given.version, date: sourceDate(PROJECT), isFast: given.fast };
  for (const one of architectures) await attempt(one.node, () => buildAll(one, formats, settings));
});
