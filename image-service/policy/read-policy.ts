import { lstat } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { readRegular } from '#linux/fs/regular-file.ts';
import type { TrustOptions } from '../options.ts';
import type { Policy, Requirement } from './policy.ts';
import { readRequirement } from './read-requirement.ts';
import { type JsonPlace, readStrictJson } from './strict-json.ts';

const LIMIT = 4 << 20;
const HINT = 'correct the signature policy (containers-policy.json(5)); until then images are not pulled';

/** An error in the files that say what is trusted: it stops pulls, since no image can be accepted without them. */
export const policyError = (message: string, cause?: unknown): CrispError =>
  new CrispError('FailedPrecondition', `signature policy: ${message}`, { cause, hint: HINT, lasting: true });

/** Whether the directory has this entry, be it a link that leads nowhere. */
export async function isPresent(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    return errnoOf(error) !== 'ENOENT';
  }
}

/** Reads the file; undefined where it may be missing and is. Throws FailedPrecondition with file, line and path. */
export async function readPolicyFile({
  path,
  required,
}: NonNullable<TrustOptions['policy']>): Promise<Policy | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readRegular(path, LIMIT);
  } catch (error) {
    // A symbolic link that leads nowhere is not a missing file: whoever made it wanted a policy.
    if (!required && errnoOf(error) === 'ENOENT' && !(await isPresent(path))) return undefined;
    throw policyError(`${path} cannot be read`, error);
  }
  return parsePolicy(bytes.toString('utf8'), path);
}

/** Reads a policy as strictly as the peers: an unknown or duplicate key, or an empty list, is an error. */
export function parsePolicy(text: string, file: string): Policy {
  const fields = readStrictJson(text, file, policyError).fields(['default', 'transports']);
  const fallback = fields.get('default');
  if (!fallback) throw policyError(`${file}: default is missing`);
  const transports = [...(fields.get('transports')?.members() ?? [])].map(
    ([transport, place]) => [transport, readScopes(transport, place)] as const,
  );
  return { default: readRequirements(fallback), transports: new Map(transports) };
}

function readScopes(transport: string, place: JsonPlace): ReadonlyMap<string, readonly Requirement[]> {
  const scopes = [...place.members()];
  for (const [scope, at] of scopes) if (scope !== '') checkScope(transport, scope, at);
  return new Map(scopes.map(([scope, at]) => [scope, readRequirements(at)]));
}

/** Of the transports that crisp has no images of only the scopes of paths are checked. */
function checkScope(transport: string, scope: string, place: JsonPlace): void {
  if (transport === 'docker-archive' || transport === 'tarball')
    place.fail(`${transport} has no scope but ""`);
  if (!['dir', 'oci', 'oci-archive', 'sif'].includes(transport)) return;
  const clean = !scope.includes('//') && !/(^|\/)\.\.?(\/|$)/.test(scope) && !scope.endsWith('/');
  if (!scope.startsWith('/') || !clean) place.fail('a scope must be an absolute path in its shortest form');
}

function readRequirements(place: JsonPlace): readonly Requirement[] {
  const items = place.items();
  if (items.length === 0) place.fail('the list of requirements is empty');
  return items.map(readRequirement);
}
