import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';

/** Clients send at most one read of their input; Kubernetes' library accepts 32 MiB. */
const MAX_MESSAGE = 16 << 20;

/** Answers upgrades to WebSocket; the protocol was chosen before. */
export class WebSocketUpgrades {
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: true,
    maxPayload: MAX_MESSAGE,
  });
  readonly #chosen = new WeakMap<IncomingMessage, string>();

  constructor() {
    this.#server.on('headers', (lines, request) => {
      const protocol = this.#chosen.get(request);
      if (protocol) lines.push(`Sec-WebSocket-Protocol: ${protocol}`);
    });
  }

  /** Answers 101, or with a status of its own where the request is no WebSocket handshake: then `ready` is not called. */
  accept(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    protocol: string,
    ready: (socket: WebSocket) => void,
  ): void {
    this.#chosen.set(request, protocol);
    // ws accepts only tokens as protocol names, and SPDY/3.1+portforward.k8s.io is not one: the header is hidden from it.
    delete request.headers['sec-websocket-protocol'];
    this.#server.handleUpgrade(request, socket, head, ready);
  }
}
