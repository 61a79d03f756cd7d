/** The node's range of pod addresses: where a template is set, the CNI configuration that is made from it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { readRegular } from './conf-files.ts';
import { parseNetworkConfig } from './conflist.ts';
import { fillTemplate, parseCidrs } from './template.ts';

/** Of its own: other files in the directory are never touched. */
const NAME = '10-crisp.conflist';

export interface PodRangesOptions {
  readonly confDir: string;
  /** Path of the template; empty: ranges are taken note of, and nothing is written. */
  readonly template: string;
}

/**
 * Writes the configuration, where it differs from what is there. An empty text says nothing. Throws InvalidArgument for
 * what is no range, FailedPrecondition for a template that makes no configuration; the file before it stays then.
 */
export async function setPodRanges(
  { confDir, template }: PodRangesOptions,
  text: string,
  files: Files,
): Promise<void> {
  const cidrs = parseCidrs(text);
  if (cidrs.length === 0 || template === '') return;
  const path = join(confDir, NAME);
  const config = fillTemplate(await readTemplate(template), cidrs, template);
  try {
    parseNetworkConfig(path, config);
  } catch (error) {
    throw new CrispError('FailedPrecondition', `cni.template ${template} makes no CNI configuration`, {
      cause: error,
      hint: 'correct the template: it must be a conflist once its words are replaced',
    });
  }
  if ((await readRegular(path).catch(() => '')) === config) return;
  await mkdir(confDir, { recursive: true, mode: 0o755 });
  await files.writeAtomic(path, config, { mode: 0o644, durable: true });
}

async function readTemplate(path: string): Promise<string> {
  try {
    return await readRegular(path);
  } catch (error) {
    throw new CrispError(
      'FailedPrecondition',
      `cni.template ${path} cannot be read: ${errnoOf(error) ?? describeError(error)}`,
      {
        cause: error,
        hint: 'name a readable file, or set no template',
      },
    );
  }
}
