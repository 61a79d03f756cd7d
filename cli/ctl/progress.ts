import type { Terminal } from './context.ts';

const WIDTH = 16;
const BLOCK = 4;
const TICK_MS = 120;
/** Ticks between two measurements. */
const MEASURE_EVERY = 4;

/** One line: a block that moves through a bar (the total is unknown), the action, the elapsed time, the measured text. */
export function progressLine(what: string, tick: number, elapsedMs: number, measured: string): string {
  const span = WIDTH - BLOCK;
  const at = span - Math.abs((tick % (2 * span)) - span);
  const bar = `${' '.repeat(at)}${'='.repeat(BLOCK)}${' '.repeat(span - at)}`;
  return `[${bar}] ${what}  ${(elapsedMs / 1000).toFixed(1)} s${measured ? `  ${measured}` : ''}`;
}

/** Redraws one line of an interactive terminal until it is disposed; without one does nothing. */
export function progress(terminal: Terminal, what: string, measure: () => Promise<string>): Disposable {
  if (!terminal.interactive) return { [Symbol.dispose]() {} };
  const started = performance.now();
  let measured = '';
  let tick = 0;
  const timer = setInterval(() => {
    if (tick++ % MEASURE_EVERY === 0)
      void measure().then(
        (text) => (measured = text),
        () => undefined,
      );
    terminal.err(`\r\u001b[K${progressLine(what, tick, performance.now() - started, measured)}`);
  }, TICK_MS);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      terminal.err('\r\u001b[K');
    },
  };
}
