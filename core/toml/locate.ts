/**
 * Finds the lines of keys in TOML text, which the parser does not report. The text has been parsed before, so it is
 * known to be well-formed; a path is its keys joined by NUL, elements of arrays by their index.
 */
export const joinPath = (keys: readonly string[]): string => keys.join('\0');

class Scanner {
  readonly lines = new Map<string, number>();
  readonly #text: string;
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  document(): void {
    let header: string[] = [];
    const tables = new Map<string, number>(); // arrays of tables, with the index of their last element
    /** The path of a header's keys: below an array it is that of the last element. */
    const below = (keys: readonly string[]): string[] => {
      const path: string[] = [];
      for (const key of keys) {
        path.push(key);
        const last = tables.get(joinPath(path));
        if (last !== undefined) path.push(String(last));
      }
      return path;
    };
    for (this.#blank(true); this.#at < this.#text.length; this.#blank(true)) {
      if (this.#peek() !== '[') {
        this.#pair(header);
        continue;
      }
      const isArray = this.#text.startsWith('[[', this.#at);
      this.#advance(isArray ? 2 : 1);
      const keys = this.#key(']');
      this.#advance(isArray ? 2 : 1);
      header = isArray ? [...below(keys.slice(0, -1)), ...keys.slice(-1)] : below(keys);
      if (isArray) {
        const index = (tables.get(joinPath(header)) ?? -1) + 1;
        tables.set(joinPath(header), index);
        header = [...header, String(index)];
      }
      this.#note(header);
    }
  }

  #peek(): string {
    return this.#text.charAt(this.#at);
  }

  #advance(count: number): void {
    for (const end = this.#at + count; this.#at < end; this.#at++) if (this.#peek() === '\n') this.#line++;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#advance(found.length);
    return found;
  }

  /** Skips white space and comments; with `lines` also newlines. */
  #blank(lines: boolean): void {
    this.#match(lines ? /(?:[ \t\r\n]|#[^\n]*)*/y : /[ \t]*/y);
  }

  #note(path: readonly string[]): void {
    const key = joinPath(path);
    if (!this.lines.has(key)) this.lines.set(key, this.#line);
  }

  /** A dotted key up to the end mark, which is not consumed. */
  #key(end: string): string[] {
    const keys: string[] = [];
    for (this.#blank(false); this.#peek() !== end && this.#at < this.#text.length; this.#blank(false)) {
      const basic = this.#match(/"(?:[^"\\\n]|\\.)*"/y);
      const word = basic || this.#match(/'[^'\n]*'/y) || this.#match(/[A-Za-z0-9_-]+/y);
      if (basic) keys.push(unquote(basic));
      else if (word) keys.push(word.replaceAll("'", ''));
      else this.#advance(1); // the dot
    }
    return keys;
  }

  #pair(prefix: readonly string[]): void {
    const line = this.#line;
    const keys = [...prefix, ...this.#key('=')];
    for (let length = prefix.length + 1; length <= keys.length; length++) {
      const key = joinPath(keys.slice(0, length));
      if (!this.lines.has(key)) this.lines.set(key, line);
    }
    this.#advance(1);
    this.#blank(false);
    this.#value(keys);
  }

  #value(path: readonly string[]): void {
    if (this.#peek() === '[') this.#items(']', (index) => this.#element([...path, String(index)]));
    else if (this.#peek() === '{') this.#items('}', () => this.#pair(path));
    else {
      const string =
        this.#match(/"""(?:[^\\]|\\[\s\S])*?"{3,5}/y) ||
        this.#match(/'''[\s\S]*?'{3,5}/y) ||
        this.#match(/"(?:[^"\\\n]|\\.)*"/y) ||
        this.#match(/'[^'\n]*'/y);
      if (!string) this.#match(/[^,\]}#\n]+/y);
    }
  }

  #element(path: readonly string[]): void {
    this.#note(path);
    this.#value(path);
  }

  #items(end: string, item: (index: number) => void): void {
    this.#advance(1);
    this.#blank(true);
    for (let index = 0; this.#peek() !== end && this.#at < this.#text.length; index++) {
      item(index);
      this.#blank(true);
      if (this.#peek() === ',') this.#advance(1);
      this.#blank(true);
    }
    this.#advance(1);
  }
}

function unquote(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted.slice(1, -1); // an escape that TOML has and JSON lacks: the line is then that of the parent
  }
}

/** The line (from 1) of each key of the text. */
export function locateKeys(text: string): ReadonlyMap<string, number> {
  const scanner = new Scanner(text);
  scanner.document();
  return scanner.lines;
}
