/**
 * The features of an OCI runtime's program, by its own report. Old ones ignore an id map without an error, and a volume's
 * files belong to no handler, so only the features of this very program count.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { endText } from '../signals.ts';
import { type DeviceDocument, type DeviceFeatures, deviceFeatures } from './device-features.ts';
import { type ProcessFeatures, processFeatures } from './process-features.ts';
import { PROGRAM_ENV } from './programs.ts';

export interface HandlerFeatures extends DeviceFeatures, ProcessFeatures {
  /** First line of `--version`. */
  readonly version: string;
  /** Applies `uidMappings` and `gidMappings` of mounts. */
  readonly idMappedMounts: boolean;
  /** Takes `ridmap`, by which an id map covers the mounts below the source as well. */
  readonly idMapsTrees: boolean;
  /** Applies the mount option `rro`. */
  readonly recursiveReadOnly: boolean;
  readonly checkpoint: boolean;
}

interface Kept {
  readonly identity: string;
  readonly features: HandlerFeatures;
}

/** The part of the OCI features document that counts here (runtime-spec, features.md); not trusted. */
interface Document {
  readonly mountOptions?: unknown;
  readonly linux?: DeviceDocument & {
    readonly mountExtensions?: { readonly idmap?: { readonly enabled?: unknown } };
  };
  readonly annotations?: Readonly<Record<string, unknown>>;
}

/**
 * From the outputs of `features` and `--version`. A crun before `features` (1.8.1 is Debian's) applies both mappings and
 * `rro`, but maps the top mount alone and drops those below it; of other runtimes without the sub-command nothing is
 * known.
 */
export function featuresOf(features: string | undefined, version: string): HandlerFeatures {
  const line = version.split('\n')[0] ?? '';
  const document = features === undefined ? undefined : parse(features);
  if (!document) {
    const [, major = '0', minor = '0'] = /^crun version (\d+)\.(\d+)/.exec(line) ?? [];
    const known = Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 8);
    const checkpoint = known && /\+CRIU\b/.test(version);
    return {
      version: line,
      idMappedMounts: known,
      idMapsTrees: false,
      recursiveReadOnly: known,
      checkpoint,
      ...deviceFeatures(undefined, line),
      ...processFeatures(line),
    };
  }
  const options = new Set(Array.isArray(document.mountOptions) ? document.mountOptions : []);
  const idMappedMounts = document.linux?.mountExtensions?.idmap?.enabled === true;
  const yes = (name: string) => String(document.annotations?.[name]) === 'true';
  return {
    version: line,
    idMappedMounts,
    // Of the same version of the OCI specification (1.2); runc 1.3 and crun 1.28 take it and do not list it.
    idMapsTrees: idMappedMounts,
    recursiveReadOnly: options.has('rro'),
    checkpoint:
      yes('org.opencontainers.runc.checkpoint.enabled') || yes('run.oci.crun.checkpoint.enabled') || false,
    ...deviceFeatures(document.linux, line),
    ...processFeatures(line),
  };
}

function parse(text: string): Document | undefined {
  try {
    const document: unknown = JSON.parse(text);
    return typeof document === 'object' && document !== null ? document : undefined;
  } catch {
    return undefined;
  }
}

/** Throws FailedPrecondition where the handler's program would ignore the id maps of a pod with a user namespace. */
export function requireIdMaps(handler: string, features: HandlerFeatures): void {
  if (features.idMappedMounts) return;
  throw new CrispError(
    'FailedPrecondition',
    `runtime handler ${handler} (${features.version}) cannot make a pod with a user namespace: it ignores id maps of mounts`,
    { hint: 'use a handler with crun 1.8 or later, or runc 1.2 or later; or drop the user namespace' },
  );
}

/** Throws RroUnsupported, which the kubelet knows by its first word. */
export function requireRecursiveReadOnly(handler: string, path: string, features: HandlerFeatures): void {
  if (features.recursiveReadOnly) return;
  throw new CrispError(
    'RroUnsupported',
    `mount ${path}: runtime handler ${handler} (${features.version}) has no recursive read-only mounts`,
  );
}

const LIMIT = 256 << 10;
/** To be raised when what is parsed out of the output changes. */
const FORMAT = 4;

/**
 * The features of one program, read again when another file is at its path. They are cached in a file too, so that a
 * daemon that restarts with the same programs runs none of them.
 */
export class FeatureProbe {
  readonly #path: () => string;
  readonly #memory: string;
  readonly #processes: Processes;
  readonly #timeout: number;
  #identity = '';
  #answer: Promise<HandlerFeatures> | undefined;
  #known: HandlerFeatures | undefined;

  /** `memory` is the file; it ends with the boot or earlier. */
  constructor(path: () => string, memory: string, processes: Processes, timeoutMs: number) {
    this.#path = path;
    this.#memory = memory;
    this.#processes = processes;
    this.#timeout = timeoutMs;
  }

  /** The last answer, for reads: nothing is executed. undefined until there is one. */
  get known(): HandlerFeatures | undefined {
    return this.#known;
  }

  /** Throws NotFound where there is no program, RuntimeFailed where it reports none. */
  async features(): Promise<HandlerFeatures> {
    const path = this.#path();
    const { dev, ino, mtimeMs, ctimeMs, size } = await stat(path);
    const identity = `${FORMAT}:${path}:${dev}:${ino}:${mtimeMs}:${ctimeMs}:${size}`;
    if (this.#answer && identity === this.#identity) return this.#answer;
    this.#identity = identity;
    const answer = this.#remembered(identity).then((known) => known ?? this.#askAndKeep(path, identity));
    this.#answer = answer;
    answer.then(
      (features) => {
        if (this.#answer === answer) this.#known = features;
      },
      () => {
        if (this.#answer === answer) this.#answer = undefined;
      },
    );
    return answer;
  }

  /** What an earlier daemon read from this very program. */
  async #remembered(identity: string): Promise<HandlerFeatures | undefined> {
    try {
      const kept = JSON.parse(await readFile(this.#memory, 'utf8')) as Kept;
      return kept.identity === identity ? kept.features : undefined;
    } catch {
      return undefined; // none, or truncated: the program is run
    }
  }

  async #askAndKeep(path: string, identity: string): Promise<HandlerFeatures> {
    const features = await this.#ask(path);
    try {
      await mkdir(dirname(this.#memory), { recursive: true, mode: 0o700 });
      await writeFile(`${this.#memory}.new`, JSON.stringify({ identity, features }), {
        mode: 0o600,
      });
      await rename(`${this.#memory}.new`, this.#memory);
    } catch {
      // The next daemon runs the program again.
    }
    return features;
  }

  async #ask(path: string): Promise<HandlerFeatures> {
    const signal = AbortSignal.timeout(this.#timeout);
    const run = (verb: string) =>
      this.#processes.run({ argv: [path, verb], env: PROGRAM_ENV, limit: LIMIT }, signal);
    const [version, features] = await Promise.all([run('--version'), run('features')]);
    if (version.status.code !== 0) {
      const said = version.stderr.toString('utf8').trim().slice(0, 500);
      throw new CrispError('RuntimeFailed', `${path} --version: ${said || endText(version.status)}`);
    }
    const document = features.status.code === 0 ? features.stdout.toString('utf8') : undefined;
    return featuresOf(document, version.stdout.toString('utf8'));
  }
}
