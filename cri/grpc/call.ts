/** One call: a gRPC request and its answer on a stream (PROTOCOL-HTTP2.md of grpc/grpc). */
import type { Connection } from './connection.ts';
import { Flag } from './frames.ts';
import { encodeHeaders, type HeaderField } from './hpack.ts';
import type { ReplyTurns } from './reply-turns.ts';
import { MESSAGE_PREFIX } from './request.ts';
import { encodeMessage, GrpcCode, type RpcStatus } from './status.ts';
import type { Stream } from './stream.ts';

const CONTENT_TYPE = ['content-type', 'application/grpc'] as const;
const RESPONSE: readonly HeaderField[] = [[':status', '200'], CONTENT_TYPE];
/** With UNIMPLEMENTED, which a request that was compressed gets: what is taken instead. */
const ACCEPTED: HeaderField = ['grpc-accept-encoding', 'identity'];
const RESPONSE_HEADERS = encodeHeaders(RESPONSE);
const OK_TRAILERS = encodeHeaders([['grpc-status', '0']]);
/** The longest wait of setTimeout, in ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Bytes of a stream's messages that wait for its client, from which on its sender waits. */
const HIGH_WATER = 1 << 18;

const DEADLINE: RpcStatus = {
  code: GrpcCode.DEADLINE_EXCEEDED,
  details: 'the deadline of the call has passed',
};

const statusFields = ({ code, details }: RpcStatus): HeaderField[] => [
  ['grpc-status', String(code)],
  ['grpc-message', encodeMessage(details)],
  ...(code === GrpcCode.UNIMPLEMENTED ? [ACCEPTED] : []),
];

export class Call {
  readonly #connection: Connection;
  readonly #stream: Stream;
  readonly #fields: readonly HeaderField[];
  readonly #turns: ReplyTurns;
  #timer: NodeJS.Timeout | undefined;
  #hasHeaders = false;
  #hasEnded = false;
  #hasTurn = false;
  #sent: (() => void) | undefined;
  /** Called once where the client cancels, its connection ends or its deadline passes before the call has ended. */
  onCancel: (() => void) | undefined;
  /** Called once when it has ended, however. */
  onEnd: (() => void) | undefined;

  constructor(connection: Connection, stream: Stream, fields: readonly HeaderField[], turns: ReplyTurns) {
    this.#turns = turns;
    this.#connection = connection;
    this.#stream = stream;
    this.#fields = fields;
  }

  /** The value of a header field, its name in lower case; of several the first. */
  header(name: string): string | undefined {
    for (const field of this.#fields) if (field[0] === name) return field[1];
    return undefined;
  }

  /** Whether nothing more can be sent: it was answered, or its client has gone. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Ends the call with DEADLINE_EXCEEDED when `ms` have passed. */
  startDeadline(ms: number): void {
    this.#timer = setTimeout(
      () => {
        this.fail(DEADLINE);
        this.onCancel?.();
      },
      Math.min(Math.ceil(ms), MAX_TIMER_MS),
    );
  }

  /** The client has gone. */
  cancelled(): void {
    if (this.#hasEnded) return;
    this.#end();
    this.onCancel?.();
  }

  /** Before a message is made or encoded: wait for what is returned, if anything. The end of the call ends the turn, too. */
  turnToReply(): Promise<void> | undefined {
    if (this.#hasEnded || this.#hasTurn) return undefined; // a turn of a call that has ended would never end
    const turn = this.#turns.next();
    if (!turn) {
      this.#hasTurn = true;
      return undefined;
    }
    return turn.then(() => {
      if (this.#hasEnded) this.#turns.done();
      else this.#hasTurn = true;
    });
  }

  /** Ends the turn: others of the client may make their messages. */
  endTurn(): void {
    if (this.#hasTurn) this.#turns.done();
    this.#hasTurn = false;
  }

  /** Answers a unary call. */
  reply(message: Buffer): void {
    if (this.#hasEnded) return;
    const { out } = this.#connection;
    const data = [prefixOf(message), message];
    this.#end();
    if (out.sendWhole(this.#stream.out, RESPONSE_HEADERS, data, OK_TRAILERS)) {
      this.#connection.finished(this.#stream);
      return;
    }
    this.#sendHeaders();
    out.push(this.#stream.out, ...data);
    this.#sendTrailers(OK_TRAILERS);
  }

  /** Sends the headers of a server stream: a client learns by them that it is open. */
  open(): void {
    if (!this.#hasEnded) this.#sendHeaders();
  }

  /** Sends a message of a server stream. Where the client does not keep up, wait for what is returned. */
  send(message: Buffer): Promise<void> | undefined {
    if (this.#hasEnded) return undefined;
    this.#sendHeaders();
    const { out } = this.#stream;
    this.#connection.out.push(out, prefixOf(message), message);
    if (out.size < HIGH_WATER) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#sent = resolve;
    out.onDrain = resolve;
    return promise;
  }

  /** Ends a server stream. */
  end(): void {
    if (this.#hasEnded) return;
    this.#end();
    this.#sendHeaders();
    this.#sendTrailers(OK_TRAILERS);
  }

  /** Ends the call with an error. */
  fail(status: RpcStatus): void {
    if (this.#hasEnded) return;
    this.#end();
    if (this.#hasHeaders) this.#sendTrailers(encodeHeaders(statusFields(status)));
    else this.#onlyHeaders([...RESPONSE, ...statusFields(status)]);
  }

  /** Refuses what is not gRPC by a status of HTTP. */
  refuse(httpStatus: number): void {
    this.#end();
    this.#onlyHeaders([[':status', String(httpStatus)]]);
  }

  #end(): void {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    this.#sent?.();
    this.endTurn();
    const { onEnd } = this;
    this.onEnd = undefined;
    onEnd?.();
  }

  #sendHeaders(): void {
    if (this.#hasHeaders) return;
    this.#hasHeaders = true;
    this.#connection.out.headers(this.#stream.out, RESPONSE_HEADERS);
  }

  #onlyHeaders(fields: readonly HeaderField[]): void {
    this.#connection.out.headers(this.#stream.out, encodeHeaders(fields), Flag.endStream);
    this.#connection.finished(this.#stream);
  }

  #sendTrailers(trailers: Buffer): void {
    const { out } = this.#stream;
    out.onDrain = undefined;
    out.onEnd = () => this.#connection.finished(this.#stream);
    this.#connection.out.end(out, trailers);
  }
}

function prefixOf(message: Buffer): Buffer {
  const prefix = Buffer.allocUnsafe(MESSAGE_PREFIX);
  prefix[0] = 0; // not compressed
  prefix.writeUInt32BE(message.length, 1);
  return prefix;
}
