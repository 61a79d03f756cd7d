import type { Config } from '#config/index.ts';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import { runProgram } from '#linux/process/program.ts';
import { featuresOf, findProgram, type HandlerFeatures, PROGRAM_ENV } from '#runtime-service/index.ts';
import { runtimeOptions } from '../options.ts';

const LIMIT = 1 << 20;
const DEADLINE_MS = 20_000;

export interface FoundRuntime {
  readonly handler: string;
  /** Whether the configuration has it, and not only crisp. */
  readonly isConfigured: boolean;
  readonly found: { readonly path: string; readonly features: HandlerFeatures } | { readonly error: string };
}

/** Each handler's program, executed for its features. */
export async function foundRuntimes(config: Config, signal: AbortSignal): Promise<readonly FoundRuntime[]> {
  const { handlers } = runtimeOptions(config);
  const look = async (handler: string, name: string): Promise<FoundRuntime> => {
    const isConfigured =
      Object.hasOwn(config.runtime.handlers, handler) || config.runtime.default === handler;
    try {
      const path = findProgram(name);
      const [version, features] = await Promise.all([
        output(path, ['--version'], signal),
        output(path, ['features'], signal).catch(() => undefined),
      ]);
      return { handler, isConfigured, found: { path, features: featuresOf(features, version) } };
    } catch (error) {
      return { handler, isConfigured, found: { error: describeError(error) } };
    }
  };
  return await Promise.all(Object.entries(handlers).map(([handler, { path }]) => look(handler, path)));
}

/** See `Node.program`. */
export async function programVersion(
  name: string,
  signal: AbortSignal,
): Promise<{ path: string; version: string }> {
  const path = findProgram(name);
  return { path, version: (await output(path, ['--version'], signal)).split('\n')[0] ?? '' };
}

/** See `Node.output`. */
export async function programOutput(
  name: string,
  words: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    return await output(findProgram(name), words, signal);
  } catch (error) {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  }
}

async function output(path: string, words: readonly string[], signal: AbortSignal): Promise<string> {
  const request = {
    argv: [path, ...words],
    input: '',
    env: PROGRAM_ENV,
    limit: LIMIT,
    deadlineMs: DEADLINE_MS,
  };
  const { status, stdout, stderr } = await runProgram(request, signal);
  if (status.code === 0) return stdout.toString('utf8');
  throw new CrispError(
    'RuntimeFailed',
    `${[path, ...words].join(' ')}: ${stderr.toString('utf8').trim().slice(0, 300)} (${status.code})`,
  );
}
