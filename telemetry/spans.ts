/** Finished calls as spans of OpenTelemetry, in OTLP 1.x JSON. Pure except for the ids. */
import { randomBytes } from 'node:crypto';

export interface FinishedStage {
  readonly name: string;
  /** What it worked on; empty where that is clear from the name. */
  readonly detail: string;
  /** Milliseconds of the monotonic clock. */
  readonly started: number;
  readonly ended: number;
  readonly failed: boolean;
}

export interface FinishedCall {
  /** `RunPodSandbox`. */
  readonly name: string;
  /** Also in the log lines. */
  readonly id: string;
  readonly started: number;
  readonly ended: number;
  /** The error's code; undefined: success. */
  readonly code: string | undefined;
  readonly stages: readonly FinishedStage[];
  /** The client's trace context (W3C) as received, unchecked. */
  readonly traceparent: string | undefined;
}

/** The trace that a call belongs to, and its parent span. */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

/** The context of a `traceparent` header; undefined where it is absent or not valid: a new trace then begins here. */
export function parseTraceparent(text: string | undefined): TraceContext | undefined {
  const found = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,512})?$/.exec(text ?? '');
  const [, version = 'ff', traceId = '', spanId = '', flags = '', more] = found ?? [];
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue: string };
}

export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  /** 1: internal; 2: server. */
  readonly kind: 1 | 2;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
  /** 2: error. */
  readonly status: { readonly code?: 2; readonly message?: string };
}

const attributes = (pairs: Readonly<Record<string, string | undefined>>): Attribute[] =>
  Object.entries(pairs).flatMap(([key, value]) => (value ? [{ key, value: { stringValue: value } }] : []));

/** Nanoseconds since the epoch, exact to the microsecond. */
const nanoseconds = (ms: number): string =>
  (BigInt(Math.round((performance.timeOrigin + ms) * 1000)) * 1000n).toString();

const newSpanId = (): string => randomBytes(8).toString('hex');

/** The call's own span first, then one for each stage, below the stage or call that encloses it most closely. */
export function spansOf(call: FinishedCall, parent: TraceContext | undefined): Span[] {
  const traceId = parent?.traceId ?? randomBytes(16).toString('hex');
  const root: Span = {
    traceId,
    spanId: newSpanId(),
    ...(parent ? { parentSpanId: parent.spanId } : {}),
    name: `runtime.v1/${call.name}`,
    kind: 2,
    startTimeUnixNano: nanoseconds(call.started),
    endTimeUnixNano: nanoseconds(call.ended),
    attributes: attributes({
      'rpc.system': 'grpc',
      'rpc.method': call.name,
      'crisp.operation': call.id,
      'crisp.code': call.code,
    }),
    status: call.code === undefined ? {} : { code: 2, message: call.code },
  };
  const spans = [root];
  const open: { readonly spanId: string; readonly ended: number }[] = [];
  const inOrder = call.stages.toSorted((a, b) => a.started - b.started || b.ended - a.ended);
  for (const stage of inOrder) {
    const enclosing = open.findLast(({ ended }) => ended >= stage.ended);
    const span: Span = {
      traceId,
      spanId: newSpanId(),
      parentSpanId: enclosing?.spanId ?? root.spanId,
      name: stage.name,
      kind: 1,
      startTimeUnixNano: nanoseconds(stage.started),
      endTimeUnixNano: nanoseconds(stage.ended),
      attributes: attributes({ 'crisp.detail': stage.detail }),
      status: stage.failed ? { code: 2 } : {},
    };
    spans.push(span);
    open.push({ spanId: span.spanId, ended: stage.ended });
  }
  return spans;
}

/** The body of a request to a collector. */
export const traceRequest = (spans: readonly Span[], version: string): string =>
  JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: attributes({ 'service.name': 'crisp', 'service.version': version }) },
        scopeSpans: [{ scope: { name: 'crisp', version }, spans }],
      },
    ],
  });
