/** The members of a checkpoint's archive, whose names are not trusted. Pure. */
import { CrispError } from '#core/errors.ts';
import { damaged, shown, type TarEntry } from '#core/tar/entry.ts';

/** Texts that are read before anything is made. */
export const TEXTS = ['config.dump', 'spec.dump', 'deleted.files'] as const;
export type TextName = (typeof TEXTS)[number];
/** The writable layer, an archive in the archive. */
export const LAYER = 'rootfs-diff.tar';
/** CRIU's files are all in one directory; this one is in every dump. */
export const IMAGES = 'checkpoint/';
export const INVENTORY = `${IMAGES}inventory.img`;

/** Bytes of one text: a specification with a large seccomp profile is a tenth of it. */
const MAX_TEXT = 4 << 20;
/** All members: CRIU writes some files for each process, and two for each thread. */
const MAX_MEMBERS = 200_000;

export interface Member {
  readonly kind: 'text' | 'image' | 'layer' | 'other';
  /** Without `./` and the slash of a directory. */
  readonly name: string;
}

/** Classifies the members of one archive, and refuses what could leave the directory that they are written into. */
export class Members {
  readonly #seen = new Set<string>();

  /** Throws InvalidArgument for a name that leads elsewhere or occurs twice, or a member that must be a file and is not. */
  take(entry: TarEntry): Member {
    const name = plainName(entry.name);
    if (this.#seen.has(name)) throw hostile(entry.name, 'it occurs twice');
    if (this.#seen.size >= MAX_MEMBERS) {
      throw new CrispError('ResourceExhausted', `checkpoint archive: more than ${MAX_MEMBERS} members`);
    }
    this.#seen.add(name);
    const kind = kindOf(name);
    if (kind === 'other') return { kind, name };
    if (entry.type !== 'file') throw hostile(entry.name, `a ${entry.type} instead of a file`);
    if (kind === 'text' && entry.size > MAX_TEXT) throw damaged(`${name} of ${entry.size} bytes`);
    return { kind, name };
  }

  /** Throws InvalidArgument where a part is missing without which nothing can be restored. */
  finish(): void {
    const missing = ['config.dump', 'spec.dump', INVENTORY].filter((name) => !this.#seen.has(name));
    if (missing.length === 0) return;
    throw new CrispError('InvalidArgument', `checkpoint archive: it has no ${missing.join(', no ')}`, {
      hint: 'name an archive that CheckpointContainer has written',
    });
  }
}

function kindOf(name: string): Member['kind'] {
  if ((TEXTS as readonly string[]).includes(name)) return 'text';
  if (name === LAYER) return 'layer';
  if (!name.startsWith(IMAGES)) return 'other';
  if (/^[\w.+-]{1,255}$/.test(name.slice(IMAGES.length))) return 'image';
  throw hostile(name, 'CRIU writes no such file');
}

function plainName(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (name.startsWith('/') || name.includes('\0') || parts.includes('..') || name.length > 4095)
    throw hostile(name, 'it must be relative, without ..');
  return parts.join('/');
}

const hostile = (name: string, why: string): CrispError =>
  new CrispError('InvalidArgument', `checkpoint archive: member ${shown(name)}: ${why}`, {
    hint: 'name an archive that CheckpointContainer has written',
  });
