/** The daemon's metrics. Updated by the operations and by cri/server; services do not depend on Prometheus. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { ErrorCode } from '#core/errors.ts';

/** From a millisecond (reads) to four minutes (the kubelet's timeout of RunPodSandbox). */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240];

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Label values must be few: names and codes, never ids, paths or what users choose. */
interface Definition<L extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly L[];
}

export interface GaugeDefinition extends Definition<string> {
  /** Called at each scrape; must not block. */
  readonly collect: () => Iterable<Sample> | Promise<Iterable<Sample>>;
}

/** A stage as core/operation.ts records it; times are milliseconds. */
interface Stage {
  readonly name: string;
  readonly started: number;
  readonly ended: number;
}

export class Metrics {
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #operations: Counter<'operation'>;
  readonly #errors: Counter<'operation' | 'code'>;
  readonly #seconds: Histogram<'operation'>;
  readonly #stageSeconds: Histogram<'operation' | 'stage'>;
  readonly #bugs: Counter<'kind'>;

  constructor(build: { readonly version: string }) {
    const registers = [this.#registry];
    this.contentType = this.#registry.contentType;
    this.#operations = new Counter({
      name: 'crisp_operations_total',
      help: 'Finished operations, by name, including failed ones',
      labelNames: ['operation'],
      registers,
    });
    this.#errors = new Counter({
      name: 'crisp_operations_errors_total',
      help: 'Failed operations, by name and error code',
      labelNames: ['operation', 'code'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'crisp_operation_seconds',
      help: 'Duration of operations',
      labelNames: ['operation'],
      buckets: SECONDS,
      registers,
    });
    this.#stageSeconds = new Histogram({
      name: 'crisp_stage_seconds',
      help: 'Duration of the stages of operations',
      labelNames: ['operation', 'stage'],
      buckets: SECONDS,
      registers,
    });
    this.#bugs = new Counter({
      name: 'crisp_bugs_total',
      help: 'Errors that no part of the daemon has handled; see its log',
      labelNames: ['kind'],
      registers,
    });
    const info = new Gauge({
      name: 'crisp_build_info',
      help: 'Always 1; the labels have the versions',
      labelNames: ['version', 'node'],
      registers,
    });
    info.set({ version: build.version, node: process.version }, 1);
    collectDefaultMetrics({ register: this.#registry });
  }

  /** Records a finished operation and its duration; `code` where it failed. */
  operation(name: string, milliseconds: number, code?: ErrorCode): void {
    this.#operations.inc({ operation: name });
    this.#seconds.observe({ operation: name }, milliseconds / 1000);
    if (code) this.#errors.inc({ operation: name, code });
  }

  /** Records an unhandled error. Can be passed as a callback. */
  readonly bug = (kind: 'rejection' | 'exception'): void => this.#bugs.inc({ kind });

  /** Records a finished stage. Can be passed as an operation's `onStage`. */
  readonly stage = (operation: { readonly name: string }, stage: Stage): void => {
    const seconds = (stage.ended - stage.started) / 1000;
    this.#stageSeconds.observe({ operation: operation.name, stage: stage.name }, seconds);
  };

  /** A gauge whose samples are collected at each scrape, such as containers by state. */
  gauge(definition: GaugeDefinition): void {
    const { name, help, labels, collect } = definition;
    new Gauge({
      name,
      help,
      labelNames: [...labels],
      registers: [this.#registry],
      async collect() {
        const samples = await collect();
        this.reset();
        for (const { labels: values, value } of samples) this.set({ ...values }, value);
      },
    });
  }

  /** A counter; returns what adds to it. */
  counter<L extends string>(definition: Definition<L>): (labels: Record<L, string>, value: number) => void {
    const { name, help, labels } = definition;
    const counter = new Counter({ name, help, labelNames: [...labels], registers: [this.#registry] });
    return (values, value) => counter.inc(values, value);
  }

  /** A histogram of durations in seconds; returns what observes one, given in ms. */
  durations<L extends string>(definition: Definition<L>): (labels: Record<L, string>, ms: number) => void {
    const { name, help, labels } = definition;
    const more = { buckets: SECONDS, registers: [this.#registry] };
    const histogram = new Histogram({ name, help, labelNames: [...labels], ...more });
    return (values, ms) => histogram.observe(values, ms / 1000);
  }

  /** All metrics in the text format of Prometheus. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  close(): void {
    this.#registry.clear();
  }
}
