/** The side of a ttrpc connection that calls. */
import { envelopes, plainText, statusCode, statusName } from './envelope.ts';
import { PluginError, type PluginErrorDetails, type PluginFailure } from './errors.ts';
import { BrokenRule, MAX_MESSAGE, type Message, MessageType } from './frames.ts';

/**
 * Calls that wait for answers: more are refused, with nothing sent. Plugins in Go break the connection where more than 256 frames
 * wait for them, and a call is two at most.
 */
export const MAX_CALLS = 128;

/** Bytes of a request, beside what ttrpc wraps it in. */
export const MAX_PAYLOAD = MAX_MESSAGE - 1024;

export interface CallOptions {
  /** From now to the answer, in milliseconds; more than 0, less than 2^31. The other side is told. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface Call {
  readonly method: string;
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: PluginError) => void;
}

export class Client {
  readonly #service: string;
  readonly #describe: () => string;
  readonly #send: (message: Message) => void;
  readonly #calls = new Map<number, Call>();
  /** Odd and ascending, as ttrpc has it of clients. */
  #nextStream = 1;
  #ended: string | undefined;

  /** `describe` names the other side. */
  constructor(service: string, describe: () => string, send: (message: Message) => void) {
    this.#service = service;
    this.#describe = describe;
    this.#send = send;
  }

  /** The payload of the answer. Throws PluginError. */
  async call(method: string, payload: Uint8Array, options: CallOptions): Promise<Uint8Array> {
    const { timeoutMs, signal } = options;
    this.#check(method, signal);
    const timeoutNano = BigInt(Math.ceil(timeoutMs * 1e6));
    const data = envelopes.encode('Request', { service: this.#service, method, payload, timeoutNano });
    if (data.length > MAX_MESSAGE) throw this.#oversized(method, data.length);
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    this.#calls.set(stream, { method, resolve, reject });
    const cancel = () =>
      reject(this.#error('cancelled', method, 'the caller gave up', { cause: signal?.reason }));
    const timer = setTimeout(
      () => reject(this.#error('deadline', method, `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal?.addEventListener('abort', cancel);
    try {
      this.#send({ stream, type: MessageType.request, data });
      return await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
      this.#calls.delete(stream);
    }
  }

  /** Throws BrokenRule. */
  receive({ stream, type, data }: Message): void {
    if (type === MessageType.request) throw new BrokenRule('a request on the connection on which it serves');
    if (type !== MessageType.response && type !== MessageType.data) return; // of a later ttrpc
    if (stream % 2 !== 1 || stream >= this.#nextStream)
      throw new BrokenRule(`an answer on stream ${stream}, which was not opened`);
    const call = this.#calls.get(stream);
    if (!call) return; // given up
    if (type === MessageType.data)
      throw new BrokenRule(`stream data in answer to ${call.method}, where NRI has none`);
    this.#answer(call, data);
  }

  /** Fails what waits, and all later calls. */
  end(why: string): void {
    this.#ended ??= why;
    for (const { method, reject } of this.#calls.values()) reject(this.#error('closed', method, why));
  }

  #answer({ method, resolve, reject }: Call, data: Uint8Array): void {
    const { status, payload } = decodeAnswer(method, data);
    if (!status || status.code === 0) {
      resolve(payload);
      return;
    }
    const failure = status.code === statusCode('UNIMPLEMENTED') ? 'unimplemented' : 'status';
    const text = `${plainText(status.message) || 'an error without a text'} (${statusName(status.code)})`;
    reject(this.#error(failure, method, text, { status: status.code }));
  }

  #check(method: string, signal: AbortSignal | undefined): void {
    if (this.#ended !== undefined) throw this.#error('closed', method, this.#ended);
    if (signal?.aborted)
      throw this.#error('cancelled', method, 'the caller gave up', { cause: signal.reason });
    if (this.#calls.size >= MAX_CALLS)
      throw this.#error('busy', method, `${MAX_CALLS} calls wait for its answers`);
  }

  #oversized(method: string, length: number): PluginError {
    const text = `the request has ${length} bytes, where ttrpc allows ${MAX_MESSAGE}`;
    return this.#error('oversized', method, text, { length, maximum: MAX_MESSAGE });
  }

  #error(failure: PluginFailure, method: string, text: string, details?: PluginErrorDetails): PluginError {
    return new PluginError(failure, `${this.#describe()}: ${method}: ${text}`, details);
  }
}

function decodeAnswer(method: string, data: Uint8Array) {
  try {
    return envelopes.decode('Response', data);
  } catch (error) {
    throw new BrokenRule(`a malformed answer to ${method}`, { cause: error });
  }
}
