import type { LoadedConfig } from '#config/index.ts';
import { CrispError, describeError } from '#core/errors.ts';

/**
 * The error with the place of the option that its message begins with: `container.rlimits.nofile: …` becomes
 * `/etc/crisp/crisp.toml:12: container.rlimits.nofile: …`. Others are returned as they are.
 */
export function located(error: unknown, settings: LoadedConfig['settings']): unknown {
  if (!(error instanceof CrispError)) return error;
  let best: { readonly key: string; readonly origin: string } | undefined;
  for (const [path, { origin }] of settings) {
    const key = path.replaceAll('\0', '.');
    const isMeant = error.message.startsWith(`${key}:`) || error.message.startsWith(`${key}.`);
    // A section around it is only where its table begins.
    if (isMeant && key.includes('.') && key.length > (best?.key.length ?? 0)) best = { key, origin };
  }
  if (!best) return error;
  const { code, hint } = error;
  return new CrispError(code, `${best.origin}: ${describeError(error)}`, { cause: error, hint });
}
