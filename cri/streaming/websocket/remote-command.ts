import type { WebSocket } from 'ws';
import { discardInput, endStream, type RemoteCommand, type RequestedStreams } from '../remote-command.ts';
import { type Outcome, statusDocument, statusText } from '../remote-status.ts';
import { TerminalSizes } from '../terminal-size.ts';
import { Channels } from './channels.ts';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

/** Opens an exec or attach session on a WebSocket. */
export function openWebSocketCommand(
  socket: WebSocket,
  protocol: string,
  requested: RequestedStreams,
): RemoteCommand {
  const channels = new Channels(socket, protocol);
  const sizes = new TerminalSizes();
  if (requested.tty) sizes.follow(channels.source(RESIZE));
  const stdin = requested.stdin ? channels.source(STDIN) : undefined;
  const stdout = requested.stdout ? channels.sink(STDOUT) : undefined;
  const stderr = requested.stderr ? channels.sink(STDERR) : undefined;
  // An empty message shows the client that the session is open, as in Kubernetes' library.
  channels.send(requested.stdout ? STDOUT : requested.stderr ? STDERR : ERROR, Buffer.alloc(0));
  const isText = !/^v[45]\./.test(protocol);
  return {
    streams: { stdin, stdout, stderr, onResize: (listener) => sizes.onResize(listener) },
    closed: channels.ended,
    async finish(outcome: Outcome): Promise<void> {
      discardInput(stdin);
      await Promise.all([endStream(stdout), endStream(stderr)]);
      const status = isText ? statusText(outcome) : statusDocument(outcome);
      if (status !== '') await endStream(channels.sink(ERROR), status);
      await channels.close();
    },
    destroy: () => channels.destroy(),
  };
}
