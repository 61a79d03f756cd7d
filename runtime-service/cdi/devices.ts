/** Which CDI devices a container requests, and the edits of its specification for them. */
import { CrispError } from '#core/errors.ts';
import type { Labels } from '../config.ts';
import { type Definition, DefinitionFiles } from '../hooks/definition-files.ts';
import { type CdiEdits, type CdiSpec, parseSpec } from './spec.ts';

const ANNOTATION = 'cdi.k8s.io/';
const QUALIFIED = /^([A-Za-z][A-Za-z0-9_.-]*\/[A-Za-z][A-Za-z0-9_-]*)=([A-Za-z0-9][A-Za-z0-9_.:-]*)$/;

/** The edits of one spec or device, with the file that they come from. */
export interface SourcedEdits extends CdiEdits {
  readonly file: string;
}

/** Names out of the field and out of annotations (`cdi.k8s.io/PLUGIN_ID: vendor/class=name,…`), each once. */
export function requestedDevices(field: readonly string[], annotations: Labels): string[] {
  const annotated = Object.entries(annotations)
    .filter(([key]) => key.startsWith(ANNOTATION))
    .flatMap(([, value]) => value.split(',').map((name) => name.trim()));
  return [...new Set([...field, ...annotated])];
}

export class CdiDevices {
  readonly #directories: readonly string[];
  readonly #files: DefinitionFiles<CdiSpec>;

  constructor(directories: readonly string[]) {
    this.#directories = directories;
    this.#files = new DefinitionFiles(directories, ['.json', '.yaml', '.yml'], parseSpec);
  }

  /**
   * The edits for these devices: of each spec once, then of its devices. Throws InvalidArgument for an invalid name,
   * NotFound for a device that no spec has (naming the files that cannot be used), FailedPrecondition for one that two
   * files of the same directory claim.
   */
  async edits(names: readonly string[]): Promise<SourcedEdits[]> {
    if (names.length === 0) return [];
    const definitions = await this.#files.read();
    const edits: SourcedEdits[] = [];
    const specs = new Set<string>();
    for (const name of names) {
      const { spec, device } = this.#find(name, definitions);
      if (!specs.has(spec.file)) edits.push({ ...spec.edits, file: spec.file });
      specs.add(spec.file);
      edits.push({ ...device, file: spec.file });
    }
    return edits;
  }

  #find(name: string, definitions: readonly Definition<CdiSpec>[]): { spec: CdiSpec; device: CdiEdits } {
    const [, kind, device = ''] = QUALIFIED.exec(name) ?? [];
    if (kind === undefined) {
      throw new CrispError('InvalidArgument', `CDI device ${JSON.stringify(name)} is not a qualified name`, {
        hint: 'write vendor/class=name',
      });
    }
    const claims = definitions.flatMap(({ value, priority }) => {
      const edits =
        value instanceof CrispError || value.kind !== kind ? undefined : value.devices.get(device);
      return edits && !(value instanceof CrispError) ? [{ spec: value, device: edits, priority }] : [];
    });
    const best = Math.max(...claims.map(({ priority }) => priority));
    const [found, rival] = claims.filter(({ priority }) => priority === best);
    if (found && !rival) return found;
    if (found && rival) {
      throw new CrispError(
        'FailedPrecondition',
        `CDI device ${name} is claimed by ${found.spec.file} and by ${rival.spec.file}`,
        { hint: 'remove one of the files' },
      );
    }
    throw this.#missing(name, definitions);
  }

  #missing(name: string, definitions: readonly Definition<CdiSpec>[]): CrispError {
    const broken = definitions.flatMap(({ value }) => (value instanceof CrispError ? [value.message] : []));
    const searched = `no spec in ${this.#directories.join(', ')} has it`;
    const why = broken.length > 0 ? `${searched}; not usable: ${broken.join('; ')}` : searched;
    return new CrispError(
      broken.length > 0 ? 'FailedPrecondition' : 'NotFound',
      `CDI device ${name}: ${why}`,
      {
        hint: "see that the device's driver or plugin has written its CDI spec",
      },
    );
  }
}
