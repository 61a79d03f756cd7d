/** Hooks that a plugin adds. */
import type { nri } from '#api/nri/index.ts';
import type { AdjustedHook } from '#core/model/adjustment.ts';
import { hookStages } from '#runtime-service/index.ts';
import type { Change } from '../fields.ts';
import type { Reader } from './reader.ts';

const MAX_HOOKS = 256;
/** Seconds: a day. */
const MAX_TIMEOUT = 86_400;

export const hookChanges = (reader: Reader, sent: nri.Hooks | undefined): Change[] =>
  hookStages.flatMap((stage) =>
    reader.list(`hooks ${stage}`, sent?.[stage] ?? [], MAX_HOOKS).map((one) => ({
      field: 'hooks' as const,
      entry: '',
      value: { stage, hook: hook(reader, stage, one) },
      marked: false,
    })),
  );

function hook(reader: Reader, stage: string, sent: nri.Hook): AdjustedHook {
  const path = reader.path(`hooks ${stage}`, sent.path);
  const field = `hooks ${stage} ${path}`;
  const texts = (name: string, list: readonly string[]) =>
    reader.list(`${field} ${name}`, list).map((text) => reader.text(`${field} ${name}`, text));
  const env = texts('env', sent.env);
  for (const variable of env)
    if (variable.indexOf('=') < 1) reader.refuse(`${field} env`, 'a variable has no name', 'send NAME=value');
  return {
    path,
    args: texts('args', sent.args),
    env,
    ...(sent.timeout
      ? { timeout: reader.number(`${field} timeout`, sent.timeout.value, 1, MAX_TIMEOUT) }
      : {}),
  };
}
