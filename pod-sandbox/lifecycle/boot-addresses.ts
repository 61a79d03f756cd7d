import { createHash } from 'node:crypto';
import { VolatileCopies } from '#core/volatile-copies.ts';
import type { UsedAddress } from '../network/bridge/host-local.ts';

const VERSION = 1;

const keyOf = ({ address, id }: UsedAddress): string => `${address} ${id}`;
const nameOf = (directory: string): string =>
  createHash('sha256').update(directory).digest('hex').slice(0, 16);

/**
 * The addresses that had an owner when crisp first looked in this boot, by directory of host-local. They are in the state
 * directory under the boot's id: no clock is asked, a daemon that was killed finds them again, and after a power cut or another
 * boot they are taken anew.
 */
export class BootAddresses {
  readonly #copies: VolatileCopies;

  /** `parent`: this list's own directory. Throws where it cannot be made. */
  constructor(parent: string, bootId: string) {
    this.#copies = new VolatileCopies(parent, bootId);
    this.#copies.open();
  }

  /**
   * Those of `present` that were there at the first look of this boot, with the same owner; all of them where this is it, which is
   * recorded before it returns. Throws where that cannot be.
   */
  of(directory: string, present: readonly UsedAddress[]): UsedAddress[] {
    const recorded = read(this.#copies.read(nameOf(directory)), directory);
    if (recorded) return present.filter((one) => recorded.has(keyOf(one)));
    const text = JSON.stringify({ version: VERSION, directory, addresses: present.map(keyOf) });
    this.#copies.write(nameOf(directory), text);
    return [...present];
  }
}

/** undefined where it is none of ours: it is taken anew. */
function read(text: string | undefined, directory: string): ReadonlySet<unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    const { version, directory: of, addresses } = JSON.parse(text);
    return version === VERSION && of === directory && Array.isArray(addresses)
      ? new Set(addresses)
      : undefined;
  } catch {
    return undefined;
  }
}
