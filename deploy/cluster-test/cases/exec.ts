/** Exec and attach. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import { openAttach, openExec, Terminal } from '../cluster/sessions.ts';
import { serverSince } from '../needs.ts';
import type { Trial } from '../trial.ts';

const script = (text: string): string[] => ['sh', '-c', text];

async function output(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [{}, { name: 'other', workingDir: '/tmp' }] });
  const main = await trial.exec(name, script('echo out; echo err >&2'));
  assert.deepEqual([main.code, main.stdout.toString(), main.stderr.toString()], [0, 'out\n', 'err\n']);
  const other = await trial.exec(name, ['pwd'], { container: 'other' });
  assert.equal(other.stdout.toString(), '/tmp\n');
  const big = await trial.exec(name, script('yes crisp | head -c 3000000'));
  assert.equal(big.stdout.length, 3_000_000);
}

async function exitCode(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const codes = [];
  for (const code of [0, 1, 7, 255]) codes.push((await trial.exec(name, script(`exit ${code}`))).code);
  assert.deepEqual(codes, [0, 1, 7, 255]);
  const killed = await trial.exec(name, script('kill -9 $$'));
  assert.equal(killed.code, 137);
  await assert.rejects(
    trial.exec(name, ['/no/such/program']).then(({ code }) => {
      // Some runtimes report the shell's code for it instead of an error.
      if (code === 126 || code === 127) throw new Error('/no/such/program');
    }),
    /no\/such\/program|not found|no such file/i,
  );
}

async function stdin(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const input = Buffer.alloc(1024 * 1024, 'crisp\n');
  const { stdout, code } = await trial.exec(name, script(`head -c ${input.length} | md5sum; echo after`), {
    input,
  });
  const { createHash } = await import('node:crypto');
  assert.deepEqual(
    [code, stdout.toString()],
    [0, `${createHash('md5').update(input).digest('hex')}  -\nafter\n`],
  );
}

async function stdinClose(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const { stdout, protocol } = await trial.exec(name, script('cat; echo end'), { input: 'one\ntwo' });
  assert.equal(protocol, 'v5.channel.k8s.io');
  assert.equal(stdout.toString(), 'one\ntwoend\n');
}

async function terminal(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const screen = new Terminal({ columns: 90, rows: 30 });
  const session = await openExec(trial.cluster.rest.config, trial.target(name), ['sh'], {
    stdin: true,
    terminal: screen,
  });
  const signal = AbortSignal.any([trial.signal, AbortSignal.timeout(trial.cluster.timeoutMs)]);
  /** The size that stty(1) prints, asked again until it is the one that was set: a resize is not confirmed. */
  const shows = async (size: string): Promise<void> => {
    const asking = setInterval(() => session.input.write('stty size\n'), 1000);
    try {
      await screen.until(`a terminal of ${size}`, (text) => text.includes(size), signal);
    } finally {
      clearInterval(asking);
    }
  };
  try {
    await shows('30 90');
    screen.resize(101, 41);
    await shows('41 101');
    session.input.write('test -t 0 && test -t 1 && exit 6\n');
    const status = await session.ended;
    assert.equal(status.details?.causes?.[0]?.message, '6');
  } finally {
    session.close();
  }
}

async function atOnce(trial: Trial): Promise<void> {
  const name = await trial.start({});
  const results = await Promise.all(
    Array.from({ length: 8 }, async (_, index) =>
      (await trial.exec(name, script(`sleep 0.5; echo ${index}`))).stdout.toString(),
    ),
  );
  assert.deepEqual(
    results,
    Array.from({ length: 8 }, (_, index) => `${index}\n`),
  );
}

async function attach(trial: Trial): Promise<void> {
  const name = await trial.start({
    containers: [
      { stdin: true, script: 'while read -r line; do echo "got $line"; test "$line" = end && exit 3; done' },
    ],
  });
  const session = await openAttach(trial.cluster.rest.config, trial.target(name));
  const signal = AbortSignal.any([trial.signal, AbortSignal.timeout(trial.cluster.timeoutMs)]);
  try {
    session.input.write('one\n');
    await session.stdout.until('the reply', (text) => text.includes('got one'), signal);
    session.input.write('end\n');
    const code = await trial.until(
      name,
      'the container has ended',
      (pod) => pod.status?.containerStatuses?.[0]?.state?.terminated,
    );
    assert.equal(code.exitCode, 3);
  } finally {
    session.close();
  }
  assert.equal(await trial.log(name), 'got one\ngot end\n');
}

export const EXEC_CASES: readonly Case[] = [
  { name: 'exec/output', about: 'both outputs, in the container that is named, and 3 MB', run: output },
  { name: 'exec/exit-code', about: 'exit codes, a signal, a program that does not exist', run: exitCode },
  { name: 'exec/stdin', about: 'input of 1 MiB arrives', run: stdin },
  {
    name: 'exec/stdin-close',
    about: 'the end of the input arrives, and the output after it',
    needs: [serverSince(30, 'end of the input over WebSocket')],
    run: stdinClose,
  },
  { name: 'exec/terminal', about: 'a terminal with its size, also after a change', run: terminal },
  { name: 'exec/at-once', about: 'eight commands at once', run: atOnce },
  { name: 'attach/stdin', about: 'attach: input and output of the main process', run: attach },
];
