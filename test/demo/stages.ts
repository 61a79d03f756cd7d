/** Durations of an operation's stages, from the daemon's metrics: the sums before and after a call. */

type Sums = ReadonlyMap<string, number>;

const LINE = /^crisp_stage_seconds_sum\{operation="([^"]+)",stage="([^"]+)"\} (\S+)$/;
const LAG_P99 = /^nodejs_eventloop_lag_p99_seconds (\S+)$/m;

async function scrape(address: string): Promise<string> {
  return (await fetch(`http://${address}/metrics`)).text();
}

function sums(text: string): Sums {
  const found = text.split('\n').flatMap((line) => {
    const match = LINE.exec(line);
    return match ? [[`${match[1]}\0${match[2]}`, Number(match[3])] as const] : [];
  });
  return new Map(found);
}

export interface Timed<T> {
  readonly value: T;
  /** Milliseconds, measured by the client. */
  readonly ms: number;
  /** Milliseconds by stage of the operation and what it detached (`PullImage transfer`), ordered by their first end. */
  readonly stages: readonly { readonly name: string; readonly ms: number }[];
  /** 99th percentile of the delay of the daemon's event loop during the call, in ms. */
  readonly lagP99: number;
}

/** Runs one call and returns its times. Calls must not overlap. */
export async function timed<T>(
  address: string,
  operation: string,
  call: () => Promise<T>,
): Promise<Timed<T>> {
  const before = sums(await scrape(address)); // a scrape also resets the event loop delay
  const started = performance.now();
  const value = await call();
  const ms = performance.now() - started;
  const text = await scrape(address);
  const stages = [...sums(text)].flatMap(([key, sum]) => {
    const [name, stage = ''] = key.split('\0');
    const spent = (sum - (before.get(key) ?? 0)) * 1000;
    return (name === operation || name?.startsWith(`${operation} `)) && spent > 0
      ? [{ name: stage, ms: spent }]
      : [];
  });
  return { value, ms, stages, lagP99: Number(LAG_P99.exec(text)?.[1] ?? 0) * 1000 };
}
