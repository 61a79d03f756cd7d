/** `crisp status`: what the daemon is and does now. */
import { type DaemonStatus, STATUS_PATH } from '#api/admin/contract.ts';
import { CrispError } from '#core/errors.ts';
import { receiveJson } from './admin-client.ts';
import type { Parsed } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { bytes, printable } from './format.ts';
import { jsonText, outputOf, TEXT_OR_JSON } from './output.ts';
import { duration, pullsTable } from './running-pulls.ts';
import { renderTable } from './table.ts';

export interface StatusContext {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** The admin socket of the configuration. */
  readonly socket: string;
  /** Shorter in tests. */
  readonly answerMs?: number;
}

/** Resolves to the exit code: 0 where the node can have pods, 1 where not. Throws Unavailable where no daemon answers, DeadlineExceeded where it hangs. */
export async function status(
  parsed: Parsed,
  { terminal, signal, socket, answerMs }: StatusContext,
): Promise<number> {
  const output = outputOf(parsed, TEXT_OR_JSON);
  const found = await daemonStatus(socket, signal, answerMs);
  terminal.out(output === 'json' ? jsonText(found) : statusText(found));
  return (found.ready?.problem ?? found.unready) === undefined ? 0 : 1;
}

/** Throws Unavailable where no daemon answers, FailedPrecondition where another server does. */
export async function daemonStatus(
  socket: string,
  signal: AbortSignal,
  answerMs?: number,
): Promise<DaemonStatus> {
  const reply = (await receiveJson(socket, {
    method: 'GET',
    path: STATUS_PATH,
    query: [],
    signal,
    answerMs,
  })) as DaemonStatus;
  if (reply.configuration !== undefined && reply.memory !== undefined) return reply;
  throw new CrispError('FailedPrecondition', `${socket} returned no status`, {
    hint: 'check that this is the admin_socket of crisp',
  });
}

/** Liveness, readiness and conditions. A daemon of an earlier version has only why the node should get no pods. */
function health({ live, ready, unready, checks = [], conditions = [] }: DaemonStatus): [string, string][] {
  const waits = checks.filter(({ waitingSeconds = 0 }) => waitingSeconds >= 1);
  return [
    ...(live === undefined ? [] : [['Live', answer(live)] as [string, string]]),
    ...waits.map(({ name, waitingSeconds = 0 }): [string, string] => [
      'Waiting',
      `the ${name} has not answered for ${duration(waitingSeconds * 1000)}`,
    ]),
    ['Ready', ready === undefined ? answer({ problem: unready }) : answer(ready)],
    ...conditions.map(({ type, status, reason, message }): [string, string] => [
      type,
      // The runtime's message is that of all troubles, which have their own lines.
      [status ? 'yes' : 'no', reason, type === 'RuntimeReady' ? '' : message].filter(Boolean).join(': '),
    ]),
  ];
}

const answer = ({ problem, since }: { problem?: string | undefined; since?: string }): string =>
  problem === undefined ? 'yes' : `no${since === undefined ? '' : `, since ${since}`}: ${problem}`;

const size = (count: number): string => bytes(BigInt(Math.round(count)));
const counts = (table: Readonly<Record<string, number>>): string =>
  Object.entries(table)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ') || 'none';

/** The text form: a line for each fact, then tables of what there is. */
export function statusText(status: DaemonStatus): string {
  const { configuration } = status;
  const origins = configuration.set.map(({ key, origin }) => `${key} (${origin})`);
  // A daemon of an earlier version has none.
  const restart = (configuration.restartNeeded ?? []).map(
    ({ key, origin }) => `${key} (${origin ?? 'not set any more'})`,
  );
  const facts: [string, string][] = [
    [
      'Daemon',
      `crisp ${status.version}, pid ${status.pid}, since ${status.startedAt} (${duration(status.uptimeSeconds * 1000)})`,
    ],
    ...health(status),
    ...status.troubles.map(({ reason, message, hint }): [string, string] => [
      'Trouble',
      `${reason}: ${message}; ${hint}`,
    ]),
    ['Pods', counts(status.pods)],
    ['Containers', counts(status.containers)],
    ['Images', `${status.images}, layers: ${counts(status.layers)}`],
    ['New layers', configuration.layers],
    ['Memory', `${size(status.memory.rssBytes)} resident, ${size(status.memory.heapBytes)} heap`],
    ['Handlers', `${configuration.handlers.join(', ')}; default ${configuration.defaultHandler}`],
    ['Cgroups', configuration.cgroupDriver],
    ['Directories', `${configuration.root}, ${configuration.state}`],
    ['Configuration', configuration.files.join(', ') || 'no file: the defaults'],
    ...(configuration.reloadRefused === undefined
      ? []
      : [['Reload refused', configuration.reloadRefused.replaceAll('\n', '; ')] as [string, string]]),
    ...(restart.length > 0 ? [['Restart needed for', restart.join(', ')] as [string, string]] : []),
    ...(origins.length > 0 ? [['Options set', origins.join(', ')] as [string, string]] : []),
    ...status.leaks.map(({ object, name, error }): [string, string] => [
      'Leak',
      `${object} ${name}: ${error}`,
    ]),
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  const lines = facts.map(([name, text]) => `${`${name}:`.padEnd(width + 2)}${printable(text)}\n`);
  const tables = [
    ...(status.operations.length > 0 ? [operationsTable(status.operations)] : []),
    ...(status.pulls.length > 0 ? [pullsTable(status.pulls)] : []),
  ];
  return [lines.join(''), ...tables].join('\n');
}

const operationsTable = (operations: DaemonStatus['operations']): string =>
  renderTable(
    [
      ['OPERATION', ({ name }) => name],
      ['ID', ({ id }) => id],
      ['AGE', (operation) => duration(operation.seconds * 1000)],
      [
        'STAGE',
        ({ stages }) =>
          stages
            .map(
              ({ name, detail, seconds }) => `${name}${detail && ` ${detail}`} ${duration(seconds * 1000)}`,
            )
            .join(' > ') || '-',
      ],
    ],
    operations,
  );
