/** Which transport a client requests for a session, and which of the offered protocols is chosen. */
import type { IncomingMessage } from 'node:http';

export type SessionKind = 'exec' | 'attach' | 'portforward';
export type Transport = 'spdy' | 'websocket';

/** Why a request is not a session, as its HTTP response. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** In the order of preference. */
const remoteCommand = ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'];
const channels = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io', 'channel.k8s.io', 'base64.channel.k8s.io'];

/** SPDY in WebSocket messages. */
export const TUNNEL = 'SPDY/3.1+portforward.k8s.io';
/** Over SPDY the first version of remote command has the name of the unversioned one. */
const protocols: Readonly<Record<Transport, Readonly<Record<SessionKind, readonly string[]>>>> = {
  spdy: { exec: remoteCommand, attach: remoteCommand, portforward: ['portforward.k8s.io'] },
  websocket: {
    exec: ['v5.channel.k8s.io', ...channels],
    attach: ['v5.channel.k8s.io', ...channels],
    // Only crisp's own client requests version 5 here, which can signal a half-close.
    portforward: [TUNNEL, 'v5.channel.k8s.io', ...channels],
  },
};

/** The transport that the request names. Throws a Refusal of 400. */
export function transportOf(request: IncomingMessage): Transport {
  const { connection = '', upgrade = '' } = request.headers;
  const requested = upgrade.toLowerCase();
  if (/\bupgrade\b/i.test(connection)) {
    if (requested === 'spdy/3.1' && request.method === 'POST') return 'spdy';
    if (requested === 'websocket' && request.method === 'GET') return 'websocket';
  }
  throw new Refusal(
    400,
    'unable to upgrade: this requires POST with "Upgrade: SPDY/3.1" or GET with "Upgrade: websocket"',
  );
}

/**
 * The protocol of the session; '' where a WebSocket client names none. Throws a Refusal: 400 where a SPDY client names
 * none, 403 where none is known.
 */
export function protocolOf(request: IncomingMessage, transport: Transport, kind: SessionKind): string {
  const name = transport === 'spdy' ? 'x-stream-protocol-version' : 'sec-websocket-protocol';
  const given = [request.headers[name] ?? []].flat().flatMap((text) => text.split(','));
  const offered = given.map((text) => text.trim()).filter((text) => text !== '');
  if (offered.length === 0) {
    if (transport === 'websocket') return '';
    throw new Refusal(400, 'unable to upgrade: the header X-Stream-Protocol-Version is required');
  }
  const known = protocols[transport][kind];
  const chosen = known.find((protocol) => offered.includes(protocol));
  if (chosen !== undefined) return chosen;
  throw new Refusal(
    403,
    `unable to upgrade: none of ${JSON.stringify(offered.slice(0, 8))} is known; known are ${JSON.stringify(known)}`,
    { 'X-Accepted-Stream-Protocol-Versions': known.join(', ') },
  );
}
