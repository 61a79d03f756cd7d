/** A Prometheus of the run's own: Debian's package, or what `PROMETHEUS` names. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../image-service/registry.ts';

const START_MS = 60_000;

/** One line of a graph: its labels, and for each time (seconds) a value. */
export interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, number])[];
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data?: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly values: readonly (readonly [number, string])[];
    }[];
  };
}

export class Prometheus implements AsyncDisposable {
  readonly #url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.#url = url;
    this.#child = child;
  }

  /** Scrapes the targets (`host:port` by their names) each second, from the time when this resolves. Throws where it does not start. */
  static async start(directory: string, targets: Readonly<Record<string, string>>): Promise<Prometheus> {
    mkdirSync(directory, { recursive: true });
    const jobs = Object.entries(targets).map(([name, target]) => ({
      job_name: 'crisp',
      scrape_interval: '1s',
      scrape_timeout: '1s',
      static_configs: [{ targets: [target], labels: { instance: name } }],
    }));
    const config = join(directory, 'prometheus.json'); // YAML, too
    writeFileSync(config, JSON.stringify({ scrape_configs: jobs }));
    const address = `127.0.0.1:${await freePort()}`;
    const logFile = join(directory, 'log');
    const log = openSync(logFile, 'a', 0o600);
    const child = spawn(
      process.env['PROMETHEUS'] ?? 'prometheus',
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(directory, 'data')}`,
        `--web.listen-address=${address}`,
      ],
      { stdio: ['ignore', log, log] },
    );
    closeSync(log);
    const failed = once(child, 'error').then(([error]) => Promise.reject(error));
    failed.catch(() => {});
    const url = `http://${address}`;
    for (const end = performance.now() + START_MS; ; await Promise.race([sleep(100), failed])) {
      const ready = await fetch(`${url}/-/ready`).catch(() => undefined);
      if (ready?.ok) return new Prometheus(url, child);
      if (child.exitCode === null && performance.now() < end) continue;
      child.kill('SIGKILL');
      throw new Error(`Prometheus does not start:\n${readFileSync(logFile, 'utf8').slice(-2000)}`);
    }
  }

  /** The series of an expression from `from` to `to`, in seconds. Throws with Prometheus's own message. */
  async range(expression: string, from: number, to: number, step: number): Promise<Series[]> {
    const query = new URLSearchParams({ query: expression, start: `${from}`, end: `${to}`, step: `${step}` });
    const answer = (await (await fetch(`${this.#url}/api/v1/query_range?${query}`)).json()) as Answer;
    if (answer.status !== 'success') throw new Error(`${expression}: ${answer.error}`);
    return (answer.data?.result ?? []).map(({ metric, values }) => ({
      metric,
      values: values.map(([time, value]) => [time, Number(value)] as const),
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }
}
