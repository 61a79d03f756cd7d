/** Logs of containers. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import type { Trial } from '../trial.ts';

const numbers = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, index) => `line ${from + index}\n`).join('');

async function content(trial: Trial): Promise<void> {
  const { name, log } = await trial.finish({
    containers: [
      {
        script:
          'i=1; while [ $i -le 2000 ]; do echo "line $i"; i=$((i+1)); done; sleep 1; printf "no newline" >&2',
      },
    ],
  });
  const lines = log.split('\n');
  assert.equal(lines.filter((line) => line.startsWith('line ')).join('\n'), numbers(1, 2000).trimEnd());
  assert.ok(lines.includes('no newline'), 'the text without a newline on stderr is missing');
  const { rest } = trial.cluster;
  await assert.rejects(
    rest.text('GET', trial.path(`pods/${name}/log`), { query: { container: 'none' } }),
    /none/,
  );
}

const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:\d\d)$/;

async function selection(trial: Trial): Promise<void> {
  const { name } = await trial.finish({
    containers: [
      { script: 'for i in 1 2 3; do echo "line $i"; done; sleep 3; for i in 4 5 6; do echo "line $i"; done' },
    ],
  });
  assert.equal(await trial.log(name), numbers(1, 6));
  assert.equal(await trial.log(name, { tailLines: 2 }), numbers(5, 6));
  assert.equal(await trial.log(name, { tailLines: 0 }), '');
  assert.equal(await trial.log(name, { limitBytes: 10 }), 'line 1\nlin');
  const stamped = (await trial.log(name, { timestamps: true })).trimEnd().split('\n');
  const stamps = stamped.map((line) => line.split(' ')[0] ?? '');
  for (const stamp of stamps) assert.match(stamp, STAMP);
  assert.equal(stamped.map((line) => `${line.split(' ').slice(1).join(' ')}\n`).join(''), numbers(1, 6));
  const sinceTime = new Date(Date.parse(stamps[3] ?? '') - 1000).toISOString();
  assert.equal(await trial.log(name, { sinceTime }), numbers(4, 6));
  assert.equal(await trial.log(name, { sinceTime, tailLines: 1 }), numbers(6, 6));
  const age = Math.ceil((Date.now() - Date.parse(stamps[0] ?? '')) / 1000) + 3600;
  assert.equal(await trial.log(name, { sinceSeconds: age }), numbers(1, 6));
}

async function follow(trial: Trial): Promise<void> {
  const name = await trial.start({
    containers: [{ script: 'echo begins; while [ ! -e /tmp/go ]; do sleep 0.2; done; echo goes; echo ends' }],
  });
  const signal = AbortSignal.any([trial.signal, AbortSignal.timeout(trial.cluster.timeoutMs)]);
  const query = { container: 'main', follow: true };
  const seen: string[] = [];
  for await (const line of trial.cluster.rest.lines(trial.path(`pods/${name}/log`), { query, signal })) {
    if (line !== '') seen.push(line);
    if (seen.length === 1 && line === 'begins') await trial.shell(name, 'touch /tmp/go');
  }
  assert.deepEqual(seen, ['begins', 'goes', 'ends'], 'the stream has to end with the container');
}

async function longLines(trial: Trial): Promise<void> {
  const length = 200_000;
  const log = await trial.output(`head -c ${length} /dev/zero | tr '\\0' x; echo; echo short`);
  assert.equal(log.replace(/^x+/, ''), '\nshort\n');
  assert.equal(log.length, length + '\nshort\n'.length);
}

export const LOG_CASES: readonly Case[] = [
  {
    name: 'logs/content',
    about: 'all lines of both streams, the last one without a newline, too',
    run: content,
  },
  { name: 'logs/selection', about: 'tail, limitBytes, timestamps, sinceTime, sinceSeconds', run: selection },
  {
    name: 'logs/follow',
    about: 'a followed log has new lines at once and ends with the container',
    run: follow,
  },
  { name: 'logs/long-lines', about: 'a line of 200 000 bytes is one line', run: longLines },
];
