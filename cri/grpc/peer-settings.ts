/** The settings of a client (RFC 9113, section 6.5.2), as far as they concern what is sent to it. */
import { ConnectionError, DEFAULT_FRAME_SIZE, Http2Code, MAX_WINDOW, Setting } from './frames.ts';
import type { Outgoing, SendQueue } from './send-queue.ts';

const MAX_FRAME_SIZE = 2 ** 24 - 1;
/** Larger ones need more memory at a time, and hold up other streams. */
const MAX_SENT_FRAME = 1 << 16;
const DEFAULT_TABLE = 4096;

/** Applies the payload of a SETTINGS frame. Throws ConnectionError where a value is not allowed. */
export function applySettings(payload: Buffer, out: SendQueue, open: () => Iterable<Outgoing>): void {
  if (payload.length % 6 !== 0) throw new ConnectionError(Http2Code.frameSizeError, 'SETTINGS');
  let { initialWindow } = out;
  for (let at = 0; at < payload.length; at += 6) {
    const id = payload.readUInt16BE(at);
    const value = payload.readUInt32BE(at + 2);
    if (id === Setting.headerTableSize && value < DEFAULT_TABLE) out.mustResizeTable = true;
    else if (id === Setting.initialWindowSize) {
      if (value > MAX_WINDOW) throw new ConnectionError(Http2Code.flowControlError, `a window of ${value}`);
      initialWindow = value; // of several the last one is in effect
    } else if (id === Setting.maxFrameSize) {
      if (value < DEFAULT_FRAME_SIZE || value > MAX_FRAME_SIZE) refuse(id, value);
      out.maxFrame = Math.min(value, MAX_SENT_FRAME);
    } else if (id === Setting.enablePush && value > 1) refuse(id, value);
  }
  out.resize(initialWindow, open());
}

function refuse(id: number, value: number): never {
  throw new ConnectionError(Http2Code.protocolError, `setting ${id} of ${value}`);
}
