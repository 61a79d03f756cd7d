/** The daemon's metrics. Updated by the operations and by cri/server; services do not depend on Prometheus. */
import { Counter, collectDefaultMetrics, Gauge, Histogram } from 'prom-client';
import type { ErrorCode } from '#core/errors.ts';
import { type Form, newRegistry, textOf } from './exposition.ts';

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

/** The operation that a value was measured in: the exemplar of its series. */
export interface Measured {
  /** As in the log lines of the operation. */
  readonly id: string;
}

type Named = Measured & { readonly name: string };

/** A stage as core/operation.ts records it; times are milliseconds. */
interface Stage {
  readonly name: string;
  readonly started: number;
  readonly ended: number;
}

export class Metrics {
  readonly #registry = newRegistry();
  #isWatching = false;
  readonly #operations = this.counter({
    name: 'crisp_operations_total',
    help: 'Finished operations, by name, including failed ones',
    labels: ['operation'],
  });
  readonly #errors = this.counter({
    name: 'crisp_operations_errors_total',
    help: 'Failed operations, by name and error code',
    labels: ['operation', 'code'],
  });
  readonly #seconds = this.durations({
    name: 'crisp_operation_seconds',
    help: 'Duration of operations',
    labels: ['operation'],
  });
  readonly #stageSeconds = this.durations({
    name: 'crisp_stage_seconds',
    help: 'Duration of the stages of operations',
    labels: ['operation', 'stage'],
  });
  readonly #bugs = this.counter({
    name: 'crisp_bugs_total',
    help: 'Errors that no part of the daemon has handled; see its log',
    labels: ['kind'],
  });

  constructor(build: { readonly version: string }) {
    const info = new Gauge({
      name: 'crisp_build_info',
      help: 'Always 1; the labels have the versions',
      labelNames: ['version', 'node'],
      registers: [this.#registry],
    });
    info.set({ version: build.version, node: process.version }, 1);
  }

  /** Records a finished operation and its duration; `code` where it failed. */
  operation(finished: Named, ms: number, code?: ErrorCode): void {
    const labels = { operation: finished.name };
    this.#operations(labels, 1, finished);
    this.#seconds(labels, ms, finished);
    if (code) this.#errors({ ...labels, code }, 1, finished);
  }

  /** Records an unhandled error. Can be passed as a callback. */
  readonly bug = (kind: 'rejection' | 'exception'): void => this.#bugs({ kind }, 1);

  /** Records a finished stage. Can be passed as an operation's `onStage`. */
  readonly stage = (operation: Named, { name, started, ended }: Stage): void =>
    this.#stageSeconds({ operation: operation.name, stage: name }, ended - started, operation);

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
  counter<L extends string>(
    definition: Definition<L>,
  ): (labels: Record<L, string>, value: number, measured?: Measured) => void {
    const { name, help, labels: labelNames } = definition;
    const more = { enableExemplars: true, registers: [this.#registry] };
    const counter = new Counter<string>({ name, help, labelNames: [...labelNames], ...more });
    return (labels, value, measured) => counter.inc({ labels, value, ...exemplarOf(measured) });
  }

  /** A histogram of durations in seconds; returns what observes one, given in ms. */
  durations<L extends string>(
    definition: Definition<L>,
  ): (labels: Record<L, string>, ms: number, measured?: Measured) => void {
    const { name, help, labels: labelNames } = definition;
    const more = { buckets: SECONDS, enableExemplars: true, registers: [this.#registry] };
    const histogram = new Histogram<string>({ name, help, labelNames: [...labelNames], ...more });
    return (labels, ms, measured) => histogram.observe({ labels, value: ms / 1000, ...exemplarOf(measured) });
  }

  /** Begins to watch this process: its event loop by a timer of 10 ms, which costs some 8 ms of CPU a second. Again: nothing. */
  watchProcess(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    collectDefaultMetrics({ register: this.#registry });
  }

  /** All metrics in this form. */
  text(form: Form = 'text'): Promise<string> {
    return textOf(this.#registry, form);
  }

  close(): void {
    this.#registry.clear();
  }
}

/** Without an operation the series keeps the exemplar that it has. */
const exemplarOf = (measured: Measured | undefined): { exemplarLabels?: Record<string, string> } =>
  measured ? { exemplarLabels: { operation_id: measured.id } } : {};
