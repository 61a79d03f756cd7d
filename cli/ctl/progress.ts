import { LiveRegion } from '../live-region.ts';
import { DEFAULT_SIZE, type Terminal, type TerminalSize } from './context.ts';

const WIDTH = 16;
const BLOCK = 4;
const TICK_MS = 120;
/** Ticks between two measurements. */
const MEASURE_EVERY = 4;

/** What is drawn: lines, or a text for the end of the one line. */
export type Measured = string | ((size: TerminalSize) => readonly string[]);

/** One line: a block that moves through a bar (the total is unknown), the action, the elapsed time, the measured text. */
export function progressLine(what: string, tick: number, elapsedMs: number, measured: string): string {
  const span = WIDTH - BLOCK;
  const at = span - Math.abs((tick % (2 * span)) - span);
  const bar = `${' '.repeat(at)}${'='.repeat(BLOCK)}${' '.repeat(span - at)}`;
  return `[${bar}] ${what}  ${(elapsedMs / 1000).toFixed(1)} s${measured ? `  ${measured}` : ''}`;
}

/** Redraws lines of an interactive terminal until it is disposed; without one does nothing. `measure` is never called twice at once. */
export function progress(terminal: Terminal, what: string, measure: () => Promise<Measured>): Disposable {
  if (!terminal.interactive) return { [Symbol.dispose]() {} };
  const started = performance.now();
  const size = terminal.size ?? (() => DEFAULT_SIZE);
  const region = new LiveRegion(terminal.err, size);
  let measured: Measured = '';
  let isMeasuring = false;
  let tick = 0;
  const again = () => {
    isMeasuring = true;
    void measure()
      .then(
        (now) => {
          measured = now;
        },
        () => undefined,
      )
      .finally(() => {
        isMeasuring = false;
      });
  };
  const timer = setInterval(() => {
    if (tick++ % MEASURE_EVERY === 0 && !isMeasuring) again();
    if (typeof measured === 'string')
      region.draw([progressLine(what, tick, performance.now() - started, measured)]);
    else region.draw(measured(size()));
  }, TICK_MS);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      region.clear();
    },
  };
}
