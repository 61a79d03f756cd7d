/** The pulls that the daemon runs now, and how they are shown in a table and in bars. */
import { PULLS_PATH, type RunningPull } from '#api/admin/contract.ts';
import { CrispError } from '#core/errors.ts';
import { receiveJson } from './admin-client.ts';
import { bytes, printable } from './format.ts';
import { renderTable } from './table.ts';

/** Asks the daemon; of one image where it is named. Throws what `receiveJson` throws. */
export async function runningPulls(
  socket: string,
  reference: string | undefined,
  signal: AbortSignal,
  answerMs?: number,
): Promise<readonly RunningPull[]> {
  const query = reference === undefined ? [] : [['ref', reference] as const];
  const reply = await receiveJson(socket, { method: 'GET', path: PULLS_PATH, query, signal, answerMs });
  const { pulls } = reply as { pulls?: readonly RunningPull[] };
  if (Array.isArray(pulls)) return pulls;
  throw new CrispError('FailedPrecondition', `${socket} returned no list of pulls`, {
    hint: 'check that this is the admin_socket of crisp',
  });
}

interface Line {
  readonly name: string;
  readonly state: string;
  readonly done: number;
  readonly total: number;
  readonly pull?: RunningPull;
}

const size = (count: number): string => bytes(BigInt(Math.round(count)));
/** `20MB/40MB`. */
export const amount = (done: number, total: number): string => `${size(done)}/${size(total)}`;
export const rate = (bytesPerSecond: number): string => `${size(bytesPerSecond)}/s`;
/** The first twelve digits, as registries and docker show layers. */
export const shortDigest = (digest: string): string => printable(digest.replace(/^sha256:/, '').slice(0, 12));

/** `7.5 s`, `2 min 5 s`, `1 h 3 min`. */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds % 60)];
  return minutes < 60 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Bytes of all blobs of a pull; a blob that is two of its layers counts once. */
export function sumOf({ layers }: RunningPull): { readonly done: number; readonly total: number } {
  const blobs = new Map(layers.map((layer) => [layer.digest, layer]));
  let [done, total] = [0, 0];
  for (const blob of blobs.values()) {
    done += blob.done;
    total += blob.total;
  }
  return { done, total };
}

/** How long the rest takes at the present rate, in ms; undefined where that is not known, or nothing is left. */
export function remainingMs(pull: RunningPull): number | undefined {
  const { done, total } = sumOf(pull);
  if (done >= total || pull.bytesPerSecond <= 0) return undefined;
  return ((total - done) * 1000) / pull.bytesPerSecond;
}

const percent = (done: number, total: number): string =>
  total > 0 ? ` ${Math.floor((done * 100) / total)}%` : '';

/** One line for each pull, and below it one for each of its layers. */
export function pullsTable(pulls: readonly RunningPull[]): string {
  if (pulls.length === 0) return 'No image is being pulled\n';
  const lines = pulls.flatMap((pull): Line[] => [
    { name: pull.reference, state: pull.stage, ...sumOf(pull), pull },
    ...pull.layers.map((layer) => ({ ...layer, name: `  ${shortDigest(layer.digest)}` })),
  ]);
  const ofPull = (show: (pull: RunningPull) => string) => (line: Line) => (line.pull ? show(line.pull) : '');
  return renderTable<Line>(
    [
      ['IMAGE', ({ name }) => name],
      ['STAGE', ({ state }) => state],
      ['FETCHED', ({ done, total }) => (total > 0 ? amount(done, total) + percent(done, total) : '')],
      ['RATE', ofPull(({ bytesPerSecond }) => (bytesPerSecond > 0 ? rate(bytesPerSecond) : ''))],
      ['ELAPSED', ofPull(({ elapsedMs }) => duration(elapsedMs))],
      ['CALLERS', ofPull(({ callers }) => String(callers))],
      ['ENDPOINT', ofPull(({ endpoint }) => endpoint ?? '')],
    ],
    lines,
  );
}
