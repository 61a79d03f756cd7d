import type { Duplex } from 'node:stream';
import { takeReads } from '../read-buffer.ts';

/**
 * Hands on what comes, `head` first, until its end; at once, in the call that brings it, but while `take` needs time
 * nothing more is read. `take` answers with a promise of that, or whether it has kept bytes that may be lent. Rejects with
 * what it throws, and with the connection's error.
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
        const answer = take(bytes);
        kept ||= answer === true;
        if (typeof answer === 'boolean') continue;
        transport.pause();
        await answer;
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
    return kept || isTaking; // the rest of what takes time is still looked at
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
