/** The service manager's end of sd_notify(3): a socket of datagrams, which Node cannot open. */
import { closeSync } from 'node:fs';
import { bind } from '#linux/libc/c-library.ts';
import { check } from '#linux/libc/errno.ts';
import { receiveBytes, socket } from '#linux/libc/libc.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_DONTWAIT = 0x40;

const bindSocket = bind<(fd: number, address: Uint8Array, length: number) => number>(
  'int bind(int fd, const uint8_t *address, uint32_t length)',
);

export class NotifySocket implements Disposable {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(4096);
  /** All datagrams so far, each as its lines. */
  readonly #received: string[][] = [];

  constructor(path: string) {
    this.#fd = check(socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), 'open a unix socket');
    const address = Buffer.concat([Buffer.of(AF_UNIX, 0), Buffer.from(`${path}\0`)]);
    check(bindSocket(this.#fd, address, address.length), `bind ${path}`);
  }

  /** In the order in which they were sent; those that have arrived. */
  get received(): readonly (readonly string[])[] {
    for (;;) {
      const length = receiveBytes(this.#fd, this.#bytes, this.#bytes.length, MSG_DONTWAIT);
      if (length < 0) return this.#received;
      this.#received.push(this.#bytes.toString('utf8', 0, length).trimEnd().split('\n'));
    }
  }

  /** Of each datagram the first line. */
  get states(): readonly (string | undefined)[] {
    return this.received.map(([state]) => state);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
