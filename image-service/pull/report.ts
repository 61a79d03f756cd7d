/** The end of a pull: its log line and its metrics. */
import { codeOf, describeError } from '#core/errors.ts';
import type { Log, StageRecord } from '#core/operation.ts';
import type { Image } from '../image/image.ts';
import type { PullObserver } from '../ports.ts';
import type { PullMeter } from './progress.ts';

/** Stages that are parts of one that people know by name; `layers` are `fetch` and `unpack`. */
const STAGES: Readonly<Record<string, string>> = { config: 'fetch', sync: 'commit', layers: '', pull: '' };

export interface EndedPull {
  /** Of the operation that the log names. */
  readonly id: string;
  readonly meter: PullMeter;
  readonly stages: readonly StageRecord[];
  readonly log: Log;
  readonly observer: PullObserver;
}

export function reportPulled(
  { id, meter, stages, log, observer }: EndedPull,
  image: Image,
  digest: string,
): void {
  const ms = performance.now() - meter.started;
  const layers = meter.layerCounts;
  observer.pulled({ id, ms, code: undefined, source: mainSource(meter), layers });
  const fields = { image: meter.reference, imageId: image.id, digest, ...origin(meter), layers };
  log.info({ ...fields, ...course(meter, stages, ms) }, 'image pulled');
}

/** Where the callers have cancelled it, that is no warning. */
export function reportFailed({ id, meter, stages, log, observer }: EndedPull, error: unknown): void {
  const ms = performance.now() - meter.started;
  const code = codeOf(error);
  observer.pulled({ id, ms, code, source: mainSource(meter), layers: undefined });
  const fields = { image: meter.reference, code, error: describeError(error), ...origin(meter) };
  const level = code === 'Cancelled' ? 'info' : 'warn';
  log[level]({ ...fields, ...course(meter, stages, ms) }, 'image not pulled');
}

/** The kind of the endpoint that has served most. */
function mainSource({ shares }: PullMeter): 'registry' | 'mirror' | 'none' {
  const [most] = [...shares.values()].sort((a, b) => b.bytes - a.bytes);
  return most?.kind ?? 'none';
}

/** Where the content came from: `from` is the only endpoint, `endpoints` are several. */
function origin({ shares, failed }: PullMeter): object {
  const all = [...shares].map(([endpoint, { blobs, bytes }]) => ({ endpoint, blobs, bytes }));
  const bytes = all.reduce((sum, share) => sum + share.bytes, 0);
  const from = all.length > 1 ? { endpoints: all } : { from: all[0]?.endpoint };
  const others = [...failed].map(([endpoint, cause]) => ({ endpoint, cause }));
  return { ...from, bytes, ...(others.length > 0 ? { failed: others } : {}) };
}

/** How long each stage took, from the start of its first part to the end of its last, and for how many callers. */
function course({ started, callers }: PullMeter, stages: readonly StageRecord[], ms: number): object {
  const spans = new Map<string, { from: number; to: number }>();
  for (const stage of stages) {
    const name = STAGES[stage.name] ?? stage.name;
    if (name === '' || stage.started < started) continue;
    const { from, to } = spans.get(name) ?? { from: stage.started, to: stage.ended };
    spans.set(name, { from: Math.min(from, stage.started), to: Math.max(to, stage.ended) });
  }
  const rounded = [...spans].map(([name, { from, to }]) => [name, Math.round(to - from)] as const);
  return { ms: Math.round(ms), stages: Object.fromEntries(rounded), callers: callers.total };
}
