import { CrispError, describeError, type ErrorCode } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { Image } from './image/image.ts';
import { type Reference, shortNameOf } from './image/reference.ts';
import type { ImageServiceOptions } from './options.ts';
import type { RegistriesConf } from './registry/config/registries-conf.ts';
import { NO_REGISTRIES, RegistriesFiles } from './registry/config/registries-files.ts';
import { type Candidate, candidatesFor } from './registry/config/short-names.ts';
import type { ExplainedPull } from './registry/explain.ts';

/** After these the name is looked for at the next host. */
const ELSEWHERE: readonly ErrorCode[] = [
  'NotFound',
  'RegistryUnavailable',
  'Unauthenticated',
  'PermissionDenied',
];

/** How an image would be pulled. */
export interface ImageExplanation extends ExplainedPull {
  /** In full. */
  readonly reference: string;
  /** `file:line` of what has completed the name; undefined where it was complete, or is Docker Hub's. */
  readonly completedBy: string | undefined;
}

type Find = (text: string) => Image | undefined;

/** Names of images as clients use them, which need not have a host. */
export class ImageNames {
  #files: RegistriesFiles;
  /** As it was read last: lookups of images never wait. */
  #conf: RegistriesConf = NO_REGISTRIES;

  constructor(options: Pick<ImageServiceOptions, 'registriesConf'>) {
    this.#files = new RegistriesFiles(options.registriesConf);
  }

  /** Reads other files, and returns what puts them in the place of those before. Throws FailedPrecondition for faulty ones. */
  async prepare({ registriesConf }: Pick<ImageServiceOptions, 'registriesConf'>): Promise<() => void> {
    const files = new RegistriesFiles(registriesConf);
    const conf = await files.read();
    return () => {
      this.#files = files;
      this.#conf = conf;
    };
  }

  /** Reads the files. Faults are logged: pulls of names without a host report them. */
  async load(op: Operation): Promise<void> {
    try {
      this.#conf = await this.#files.read();
    } catch (error) {
      op.log.warn({ error: describeError(error) }, 'names without a host mean images of Docker Hub');
    }
  }

  /** What a name may mean by the files as they are now. Throws InvalidArgument and FailedPrecondition. */
  async candidates(text: string): Promise<readonly Candidate[]> {
    // A name with a host does not depend on the files.
    if (!shortNameOf(text)) return candidatesFor(NO_REGISTRIES, text);
    this.#conf = await this.#files.read();
    return candidatesFor(this.#conf, text);
  }

  /** The full names that a name may mean by the files as they were read last. Throws InvalidArgument. */
  meanings(text: string): string[] {
    return candidatesFor(this.#conf, text).map(({ reference }) => reference.text);
  }

  /** Pulls the first that a registry has. Throws the failures of all. */
  async pull(text: string, pull: (text: string) => Promise<Image>): Promise<Image> {
    const failures: CrispError[] = [];
    for (const { reference } of await this.candidates(text)) {
      try {
        return await pull(reference.text);
      } catch (error) {
        if (!(error instanceof CrispError) || !ELSEWHERE.includes(error.code)) throw error;
        failures.push(error);
      }
    }
    const [first] = failures;
    if (!first || failures.length === 1) throw first;
    // As with the endpoints of one registry: unavailable only where all are.
    const { code, hint } = failures.findLast((failure) => failure.code !== 'RegistryUnavailable') ?? first;
    throw new CrispError(code, failures.map(({ message }) => message).join('; '), { hint });
  }

  /** Explains each image that the name may mean. */
  async explain(
    text: string,
    explained: (reference: Reference) => Promise<ExplainedPull>,
  ): Promise<ImageExplanation[]> {
    const candidates = await this.candidates(text);
    return Promise.all(
      candidates.map(async ({ reference, source }) => ({
        reference: reference.text,
        completedBy: source,
        ...(await explained(reference)),
      })),
    );
  }

  /** The full name, or the id, of the image that a client's name means, by the files as they were read last. */
  full(text: string, find: Find): string {
    let candidates: readonly Candidate[];
    try {
      candidates = candidatesFor(this.#conf, text);
    } catch {
      return text; // an id, or not a name
    }
    const named = candidates.find(({ reference }) => find(reference.text));
    if (named) return named.reference.text;
    // An id; a name that the files complete otherwise is not that of Docker Hub.
    const other = find(text);
    const isId = other?.id.slice('sha256:'.length).startsWith(text.replace(/^sha256:/, ''));
    const [first] = candidates;
    return isId || first?.source === undefined ? text : first.reference.text;
  }
}
