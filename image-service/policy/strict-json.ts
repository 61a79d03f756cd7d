/**
 * JSON where a duplicate or unknown key is an error, as containers-policy.json(5) and the payloads of signatures are read:
 * two readers must never see different content in one document.
 */

/** Paths of deeper places would take the square of a document's size. */
const MAX_DEPTH = 32;

/** The value at one place of a document, whose checks throw the error of its reader. */
export class JsonPlace {
  readonly value: unknown;
  /** `transports.docker["quay.io"][0]`; empty for the document itself. */
  readonly path: string;
  readonly #document: JsonDocument;

  constructor(value: unknown, path: string, document: JsonDocument) {
    this.value = value;
    this.path = path;
    this.#document = document;
  }

  /** `file:line: path`, for messages. */
  get where(): string {
    const { name, lines } = this.#document;
    const line = lines.get(this.path);
    return `${name}${line === undefined ? '' : `:${line}`}${this.path === '' ? '' : `: ${this.path}`}`;
  }

  /** Throws the reader's error for this place. */
  fail(why: string): never {
    throw this.#document.error(`${this.where}: ${why}`);
  }

  /** The members of an object, in their order. */
  members(): ReadonlyMap<string, JsonPlace> {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return this.fail('it must be an object');
    return new Map(
      Object.entries(value).map(([key, child]) => [
        key,
        new JsonPlace(child, memberPath(this.path, key), this.#document),
      ]),
    );
  }

  /** The members of an object that has no others than these. */
  fields(known: readonly string[]): ReadonlyMap<string, JsonPlace> {
    const members = this.members();
    for (const [key, place] of members) if (!known.includes(key)) place.fail('unknown key');
    return members;
  }

  /** The members of an object that has each of these, and no others. */
  exactly<K extends string>(...keys: readonly K[]): Readonly<Record<K, JsonPlace>> {
    const members = this.fields(keys);
    const found: Record<string, JsonPlace> = {};
    for (const key of keys) found[key] = members.get(key) ?? this.fail(`${key} is missing`);
    return found as Record<K, JsonPlace>;
  }

  items(): readonly JsonPlace[] {
    if (!Array.isArray(this.value)) return this.fail('it must be a list');
    return this.value.map((item, at) => new JsonPlace(item, `${this.path}[${at}]`, this.#document));
  }

  text(): string {
    return typeof this.value === 'string' ? this.value : this.fail('it must be a string');
  }
}

interface JsonDocument {
  /** The file, or what the document is. */
  readonly name: string;
  readonly lines: ReadonlyMap<string, number>;
  readonly error: (message: string) => Error;
}

/** Reads a document. Throws `error(…)` where it is not JSON or has a key twice, and for each failed check of its places. */
export function readStrictJson(text: string, name: string, error: (message: string) => Error): JsonPlace {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (reason) {
    throw error(`${name}: not valid JSON: ${reason instanceof Error ? reason.message : String(reason)}`);
  }
  const { lines, duplicate, tooDeep } = scan(text);
  const document = { name, lines, error };
  if (tooDeep) throw error(`${name}: more than ${MAX_DEPTH} levels of lists and objects`);
  if (duplicate !== undefined) new JsonPlace(undefined, duplicate, document).fail('the key is given twice');
  return new JsonPlace(value, '', document);
}

const memberPath = (parent: string, key: string): string =>
  /^[A-Za-z_][A-Za-z0-9_-]{0,80}$/.test(key)
    ? `${parent}${parent === '' ? '' : '.'}${key}`
    : `${parent}[${JSON.stringify(key.length > 200 ? `${key.slice(0, 200)}…` : key)}]`;

interface Level {
  readonly path: string;
  /** The keys so far, of an object. */
  readonly keys: Set<string> | undefined;
  key: string;
  index: number;
}

/** The line of each place of valid JSON, and the path of the last key that an object has twice. */
function scan(text: string): {
  lines: Map<string, number>;
  duplicate: string | undefined;
  tooDeep: boolean;
} {
  const lines = new Map<string, number>();
  const levels: Level[] = [];
  let line = 1;
  let duplicate: string | undefined;
  let keyNext = false;
  const here = () => {
    const level = levels.at(-1);
    if (!level) return '';
    return level.keys ? memberPath(level.path, level.key) : `${level.path}[${level.index}]`;
  };
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    const level = levels.at(-1);
    if (character === '\n') line++;
    if (/\s|:/.test(character)) continue;
    if (character === '}' || character === ']') {
      levels.pop();
      keyNext = false;
      continue;
    }
    if (character === ',') {
      if (level && !level.keys) level.index++;
      keyNext = level?.keys !== undefined;
      continue;
    }
    const end = character === '"' ? endOfString(text, at) : at;
    if (keyNext && level?.keys) {
      level.key = JSON.parse(text.slice(at, end + 1)) as string;
      if (level.keys.has(level.key)) duplicate = here();
      level.keys.add(level.key);
      keyNext = false;
      lines.set(here(), line);
    } else if (!level?.keys && !lines.has(here())) lines.set(here(), line);
    if (character === '{' || character === '[') {
      const keys = character === '{' ? new Set<string>() : undefined;
      levels.push({ path: here(), keys, key: '', index: 0 });
      if (levels.length > MAX_DEPTH) return { lines, duplicate, tooDeep: true };
      keyNext = keys !== undefined;
    }
    at = end;
  }
  return { lines, duplicate, tooDeep: false };
}

/** The index of the closing quote. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}
