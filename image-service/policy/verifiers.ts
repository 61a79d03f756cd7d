/**
 * Programs of the node that decide whether an image may be pulled, as containerd's plugin
 * io.containerd.image-verifier.v1.bindir calls them: each file of a directory, with the image's name and digest as
 * arguments and its OCI descriptor on standard input. Exit status 0 accepts; standard output is the reason.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { runProgram } from '#linux/process/program.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { VerifierOptions } from '../options.ts';
import { isPresent } from './read-policy.ts';
import { rejected } from './signature.ts';

/** Kept of standard output, as by containerd; the rest is read and dropped. What is shown of it is far less. */
const OUTPUT_LIMIT = 32 << 10;
const SHOWN = 1024;
const DESCRIPTOR_TYPE = 'application/vnd.oci.descriptor.v1+json';

export interface VerifiedImage {
  /** `host/path:tag` or `host/path@digest`. */
  readonly name: string;
  /** Of what the name stands for. */
  readonly descriptor: Descriptor;
}

/**
 * Calls the verifiers in the order of their names, and all must accept. Throws SignatureValidationFailed with the reason of
 * the one that does not, FailedPrecondition where one cannot be run, and DeadlineExceeded.
 */
export async function callVerifiers(
  { dir, max, timeoutMs }: VerifierOptions,
  image: VerifiedImage,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const names = await namesIn(dir);
  const called = max < 0 ? names : names.slice(0, max);
  if (called.length < names.length) {
    const skipped = names.slice(called.length);
    log.warn({ dir, max, skipped }, 'image verifiers beyond image.max_verifiers are not called');
  }
  for (const name of called) {
    const reason = await callVerifier(join(dir, name), timeoutMs, image, log, signal);
    log.info({ verifier: name, image: image.name, reason }, 'an image verifier accepts the image');
  }
}

/** A directory that is missing is one without verifiers; a link that leads nowhere is an error. */
async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && !(await isPresent(dir))) return [];
    throw new CrispError('FailedPrecondition', `image verifiers: ${dir} cannot be read`, {
      cause: error,
      hint: 'correct image.verifier_dir, or the rights of that directory',
    });
  }
}

/** Returns its reason to accept. */
async function callVerifier(
  path: string,
  timeoutMs: number,
  { name, descriptor }: VerifiedImage,
  log: Log,
  signal: AbortSignal,
): Promise<string> {
  const { mediaType, digest, size } = descriptor;
  const request = {
    argv: [path, '-name', name, '-digest', digest, '-stdin-media-type', DESCRIPTOR_TYPE],
    input: `${JSON.stringify({ mediaType, digest, size })}\n`,
    env: environment(),
    limit: OUTPUT_LIMIT,
    deadlineMs: timeoutMs,
    endsGroup: true,
    truncates: true,
  };
  const { status, stdout, stderr } = await runProgram(request, signal).catch((error: unknown) => {
    if (signal.aborted || (error instanceof CrispError && error.code === 'DeadlineExceeded')) throw error;
    throw cannotRun(path, error);
  });
  if (stderr.length > 0)
    log.debug({ verifier: path, stderr: shown(stderr) }, 'messages of an image verifier');
  const reason = shown(stdout);
  if (status.signal !== undefined) throw cannotRun(path, `it ended by signal ${status.signal}`);
  if (status.code === 0) return reason;
  throw rejected(
    `image ${name} is refused by verifier ${path} (exit status ${status.code}): ${reason || 'no reason given'}`,
    'see the reason, which is that of the program',
  );
}

const cannotRun = (path: string, cause: unknown): CrispError =>
  new CrispError('FailedPrecondition', `image verifier ${path} cannot be run`, {
    cause,
    hint: 'every entry of image.verifier_dir must be a program that is called for each image; correct or remove it',
  });

/** As text of one line. */
const shown = (output: Buffer): string =>
  output
    .subarray(0, SHOWN)
    .toString('utf8')
    .replaceAll(/[\s\p{Cc}]+/gu, ' ')
    .trim();

/** The daemon's own, as containerd gives it: verifiers need its proxies. */
const environment = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
