/** A SOCKS5 proxy (RFC 1928) for names, optionally with user and password (RFC 1929). */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Socks extends AsyncDisposable {
  readonly host: string;
  /** `name:port` of each connection. */
  readonly seen: string[];
}

export async function startSocks(
  address: string,
  hosts: Readonly<Record<string, number>>,
  login?: string,
): Promise<Socks> {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  };
  const server = createServer(async (client) => {
    keep(client);
    const next = async () => (await once(client, 'data'))[0] as Buffer;
    await next();
    client.write(Buffer.from([5, login === undefined ? 0 : 2]));
    if (login !== undefined) {
      const sent = await next();
      const userEnd = 2 + (sent[1] ?? 0);
      const pair = `${sent.subarray(2, userEnd)}:${sent.subarray(userEnd + 1)}`;
      client.write(Buffer.from([1, pair === login ? 0 : 1]));
      if (pair !== login) return void client.end();
    }
    const request = await next();
    const length = request[4] ?? 0;
    const name = `${request.subarray(5, 5 + length)}:${request.readUInt16BE(5 + length)}`;
    seen.push(name);
    const port = hosts[name];
    const reply = (code: number) => client.write(Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0]));
    if (port === undefined) {
      reply(4);
      return void client.end();
    }
    const onward = connect(port, address, () => {
      reply(0);
      client.pipe(onward).pipe(client);
    });
    keep(onward);
  }).listen(0, address);
  await once(server, 'listening');
  return {
    host: `${address}:${(server.address() as AddressInfo).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
