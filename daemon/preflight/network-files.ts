/** The CNI configurations of the node, each with its error and the line of that, also those that are not used. */
import { LineCounter, parseDocument } from 'yaml';
import type { Config } from '#config/index.ts';
import { describeError } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import {
  ConfDirectory,
  listConfFiles,
  type NetworkConfig,
  parseNetworkConfig,
  readConfFile,
} from '#pod-sandbox/index.ts';

export interface NetworkFile {
  readonly path: string;
  /** undefined: see `error`. */
  readonly config?: NetworkConfig;
  readonly error?: string;
  /** Of the error, from 1; undefined where it has none. */
  readonly line?: number;
}

/** By name; none where the directory cannot be read. */
export async function networkFiles(directory: string): Promise<readonly NetworkFile[]> {
  const { files } = await listConfFiles(directory, 0).catch(() => ({ files: [] }));
  return await Promise.all(
    files.map(async (file) => {
      let text = '';
      try {
        text = await readConfFile(file);
        return { path: file.path, config: parseNetworkConfig(file.path, text) };
      } catch (error) {
        const message = describeError(error);
        const line = text === '' ? undefined : lineOf(text, message);
        return { path: file.path, error: message, ...(line === undefined ? {} : { line }) };
      }
    }),
  );
}

/** See `Node.networks`. */
export async function usedNetworks({ cni, runtime }: Config): Promise<readonly NetworkConfig[]> {
  const ofHandlers = Object.values(runtime.handlers)
    .filter(({ cniConfDir = '' }) => cniConfDir !== '')
    .map(({ cniConfDir = '', cniMaxNetworks }) => ({
      directory: cniConfDir,
      name: '',
      max: cniMaxNetworks || cni.maxNetworks,
    }));
  const places = [{ directory: cni.confDir, name: cni.network, max: cni.maxNetworks }, ...ofHandlers];
  const found: NetworkConfig[] = [];
  for (const { directory, name, max } of places) {
    const unwatched = { watch: () => undefined as never };
    const networks = new ConfDirectory(directory, silentLog, unwatched, name, () => {}, max);
    try {
      found.push(...(await networks.all()));
    } finally {
      networks.close();
    }
  }
  return [...new Map(found.map((network) => [network.source, network])).values()];
}

/** JSON.parse names a line; of a key that is not valid the line is looked for. */
export function lineOf(text: string, message: string): number | undefined {
  const named = /\(line (\d+) column \d+\)/.exec(message)?.[1];
  if (named !== undefined) return Number(named);
  if (/is not JSON/.test(message)) return lineAt(text, placeOfError(text));
  const [, name = '', index, key] =
    /has (name|cniVersion|plugins)(?:\[(\d+)\])?(?:\.(\w+))?/.exec(message) ?? [];
  const path = [name, ...(index === undefined ? [] : [Number(index)]), ...(key === undefined ? [] : [key])];
  const lines = new LineCounter();
  // JSON is YAML, whose parser keeps the places.
  const document = parseDocument(text, { lineCounter: lines });
  for (let depth = path.length; depth > 0; depth--) {
    const found = document.getIn(path.slice(0, depth), true);
    if (typeof found !== 'object' || found === null || !('range' in found)) continue;
    const [start] = found.range as readonly number[];
    return lines.linePos(start ?? 0).line;
  }
  return 1;
}

const TOKEN =
  /\s+|[{}[\],:]|"(?:[^"\\\p{Cc}]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null)(?!\w)/uy;

/** The first token that JSON does not have, or a bracket after a comma; else the end: the text is cut off. */
function placeOfError(text: string): number {
  let last = '';
  let at = 0;
  while (at < text.trimEnd().length) {
    TOKEN.lastIndex = at;
    const [token] = TOKEN.exec(text) ?? [];
    if (token === undefined || (last === ',' && /^[\]}]/.test(token))) return at;
    if (token.trim() !== '') last = token;
    at += token.length;
  }
  return at;
}

const lineAt = (text: string, place: number): number => text.slice(0, place).split('\n').length;
