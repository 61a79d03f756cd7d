import { readFile } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import type { OciRuntime } from '../oci-runtime/cli.ts';
import { findProgram } from '../oci-runtime/programs.ts';

const LOG_END = 2000;

/** Throws Unimplemented where the handler's OCI runtime is built without CRIU, or the node has none. */
export async function needCriu(oci: OciRuntime, act: 'checkpoint' | 'restore'): Promise<void> {
  const features = await oci.features();
  if (!features.checkpoint) {
    throw new CrispError(
      'Unimplemented',
      `runtime handler ${oci.handler} (${features.version}) cannot ${act} containers`,
      { hint: 'run the pod with a handler whose OCI runtime is built with CRIU, such as runc' },
    );
  }
  try {
    findProgram(oci.criu);
  } catch (cause) {
    throw new CrispError('Unimplemented', `${oci.handler} ${act}: CRIU is not on this node`, {
      cause,
      hint: 'install criu, in a version that supports this kernel',
    });
  }
}

/** The last error lines of CRIU's log; empty where there are none. */
export async function criuErrors(log: string): Promise<string> {
  const text = await readFile(log, 'utf8').catch(() => '');
  const errors = text.split('\n').filter((line) => /Error/.test(line));
  return errors.slice(-5).join('; ').slice(-LOG_END);
}
