/** The side of a ttrpc connection that is called. */
import { codeOf, describeError } from '#core/errors.ts';
import {
  envelopes,
  MAX_TEXT,
  type RequestEnvelope,
  type ResponseEnvelope,
  statusCode,
  statusCodeOf,
} from './envelope.ts';
import { PluginError } from './errors.ts';
import { BrokenRule, MAX_MESSAGE, type Message, MessageType } from './frames.ts';

/** Requests that are handled at a time: more are answered with RESOURCE_EXHAUSTED. */
export const MAX_REQUESTS = 64;

/** The longest delay of a timer. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export interface RequestContext {
  /** Aborts when the connection ends, and when the time that the caller has set is over. */
  readonly signal: AbortSignal;
}

/** Handles a request: its payload gives that of the answer. Undefined: there is no such method. */
export type Dispatch = (
  method: string,
  payload: Uint8Array,
  context: RequestContext,
) => Promise<Uint8Array> | undefined;

type Answer = Partial<ResponseEnvelope>;

const refusal = (code: Parameters<typeof statusCode>[0], message: string): Answer => ({
  status: { code: statusCode(code), message },
});

/** What a handler has thrown, as the caller sees it. */
function failure(error: unknown): Answer {
  const own = error instanceof PluginError ? error.status : undefined;
  const message = describeError(error).slice(0, MAX_TEXT);
  return { status: { code: own ?? statusCodeOf(codeOf(error)), message } };
}

export class Server {
  readonly #service: string;
  readonly #dispatch: Dispatch;
  readonly #send: (message: Message) => void;
  /** Of the requests that are handled. */
  readonly #running = new Set<AbortController>();
  #lastStream = 0;
  #ended = false;

  constructor(service: string, dispatch: Dispatch, send: (message: Message) => void) {
    this.#service = service;
    this.#dispatch = dispatch;
    this.#send = send;
  }

  /** Throws BrokenRule. Breaches of the rules of streams are answered, as ttrpc's own server does. */
  receive({ stream, type, data }: Message): void {
    if (type === MessageType.response) throw new BrokenRule('an answer on the connection on which it calls');
    if (type !== MessageType.request && type !== MessageType.data) return; // of a later ttrpc
    const refused = this.#checkStream(stream, type);
    if (refused) {
      this.#answer(stream, refused);
      return;
    }
    this.#lastStream = stream;
    const request = decodeRequest(data);
    const unfit = this.#checkRequest(request);
    if (unfit) this.#answer(stream, unfit);
    else void this.#run(stream, request);
  }

  /** Nothing is answered any more, and handlers are told. */
  end(reason: Error): void {
    this.#ended = true;
    for (const controller of this.#running) controller.abort(reason);
  }

  #checkStream(stream: number, type: number): Answer | undefined {
    if (stream % 2 !== 1) return refusal('INVALID_ARGUMENT', 'the streams of a client have odd numbers');
    if (type === MessageType.data) return refusal('INVALID_ARGUMENT', 'this service takes no stream data');
    if (stream <= this.#lastStream) return refusal('INVALID_ARGUMENT', 'the numbers of streams must ascend');
    return undefined;
  }

  #checkRequest({ service }: RequestEnvelope): Answer | undefined {
    if (service !== this.#service)
      return refusal('UNIMPLEMENTED', `there is no service ${clip(service)} here`);
    if (this.#running.size < MAX_REQUESTS) return undefined;
    return refusal('RESOURCE_EXHAUSTED', `${MAX_REQUESTS} requests are being handled`);
  }

  async #run(stream: number, { method, payload, timeoutNano }: RequestEnvelope): Promise<void> {
    const controller = new AbortController();
    this.#running.add(controller);
    const delay = Math.min(Math.max(Number(timeoutNano) / 1e6, 0), MAX_DELAY_MS);
    const late = () =>
      controller.abort(new PluginError('deadline', `the caller's time for ${method} is over`));
    const timer = timeoutNano === 0n ? undefined : setTimeout(late, delay);
    controller.signal.addEventListener('abort', () => clearTimeout(timer));
    try {
      const answer = this.#dispatch(method, payload, { signal: controller.signal });
      if (answer) this.#answer(stream, { payload: await answer });
      else this.#answer(stream, refusal('UNIMPLEMENTED', `there is no method ${clip(method)} here`));
    } catch (error) {
      this.#answer(stream, failure(error));
    } finally {
      clearTimeout(timer);
      this.#running.delete(controller);
    }
  }

  #answer(stream: number, answer: Answer): void {
    if (this.#ended) return;
    let data = envelopes.encode('Response', answer);
    if (data.length > MAX_MESSAGE) {
      const why = `the answer has ${data.length} bytes, where ttrpc allows ${MAX_MESSAGE}`;
      data = envelopes.encode('Response', refusal('RESOURCE_EXHAUSTED', why));
    }
    this.#send({ stream, type: MessageType.response, data });
  }
}

/** A name that the other side has chosen. */
const clip = (name: string): string => name.slice(0, 100);

function decodeRequest(data: Uint8Array): RequestEnvelope {
  try {
    return envelopes.decode('Request', data);
  } catch (error) {
    throw new BrokenRule('a malformed request', { cause: error });
  }
}
