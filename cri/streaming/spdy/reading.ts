import type { Duplex } from 'node:stream';
import { takeReads } from '../read-buffer.ts';

/**
 * Passes on what is read, `head` first, until the end; synchronously, but while the promise of `take` is pending nothing
 * more is read. `take` returns such a promise, or whether it has kept bytes of a reused buffer. Rejects with what it
 * throws, and with the connection's error.
 */
export function readAll(
  transport: Duplex,
  head: Buffer,
  take: (bytes: Buffer) => Promise<void> | boolean,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const waiting: Buffer[] = [head];
  let isTaking = false;
  let isOver = false;
  let kept = false;
  const proceed = async (): Promise<void> => {
    if (isTaking) return;
    isTaking = true;
    try {
      for (let bytes = waiting.shift(); bytes; bytes = waiting.shift()) {
        const result = take(bytes);
        kept ||= result === true;
        if (typeof result === 'boolean') continue;
        transport.pause();
        await result;
        transport.resume();
      }
    } catch (error) {
      drop();
      reject(error);
    }
    isTaking = false;
    if (isOver) resolve();
  };
  const onBytes = (bytes: Buffer): boolean => {
    kept = false;
    waiting.push(bytes);
    void proceed();
    return kept || isTaking; // a pending promise still refers to the rest
  };
  const over = (): void => {
    isOver = true;
    if (!isTaking) resolve();
  };
  transport.once('end', over).once('close', over).once('error', reject);
  const drop = takeReads(transport, onBytes);
  void proceed();
  return promise;
}
