/** What is kept about one path of a layer until the end of its archive. */
export interface Note {
  /** Modification time of a directory, set after the last write into it. */
  mtime?: bigint;
  /** The whole mode of a directory that gets its setgid bit last. */
  setgid?: number;
  /** Whether it is a directory that came without an entry of its own. */
  implied?: boolean;
  /** The target of a hard link to what is not in this layer, and its position among the links of the archive. */
  link?: { readonly target: string; readonly order: number };
}

interface Node {
  readonly note: Note;
  children?: Map<string, Node>;
}

/**
 * The notes of a layer's paths as a tree: replacing a directory drops all notes below it in one
 * step, and a note costs the memory of its name, not of its path. Paths have no symlinks; '' is the root.
 */
export class LayerNotes {
  #top: Node = { note: {} };

  /** The note of this path, created if there is none. */
  at(path: string): Note {
    let node = this.#top;
    for (const part of components(path)) {
      node.children ??= new Map();
      let next = node.children.get(part);
      if (!next) {
        next = { note: {} };
        node.children.set(part, next);
      }
      node = next;
    }
    return node.note;
  }

  find(path: string): Note | undefined {
    return this.#node(components(path))?.note;
  }

  /** Drops the path and all below it. */
  drop(path: string): void {
    const parts = components(path);
    const last = parts.pop();
    if (last === undefined) this.#top = { note: {} };
    else this.#node(parts)?.children?.delete(last);
  }

  /** All notes with their paths, each after those above it. */
  *[Symbol.iterator](): Generator<[path: string, note: Note]> {
    const todo: [string, Node][] = [['', this.#top]];
    for (let next = todo.pop(); next; next = todo.pop()) {
      const [path, { note, children }] = next;
      yield [path, note];
      for (const [name, child] of children ?? []) todo.push([path === '' ? name : `${path}/${name}`, child]);
    }
  }

  #node(parts: readonly string[]): Node | undefined {
    let node: Node | undefined = this.#top;
    for (const part of parts) node = node?.children?.get(part);
    return node;
  }
}

const components = (path: string): string[] => (path === '' ? [] : path.split('/'));
