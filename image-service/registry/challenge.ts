/** One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1). */
export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
/** Unquoted values of some registries have more than a token may: `realm=https://auth.example/token`. */
const BARE = /[^\s,;"]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
const LIMIT = 8192;

/** Reads all challenges of one header value; stops without an error where it is malformed, and keeps what came before. */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, LIMIT);
  const found: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const result = pattern.exec(text);
    if (result) at += result[0].length;
    return result;
  };
  for (;;) {
    match(/[\s,;]*/y);
    const word = match(TOKEN)?.[0];
    if (word === undefined) return found;
    if (!match(/\s*=\s*/y)) {
      found.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    const quoted = match(QUOTED);
    const value = quoted ? (quoted[1] ?? '').replace(/\\(.)/g, '$1') : match(BARE)?.[0];
    const challenge = found.at(-1);
    if (!challenge) return found;
    // Without a value it is the padding of a token (`Negotiate YII=`), or the text ends within quotes.
    if (value !== undefined) challenge.parameters.set(word.toLowerCase(), value);
  }
}
