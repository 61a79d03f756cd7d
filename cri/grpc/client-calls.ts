/** The calls of one client: admitted, read, begun and counted. */
import type { Socket } from 'node:net';
import { Call } from './call.ts';
import { Connection } from './connection.ts';
import type { HeaderField } from './hpack.ts';
import { ReplyTurns } from './reply-turns.ts';
import { RequestMessage } from './request.ts';
import { GrpcCode, parseTimeout, type RpcStatus } from './status.ts';
import type { Stream, StreamEvents } from './stream.ts';

/**
 * Serves one call, whose request is whole. What it returns settles when its work has ended, and does not reject: until then it
 * counts as one of its client's calls, also when the client has gone.
 */
export type Handler = (request: Buffer, call: Call) => Promise<void>;

export interface CallOptions {
  /** By path, `/package.Service/Method`. */
  readonly methods: ReadonlyMap<string, Handler>;
  /** Bytes of a request's message. */
  readonly maxRequest: number;
  /** Calls of a client at a time; more are refused, and clients retry them. */
  readonly maxCalls: number;
}

/** Bytes of unfinished requests. */
const MAX_BUFFERED = 1 << 28;
const TOO_MUCH: RpcStatus = {
  code: GrpcCode.RESOURCE_EXHAUSTED,
  details: `more than ${MAX_BUFFERED >> 20} MiB of unfinished requests on one connection`,
};
/** Handlers answer each error by its status, and do not reject. */
const BUG: RpcStatus = { code: GrpcCode.INTERNAL, details: 'an error of the server; see its log' };

export class ClientCalls {
  readonly #options: CallOptions;
  readonly #connection: Connection;
  readonly #turns: ReplyTurns;
  #buffered = 0;

  constructor(socket: Socket, options: CallOptions, onClose: (closed: ClientCalls) => void) {
    this.#options = options;
    this.#connection = new Connection(socket, {
      maxStreams: options.maxCalls,
      onRequest: (stream, fields) => this.#request(stream, fields),
      onClose: () => onClose(this),
    });
    const { out } = this.#connection;
    this.#turns = new ReplyTurns(() => out.size);
    out.onSent = () => this.#turns.proceed();
  }

  /** Takes no new call; the connection ends with the last one. */
  close(): void {
    this.#connection.close();
  }

  /** Ends the connection, whatever runs. */
  destroy(): void {
    this.#connection.destroy();
  }

  #request(stream: Stream, fields: readonly HeaderField[]): void {
    const call = new Call(this.#connection, stream, fields, this.#turns);
    const handler = this.#admit(call);
    if (handler) stream.events = this.#incoming(stream, call, handler);
  }

  /** The handler of a call; undefined where it was refused. */
  #admit(call: Call): Handler | undefined {
    const path = call.header(':path') ?? '';
    if (call.header(':method') !== 'POST') call.refuse(405);
    else if (!/^application\/grpc(?:[+;]|$)/.test(call.header('content-type') ?? '')) call.refuse(415);
    else {
      const handler = this.#options.methods.get(path);
      const timeout = call.header('grpc-timeout');
      const ms = timeout === undefined ? Infinity : parseTimeout(timeout);
      if (!handler) call.fail({ code: GrpcCode.UNIMPLEMENTED, details: `no method ${path}` });
      else if (ms === undefined)
        call.fail({ code: GrpcCode.INTERNAL, details: `grpc-timeout is malformed: '${timeout}'` });
      else {
        if (ms !== Infinity) call.startDeadline(ms);
        return handler;
      }
    }
    return undefined;
  }

  #incoming(stream: Stream, call: Call, handler: Handler): StreamEvents {
    const message = new RequestMessage(this.#options.maxRequest);
    const release = () => {
      this.#buffered -= message.size;
      message.clear();
    };
    call.onEnd = release;
    return {
      onReset: () => call.cancelled(),
      onData: (bytes, isLast) => {
        if (call.hasEnded) return;
        this.#buffered += bytes.length;
        const refused = message.add(bytes, isLast) ?? (this.#buffered > MAX_BUFFERED ? TOO_MUCH : undefined);
        if (refused) call.fail(refused);
        else if (isLast) this.#begin(stream, call, handler, message);
      },
    };
  }

  #begin(stream: Stream, call: Call, handler: Handler, message: RequestMessage): void {
    const request = message.take(call.header('grpc-encoding'));
    this.#buffered -= message.size;
    message.clear();
    if (!Buffer.isBuffer(request)) {
      call.fail(request);
      return;
    }
    stream.isBusy = true;
    void handler(request, call)
      .catch(() => call.fail(BUG))
      .finally(() => this.#connection.settled(stream));
  }
}
