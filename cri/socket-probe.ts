import { connectCri } from '#api/cri/v1/index.ts';

/** Asks a CRI socket as its clients do. */
export interface SocketProbe extends Disposable {
  /** Settles with the answer to Version. Throws RpcError where there is none, also at the abort. */
  ask(signal: AbortSignal): Promise<void>;
}

/** Connects at the first question. */
export function socketProbe(socket: string): SocketProbe {
  const client = connectCri(socket);
  return {
    ask: async (signal) => void (await client.Version({}, { signal })),
    [Symbol.dispose]: () => client.close(),
  };
}
