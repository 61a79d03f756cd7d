/** What pulls in progress need before a record names it: the garbage collector keeps it. */
export class Leases {
  readonly #held = new Map<string, number>();

  /** Holds layer keys and digests until the end of the scope. */
  hold(names: Iterable<string>): Disposable {
    const held = [...names];
    for (const name of held) this.#held.set(name, (this.#held.get(name) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        for (const name of held.splice(0)) {
          const count = (this.#held.get(name) ?? 1) - 1;
          if (count === 0) this.#held.delete(name);
          else this.#held.set(name, count);
        }
      },
    };
  }

  has(name: string): boolean {
    return this.#held.has(name);
  }
}
