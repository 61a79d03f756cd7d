import type { HookStage, OciHook, OciSpec } from './oci.ts';

/** Seconds for a hook that names no limit: without one, a hook that hangs would keep its container for ever. */
const LIMIT_S = 30;

/** Adds hooks behind those that are there. */
export function addHooks(spec: OciSpec, stage: HookStage, hooks: readonly OciHook[]): void {
  if (hooks.length === 0) return;
  const limited = hooks.map((hook) => ({ timeout: LIMIT_S, ...hook }));
  spec.hooks = { ...spec.hooks, [stage]: [...(spec.hooks?.[stage] ?? []), ...limited] };
}
