/** The node's range of pod addresses: where a template is set, the CNI configuration that is made from it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { readRegular } from './conf-files.ts';
import { parseNetworkConfig } from './conflist.ts';
import { type Cidr, fillTemplate, parseCidrs } from './template.ts';

/** crisp's own file: no other one in the directory is changed. */
const NAME = '10-crisp.conflist';

export interface PodRangesOptions {
  readonly confDir: string;
  /** Path of the template; empty: nothing is written. */
  readonly template: string;
}

/**
 * Writes the configuration, where it differs from what is there. An empty text changes nothing. Throws InvalidArgument for
 * what is not a range, FailedPrecondition for a template that makes no valid configuration; the file then stays as it is.
 */
export async function setPodRanges(
  { confDir, template }: PodRangesOptions,
  text: string,
  files: Files,
): Promise<void> {
  const cidrs = parseCidrs(text);
  if (cidrs.length === 0 || template === '') return;
  const path = join(confDir, NAME);
  const config = await filled(template, cidrs);
  if ((await readRegular(path).catch(() => '')) === config) return;
  await mkdir(confDir, { recursive: true, mode: 0o755 });
  await files.writeAtomic(path, config, { mode: 0o644, durable: true });
}

/** Throws FailedPrecondition, beginning with the option, for a template that makes no valid configuration of any range. */
export async function checkTemplate(template: string): Promise<void> {
  if (template !== '') await filled(template, parseCidrs('192.0.2.0/24'));
}

async function filled(template: string, cidrs: readonly Cidr[]): Promise<string> {
  const config = fillTemplate(await readTemplate(template), cidrs, template);
  try {
    parseNetworkConfig(template, config);
    return config;
  } catch (error) {
    throw new CrispError('FailedPrecondition', `cni.template: ${template} makes no valid CNI configuration`, {
      cause: error,
      hint: 'correct the template: it must be a conflist once its placeholders are replaced',
    });
  }
}

async function readTemplate(path: string): Promise<string> {
  try {
    return await readRegular(path);
  } catch (error) {
    throw new CrispError(
      'FailedPrecondition',
      `cni.template: ${path} cannot be read: ${errnoOf(error) ?? describeError(error)}`,
      {
        cause: error,
        hint: 'name a readable file, or set no template',
      },
    );
  }
}
