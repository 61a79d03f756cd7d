import { damaged, shown, type TarEntry, type TarHandler, unsupported } from './entry.ts';
import { BLOCK, entryTypes, type Header, isZero, readHeader } from './header.ts';
import { type PaxFields, readPax } from './pax.ts';

/** Bytes that one long name or one set of pax records may have: xattrs are 64 KiB at most each. */
const EXTENSION_LIMIT = 1 << 20;

type State =
  | { readonly at: 'header' }
  | {
      readonly at: 'extension';
      readonly flag: string;
      readonly body: Buffer;
      filled: number;
      padding: number;
    }
  | { readonly at: 'content'; left: number; padding: number }
  | { readonly at: 'padding'; left: number }
  | { readonly at: 'end' };

/**
 * Reads an archive that is pushed to it in pieces of any size: ustar, GNU long names, pax. It calls its handler in
 * step, so what a piece holds has been handled when `write` returns. Sparse files are refused.
 */
export class TarReader {
  readonly #handler: TarHandler;
  #state: State = { at: 'header' };
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  #zeros = 0;
  #longName: string | undefined;
  #longLink: string | undefined;
  #pax: PaxFields | undefined;
  #global: PaxFields | undefined;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** Takes the next piece. Throws where the archive is damaged or the handler refuses. */
  write(piece: Buffer): void {
    let at = 0;
    while (at < piece.length) {
      const state = this.#state;
      if (state.at === 'end') return; // what follows the end is padding of the writer's blocks
      if (state.at === 'header') at = this.#takeHeader(piece, at);
      else if (state.at === 'extension') at = this.#takeExtension(piece, at, state);
      else at = this.#takeContent(piece, at, state);
    }
  }

  /** Whether the blocks that end an archive have come: some writers leave them out. */
  get ended(): boolean {
    return this.#state.at === 'end';
  }

  /** Ends the input. Throws DataLoss where the archive ends in the middle of an entry. */
  end(): void {
    // Two zero blocks end an archive; writers that leave them out end it between entries.
    const pending = this.#longName !== undefined || this.#longLink !== undefined || this.#pax !== undefined;
    if (this.#state.at === 'end') return;
    if (this.#state.at === 'padding') return;
    if (this.#state.at !== 'header' || this.#filled > 0 || pending) throw damaged('it ends within an entry');
  }

  #takeHeader(piece: Buffer, at: number): number {
    let block: Buffer = this.#block;
    let next = at;
    if (this.#filled === 0 && piece.length - at >= BLOCK) {
      next = at + BLOCK;
      block = piece.subarray(at, next);
    } else {
      const count = Math.min(BLOCK - this.#filled, piece.length - at);
      piece.copy(block, this.#filled, at, at + count);
      this.#filled += count;
      next = at + count;
      if (this.#filled < BLOCK) return next;
      this.#filled = 0;
    }
    if (block[0] === 0 && isZero(block)) {
      if (++this.#zeros === 2) this.#state = { at: 'end' };
      return next;
    }
    this.#zeros = 0;
    this.#begin(readHeader(block));
    return next;
  }

  #begin(header: Header): void {
    const { flag } = header;
    if (flag === 'L' || flag === 'K' || flag === 'x' || flag === 'g') {
      if (header.size > EXTENSION_LIMIT) throw damaged(`an extended header of ${header.size} bytes`);
      if (header.size === 0) return;
      const body = Buffer.alloc(header.size);
      this.#state = { at: 'extension', flag, body, filled: 0, padding: padding(header.size) };
      return;
    }
    if (flag === 'S') throw unsupported(`sparse file ${shown(header.name)}`);
    const entry = this.#entry(header);
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#pax = undefined;
    this.#handler.entry(entry);
    if (entry.size === 0) {
      this.#handler.entryEnd();
      this.#state = { at: 'header' };
      return;
    }
    this.#state = { at: 'content', left: entry.size, padding: padding(entry.size) };
  }

  #entry(header: Header): TarEntry {
    const pax = { ...this.#global, ...this.#pax };
    const name = pax.path ?? this.#longName ?? header.name;
    // Before POSIX a directory was marked by a slash at the end of its name.
    const old = header.flag === '0' && name.endsWith('/');
    const size = pax.size ?? header.size;
    if (old && size > 0) throw damaged(`directory ${shown(name)} with content`);
    const type = old ? 'directory' : entryTypes[header.flag];
    if (!type) throw unsupported(`entry ${shown(name)} of type ${shown(header.flag)}`);
    return {
      type,
      name,
      link: pax.linkpath ?? this.#longLink ?? header.link,
      mode: header.mode,
      uid: pax.uid ?? header.uid,
      gid: pax.gid ?? header.gid,
      // Only files have content: other types may carry a size that nothing follows (a hard link's).
      size: type === 'file' ? size : 0,
      mtime: pax.mtime ?? BigInt(header.mtime) * 1_000_000_000n,
      major: header.major,
      minor: header.minor,
      xattrs: this.#pax?.xattrs ?? new Map(),
    };
  }

  #takeExtension(piece: Buffer, at: number, state: Extract<State, { at: 'extension' }>): number {
    const { body } = state;
    const count = Math.min(body.length - state.filled, piece.length - at);
    piece.copy(body, state.filled, at, at + count);
    state.filled += count;
    if (state.filled < body.length) return at + count;
    if (state.flag === 'L') this.#longName = cString(body);
    else if (state.flag === 'K') this.#longLink = cString(body);
    else if (state.flag === 'x') this.#pax = readPax(body);
    else this.#global = readPax(body);
    this.#state = state.padding > 0 ? { at: 'padding', left: state.padding } : { at: 'header' };
    return at + count;
  }

  #takeContent(piece: Buffer, at: number, state: Extract<State, { at: 'content' | 'padding' }>): number {
    const count = Math.min(state.left, piece.length - at);
    if (state.at === 'content') this.#handler.data(piece.subarray(at, at + count));
    state.left -= count;
    if (state.left === 0) {
      if (state.at === 'content') this.#handler.entryEnd();
      const follows = state.at === 'content' && state.padding > 0;
      this.#state = follows ? { at: 'padding', left: state.padding } : { at: 'header' };
    }
    return at + count;
  }
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

function cString(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end < 0 ? body.length : end);
}
