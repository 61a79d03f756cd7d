import { damaged, shown, type TarHandler, unsupported } from './entry.ts';
import { ExtendedHeaders, type Member } from './extended.ts';
import { BLOCK, type Header, isZero, number, readHeader } from './header.ts';
import { checkMap, LinesMap, type MapReader, OldGnuMap, recordsMap, SparseContent } from './sparse.ts';

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
  | { readonly at: 'map'; readonly map: MapReader; readonly member: Member }
  | { readonly at: 'content'; readonly sparse: SparseContent | undefined; left: number; padding: number }
  | { readonly at: 'padding'; left: number }
  | { readonly at: 'end' };

/**
 * Reads an archive that is pushed to it in pieces of any size: V7, ustar, GNU, pax, with sparse files of each form. It calls
 * its handler in step, so what a piece holds has been handled when `write` returns.
 */
export class TarReader {
  readonly #handler: TarHandler;
  #state: State = { at: 'header' };
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  #zeros = 0;
  readonly #extended = new ExtendedHeaders();
  #last: string | undefined;

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
      else if (state.at === 'map') at = this.#takeMap(piece, at, state);
      else at = this.#takeContent(piece, at, state);
    }
  }

  /** Whether the blocks that end an archive have come: some writers leave them out. */
  get ended(): boolean {
    return this.#state.at === 'end';
  }

  /** The name of the last member whose header was read, for messages. */
  get last(): string | undefined {
    return this.#last;
  }

  /** Ends the input. Throws DataLoss where the archive ends in the middle of an entry. */
  end(): void {
    // Two zero blocks end an archive; writers that leave them out end it between entries.
    if (this.#state.at === 'end') return;
    if (this.#state.at === 'padding') return;
    if (this.#state.at !== 'header' || this.#filled > 0 || this.#extended.pending)
      throw damaged('it ends within an entry');
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
    this.#begin(readHeader(block), block);
    return next;
  }

  #begin(header: Header, block: Buffer): void {
    const { flag } = header;
    if (flag === 'L' || flag === 'K' || flag === 'x' || flag === 'g') {
      if (header.size > EXTENSION_LIMIT) throw damaged(`an extended header of ${header.size} bytes`);
      if (header.size === 0) return;
      const body = Buffer.alloc(header.size);
      this.#state = { at: 'extension', flag, body, filled: 0, padding: padding(header.size) };
      return;
    }
    // A label of the whole archive: GNU tar's --label.
    if (flag === 'V') {
      this.#skip(header.size);
      return;
    }
    const member = this.#extended.member(header);
    const { entry, stored } = member;
    this.#last = entry.name;
    const map = mapOf(header, block, member);
    if (map && !this.#handler.hole) throw unsupported(`sparse file ${shown(entry.name)}`);
    this.#handler.entry(entry);
    if (!map) this.#startContent(stored, stored);
    else if (map.done) this.#startSparse(map, member);
    else this.#state = { at: 'map', map, member };
  }

  #skip(size: number): void {
    if (size > 0) this.#state = { at: 'padding', left: size + padding(size) };
  }

  /** `left`: bytes of data that follow, of `stored` bytes in the archive. */
  #startContent(left: number, stored: number, sparse?: SparseContent): void {
    if (left > 0) {
      this.#state = { at: 'content', sparse, left, padding: padding(stored) };
      return;
    }
    sparse?.end();
    this.#handler.entryEnd();
    this.#state = { at: 'header' };
  }

  /** After the map of a sparse file. */
  #startSparse(map: MapReader, { entry, stored }: Member): void {
    const left = map instanceof LinesMap ? stored - map.taken : stored;
    const whole = { pairs: map.pairs, size: entry.size };
    checkMap(whole, left, entry.name);
    const { data, hole } = this.#handler;
    const sink = { data: data.bind(this.#handler), hole: (hole ?? (() => {})).bind(this.#handler) };
    this.#startContent(left, stored, new SparseContent(whole, sink));
  }

  #takeMap(piece: Buffer, at: number, { map, member }: Extract<State, { at: 'map' }>): number {
    const next = map.take(piece, at);
    // Lines of a map are part of the content, and end in it.
    if (map instanceof LinesMap && map.taken > member.stored)
      throw damaged(`sparse file ${shown(member.entry.name)}: its map is cut`);
    if (map.done) this.#startSparse(map, member);
    return next;
  }

  #takeExtension(piece: Buffer, at: number, state: Extract<State, { at: 'extension' }>): number {
    const { body } = state;
    const count = Math.min(body.length - state.filled, piece.length - at);
    piece.copy(body, state.filled, at, at + count);
    state.filled += count;
    if (state.filled < body.length) return at + count;
    this.#extended.add(state.flag, body);
    this.#state = state.padding > 0 ? { at: 'padding', left: state.padding } : { at: 'header' };
    return at + count;
  }

  #takeContent(piece: Buffer, at: number, state: Extract<State, { at: 'content' | 'padding' }>): number {
    const count = Math.min(state.left, piece.length - at);
    state.left -= count;
    if (state.at === 'content') (state.sparse ?? this.#handler).data(piece.subarray(at, at + count));
    if (state.left > 0) return at + count;
    if (state.at === 'content') {
      state.sparse?.end();
      this.#handler.entryEnd();
    }
    const follows = state.at === 'content' && state.padding > 0;
    this.#state = follows ? { at: 'padding', left: state.padding } : { at: 'header' };
    return at + count;
  }
}

/** The map of a sparse file, of whatever form; undefined for any other member. */
function mapOf({ flag }: Header, block: Buffer, { entry, sparse }: Member): MapReader | undefined {
  if (flag === 'S') return new OldGnuMap(block, entry.name, (of, at) => number(of, at, 12, 'sparse map'));
  if (!sparse) return undefined;
  if (sparse.major > 1) throw unsupported(`sparse file ${shown(entry.name)} of version ${sparse.major}`);
  return sparse.major === 1 ? new LinesMap(entry.name) : recordsMap(sparse.pairs, entry.name);
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;
