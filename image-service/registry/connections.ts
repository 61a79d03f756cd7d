import { type IncomingMessage, Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { addAbortSignal } from 'node:stream';

/** Idle connections are kept this long, in ms; servers close theirs a little later. */
const IDLE_MS = 4000;

export interface ConnectionOptions {
  /** Maximum number of connections to one host. */
  readonly limit: number;
  readonly connectMs: number;
  /** How long the peer may send nothing, in ms. */
  readonly noByteMs: number;
  /** Certificate authorities in PEM, instead of the well-known ones. */
  readonly ca: readonly string[] | undefined;
  readonly insecureSkipVerify: boolean;
}

export interface HttpRequestInit {
  readonly method?: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The head of a response, and its body, which must be read or discarded. */
export interface Response {
  readonly statusCode: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: AsyncIterable<Buffer>;
}

/** The peer has sent nothing for too long. */
export class IdleTimeoutError extends Error {
  readonly code: 'CONNECT_TIMEOUT' | 'HEAD_TIMEOUT' | 'BODY_TIMEOUT';

  constructor(code: IdleTimeoutError['code']) {
    super(code);
    this.code = code;
  }
}

/** The connections to one endpoint and its redirect targets, kept alive for the next request. */
export class Connections implements Disposable {
  readonly #options: ConnectionOptions;
  readonly #plain: PlainAgent;
  readonly #tls: TlsAgent;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const kept = { keepAlive: true, maxSockets: options.limit, timeout: IDLE_MS };
    this.#plain = new PlainAgent(kept);
    this.#tls = new TlsAgent({
      ...kept,
      rejectUnauthorized: !options.insecureSkipVerify,
      ...(options.ca === undefined ? {} : { ca: [...options.ca] }),
    });
  }

  /** Sends a request and waits for the response head. Rejects with IdleTimeoutError, an AbortError or an error of the socket. */
  async request(
    url: URL,
    { method = 'GET', headers, body }: HttpRequestInit,
    signal: AbortSignal,
  ): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const secure = url.protocol === 'https:';
    const common = { method, headers, signal };
    const request = secure
      ? tlsRequest(url, { ...common, agent: this.#tls })
      : plainRequest(url, { ...common, agent: this.#plain });
    let timer: NodeJS.Timeout | undefined;
    const limit = (ms: number, code: IdleTimeoutError['code']) => {
      clearTimeout(timer);
      timer = setTimeout(() => request.destroy(new IdleTimeoutError(code)), ms);
    };
    const connected = () => limit(this.#options.noByteMs, 'HEAD_TIMEOUT');
    request.once('socket', (socket) => {
      if (!socket.connecting) return connected();
      limit(this.#options.connectMs, 'CONNECT_TIMEOUT');
      socket.once(secure ? 'secureConnect' : 'connect', connected);
    });
    request.once('response', resolve).on('error', reject).end(body);
    try {
      const message = await promise;
      message.on('error', () => {}); // reported by the iterator
      addAbortSignal(signal, message);
      const pieces = piecesOf(message, this.#options.noByteMs);
      return { statusCode: message.statusCode ?? 0, headers: message.headers, body: pieces };
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.#plain.destroy();
    this.#tls.destroy();
  }
}

/** The timeout covers only the wait for the next piece, not the work of the reader. */
async function* piecesOf(message: IncomingMessage, noByteMs: number): AsyncGenerator<Buffer> {
  const onTimeout = () => message.destroy(new IdleTimeoutError('BODY_TIMEOUT'));
  let timer = setTimeout(onTimeout, noByteMs);
  try {
    for await (const piece of message as AsyncIterable<Buffer>) {
      clearTimeout(timer);
      yield piece;
      timer = setTimeout(onTimeout, noByteMs);
    }
  } finally {
    clearTimeout(timer);
  }
}
