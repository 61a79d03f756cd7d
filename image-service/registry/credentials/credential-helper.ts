/** Programs that keep credentials (docker-credential-helpers): `docker-credential-NAME get`, the server on standard input. */
import { describeError } from '#core/errors.ts';
import type { ProgramRequest, runProgram } from '#linux/process/program.ts';
import { isObject } from '../../image/manifest.ts';
import { type Credential, credentialOf } from '../credentials.ts';

const LIMIT = 64 << 10;
/** Helpers of clouds make requests of their own. */
const DEADLINE_MS = 30_000;
/** What a helper prints for a server that it does not know. */
const NOT_FOUND = /credentials not found/i;

export type RunProgram = typeof runProgram;

/** Loaded when the first helper is run: few nodes have one. */
const programs = async (): Promise<RunProgram> => (await import('#linux/process/program.ts')).runProgram;

/** The key under which docker keeps the credentials of a host. */
const serverOf = (host: string): string => (host === 'docker.io' ? 'https://index.docker.io/v1/' : host);

/**
 * Asks a helper for the credential of a host: undefined where it has none, the reason where it fails. No reason has a part
 * of its output, which may be secret.
 */
export async function askHelper(
  name: string,
  host: string,
  signal: AbortSignal,
  run?: RunProgram,
): Promise<Credential | string | undefined> {
  const program = `docker-credential-${name}`;
  const env = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== undefined));
  const request: ProgramRequest = {
    argv: [program, 'get'],
    input: serverOf(host),
    env: env as Record<string, string>,
    limit: LIMIT,
    deadlineMs: DEADLINE_MS,
  };
  try {
    const { status, stdout } = await (run ?? (await programs()))(request, signal);
    const text = stdout.toString('utf8');
    if (status.code !== 0)
      return NOT_FOUND.test(text) ? undefined : `${program} exited with ${status.code} for ${host}`;
    return readReply(text) ?? `${program} replied without a user and a secret for ${host}`;
  } catch (error) {
    if (signal.aborted) throw error;
    return `${program} failed for ${host}: ${describeError(error)}`;
  }
}

/** `{"ServerURL": "…", "Username": "…", "Secret": "…"}`. */
function readReply(text: string): Credential | undefined {
  try {
    const json: unknown = JSON.parse(text);
    if (!isObject(json)) return undefined;
    const { Username: username, Secret: password } = json;
    if (typeof username !== 'string' || typeof password !== 'string') return undefined;
    return credentialOf({ username, password });
  } catch {
    return undefined;
  }
}
