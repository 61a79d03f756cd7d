/** Runs a script in a machine through the agent that listens there, `guest/agent`. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

export interface Finished {
  readonly code: number;
  /** Both streams as they came. */
  readonly output: string;
}

/** Runs a bash script as root. `port`: where the agent is to be had on this side. Rejects where it does not reply in time. */
export async function exchange(port: number, script: string, timeoutMs: number): Promise<Finished> {
  const marker = randomBytes(12).toString('hex');
  const socket = connect(port, '127.0.0.1');
  const timer = setTimeout(() => socket.destroy(new Error(`no end after ${timeoutMs} ms`)), timeoutMs);
  try {
    const bytes = Buffer.from(script);
    socket.write(Buffer.concat([Buffer.from(`${marker} ${bytes.length}\n`), bytes]));
    return await readReply(socket, marker);
  } catch (error) {
    throw new Error(`a script in the machine: ${(error as Error).message}\n${script}`);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Reads up to the line that ends a reply: the marker and the exit code. */
async function readReply(socket: Socket, marker: string): Promise<Finished> {
  const end = new RegExp(`\\n${marker} (\\d+)\\n`);
  let text = '';
  socket.setEncoding('utf8');
  for await (const piece of socket as AsyncIterable<string>) {
    text += piece;
    const found = end.exec(text.slice(-(piece.length + 64)));
    if (found) return { code: Number(found[1]), output: text.slice(0, text.lastIndexOf(`\n${marker} `)) };
  }
  throw new Error('the connection ended before the script');
}
