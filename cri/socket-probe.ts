import { connectCri } from '#api/cri/v1/index.ts';

/** Asks a CRI socket as its clients do. */
export interface SocketProbe extends Disposable {
  /** Settles with the answer to Version. Throws RpcError where there is none in time. */
  ask(): Promise<void>;
}

/** `answerMs`: how long an answer may take. Connects at the first question. */
export function socketProbe(socket: string, answerMs: number): SocketProbe {
  const client = connectCri(socket);
  return {
    ask: async () => void (await client.Version({}, { timeoutMs: answerMs })),
    [Symbol.dispose]: () => client.close(),
  };
}
