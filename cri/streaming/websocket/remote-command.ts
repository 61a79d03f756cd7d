import type { WebSocket } from 'ws';
import { drop, ended, type RemoteCommand, type Wanted } from '../remote-command.ts';
import { type Outcome, statusDocument, statusText } from '../remote-status.ts';
import { TerminalSizes } from '../terminal-size.ts';
import { Channels } from './channels.ts';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

/** Takes a WebSocket as an exec or attach session. */
export function openWebSocketCommand(socket: WebSocket, protocol: string, wanted: Wanted): RemoteCommand {
  const channels = new Channels(socket, protocol);
  const sizes = new TerminalSizes();
  if (wanted.tty) sizes.follow(channels.source(RESIZE));
  const stdin = wanted.stdin ? channels.source(STDIN) : undefined;
  const stdout = wanted.stdout ? channels.sink(STDOUT) : undefined;
  const stderr = wanted.stderr ? channels.sink(STDERR) : undefined;
  // An empty message tells the client that it is heard, as the library of Kubernetes has it.
  channels.send(wanted.stdout ? STDOUT : wanted.stderr ? STDERR : ERROR, Buffer.alloc(0));
  const isText = !/^v[45]\./.test(protocol);
  return {
    streams: { stdin, stdout, stderr, onResize: (listener) => sizes.onResize(listener) },
    gone: channels.ended,
    async finish(outcome: Outcome): Promise<void> {
      drop(stdin);
      await Promise.all([ended(stdout), ended(stderr)]);
      const status = isText ? statusText(outcome) : statusDocument(outcome);
      if (status !== '') await ended(channels.sink(ERROR), status);
      await channels.close();
    },
    destroy: () => channels.destroy(),
  };
}
