import { createHash } from 'node:crypto';
import { describeError, hasCode } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import type { SeccompCompiler } from '#linux/process/seccomp.ts';
import { encodeSpec, type OciSeccomp } from './oci.ts';

/**
 * The annotation by which crun takes a filter that is compiled already, in base64, for the first process and for each
 * exec (crun(1)); it then leaves `linux.seccomp` unread. Other runtimes do not know it and read the rules.
 */
export const PROGRAM_ANNOTATION = 'run.oci.seccomp_bpf_data';

/** Compiled filters, as the spec needs them. */
export interface SeccompPrograms {
  /** base64 of the program; undefined where there is none, and the OCI runtime is to compile the rules. */
  program(rules: OciSeccomp): Promise<string | undefined>;
}

/** Rules differ by profile and by the capabilities that select them: on most nodes there are two or three sets. */
const MAX_PROGRAMS = 32;

/** Compiles each set of rules once and keeps those that were used last. */
export class SeccompCache implements SeccompPrograms {
  readonly #compiler: SeccompCompiler;
  readonly #log: Log;
  readonly #programs = new Map<string, string | undefined>();
  readonly #flights = new SingleFlight<string, string | undefined>();

  constructor(compiler: SeccompCompiler, log: Log) {
    this.#compiler = compiler;
    this.#log = log;
  }

  async program(rules: OciSeccomp): Promise<string | undefined> {
    const key = createHash('sha256').update(encodeSpec(rules)).digest('base64');
    const program = this.#programs.has(key)
      ? this.#programs.get(key)
      : await this.#flights.run(key, () => this.#compile(key, rules));
    if (this.#programs.delete(key)) this.#programs.set(key, program); // now the one that was used last
    return program;
  }

  async #compile(key: string, rules: OciSeccomp): Promise<string | undefined> {
    try {
      const program = (await this.#compiler.compile(rules)).toString('base64');
      this.#keep(key, program);
      return program;
    } catch (error) {
      // The OCI runtime has the rules as well, and decides.
      this.#log.warn({ error: describeError(error) }, 'seccomp rules are left to the OCI runtime to compile');
      // What the rules themselves forbid stays so; a lack of descriptors or memory does not.
      if (hasCode(error, 'InvalidArgument') || hasCode(error, 'Unimplemented')) this.#keep(key, undefined);
      return undefined;
    }
  }

  #keep(key: string, program: string | undefined): void {
    this.#programs.set(key, program);
    for (const oldest of this.#programs.keys()) {
      if (this.#programs.size <= MAX_PROGRAMS) break;
      this.#programs.delete(oldest);
    }
  }
}

/** Where there is no libseccomp: logged once, then every filter is left to the OCI runtime. */
export function seccompPrograms(compiler: SeccompCompiler | undefined, log: Log): SeccompPrograms {
  if (compiler) return new SeccompCache(compiler, log);
  log.warn({}, 'libseccomp.so.2 cannot be loaded: crun compiles the filter of each container, some 17 ms');
  return { program: async () => undefined };
}
