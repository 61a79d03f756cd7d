import type { PeerAnnotation } from './annotation.ts';
import type { Leaf } from './leaf.ts';
import type { Assigned, PeerOption } from './option.ts';

/** A setting that follows from several keys, or from the place of a file. */
export interface Derived {
  readonly leaf: Leaf;
  readonly set: Assigned;
  readonly note: string;
}

/** What `finish` sees. */
export interface Translation {
  /** In the order of the files, without those that a later file overrides. */
  readonly leaves: readonly Leaf[];
  /** Whether an option of crisp, or one below these keys, is set. */
  isSet(...keys: readonly string[]): boolean;
}

export interface Peer {
  readonly name: string;
  /** The version whose options these are. */
  readonly version: string;
  readonly options: readonly PeerOption[];
  /** Those of pods on which it acts. */
  readonly annotations: readonly PeerAnnotation[];
  /** The keys of what a later file replaces as a whole where it has any of it: the key itself, or a table around it. */
  unit(keys: readonly string[]): readonly string[];
  /** What a value does to that of an earlier file: an `empty` one does nothing. */
  merge(leaf: Leaf): 'replaces' | 'adds' | 'empty';
  /** The files that `crisp config import` reads without arguments. */
  readonly defaultFiles: readonly string[];
  /** The keys of files and directories in the order in which the peer reads them. Throws InvalidArgument. */
  read(files: readonly string[]): Promise<Reading>;
  finish(translation: Translation): Derived[];
  /** Lines for the end of the output: what these files do not have, but a node with this peer does. */
  readonly reminders: readonly string[];
}

export interface Reading {
  readonly leaves: readonly Leaf[];
  /** The files that were read, in order. */
  readonly files: readonly string[];
  readonly warnings: readonly string[];
}
