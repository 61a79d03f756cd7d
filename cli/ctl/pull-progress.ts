/** The progress of a pull: as crisp's daemon reports it to root on its node, else what any CRI runtime reports. */
import { toBigInt } from '#api/cri/v1/index.ts';
import { bytes, printable } from '../format.ts';
import { runningPulls } from '../running-pulls.ts';
import type { Ctl } from './context.ts';
import { type Measured, progress } from './progress.ts';
import { pullBars } from './pull-bars.ts';

/** A socket that does not reply in this time is no crisp's, in ms. */
const REPLY_MS = 2_000;

/** Bytes used by the image store; undefined where the runtime does not report it. */
async function storedBytes(ctl: Ctl): Promise<bigint | undefined> {
  const reply = await ctl.client.ImageFsInfo({}, ctl.call()).catch(() => undefined);
  const used = reply?.imageFilesystems[0]?.usedBytes;
  return used ? toBigInt(used.value) : undefined;
}

/**
 * Shows it until disposed. The bars are those of the admin socket, as long as that lists a pull of this image: another
 * runtime has no such socket, and others than root may not open it. Then a line shows the elapsed time, and by how much
 * the runtime's image store has grown, as CRI has no progress of a pull.
 */
export async function pullProgress(ctl: Ctl, reference: string): Promise<Disposable> {
  if (!ctl.terminal.interactive) return { [Symbol.dispose]() {} };
  const before = await storedBytes(ctl);
  const ended = new AbortController();
  let isReachable = true;
  const bars = async (): Promise<Measured | undefined> => {
    const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(REPLY_MS)]);
    const [pull] = await runningPulls(ctl.adminSocket, reference, signal);
    if (!pull) return undefined;
    return pull.layers.length === 0 ? printable(pull.stage) : (size) => pullBars(pull, size);
  };
  const growth = async (): Promise<string> => {
    const now = before === undefined ? undefined : await storedBytes(ctl);
    return now !== undefined && before !== undefined && now > before
      ? `store grew by ${bytes(now - before)}`
      : '';
  };
  const measure = async (): Promise<Measured> => {
    const shown = isReachable
      ? await bars().catch(() => {
          isReachable = false;
        })
      : undefined;
    return shown ?? (await growth());
  };
  const line = progress(ctl.terminal, `pulling ${reference}`, measure);
  return {
    [Symbol.dispose]() {
      ended.abort();
      line[Symbol.dispose]();
    },
  };
}
