/** `crisp image`: import and export of image archives, for nodes without a registry, how images are pulled, and the pulls that run. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EXPORT_PATH, IMPORT_PATH, type ImportedImage } from '#api/admin/contract.ts';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { receiveArchive, receiveJson } from './admin-client.ts';
import { type Command, UsageError } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { progress } from './ctl/progress.ts';
import { bytes } from './format.ts';
import { commandList, findCommand, runCommand } from './help.ts';
import { adminFlags, adminSocketOf, type ImageContext } from './image/context.ts';
import { explainImage } from './image/explain.ts';
import { pulls } from './image/pulls.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from './output.ts';

const importImages: Command<ImageContext> = {
  name: 'import',
  usage: 'FILE|-',
  summary: 'Import the images of a docker or OCI archive, compressed or not',
  flags: {
    name: {
      type: 'string',
      short: 'n',
      value: 'NAME',
      doc: 'Name of the image, if the archive has only one',
    },
    ...outputFlag(TEXT_OR_JSON),
    ...adminFlags,
  },
  arity: [1, 1],
  async run(context, parsed) {
    const { terminal, signal } = context;
    const format = outputOf(parsed, TEXT_OR_JSON);
    const [file = '-'] = parsed.args;
    if (file === '-' && process.stdin.isTTY) throw new UsageError('crisp image import: - is a terminal');
    const path = await adminSocketOf(context, parsed);
    const body =
      file === '-' ? process.stdin : createReadStream(await fileOf(file), { highWaterMark: 1 << 20 });
    let sent = 0;
    body.on('data', (piece: Buffer) => {
      sent += piece.length;
    });
    body.pause(); // until the request reads it
    using _line = progress(terminal, `importing ${file}`, async () => bytes(BigInt(sent)));
    const name = parsed.text('name');
    const query = name === undefined ? [] : [['name', name] as const];
    const reply = await receiveJson(path, { method: 'POST', path: IMPORT_PATH, query, body, signal });
    const { images } = reply as { images: readonly ImportedImage[] };
    if (format === 'json') terminal.out(jsonText({ images }));
    else
      for (const { id, tags } of images)
        terminal.out(`Imported ${tags.length > 0 ? tags.join(', ') : 'without a name'} (${id})\n`);
    return 0;
  },
};

async function fileOf(path: string): Promise<string> {
  const found = await stat(path).catch((error: unknown) => {
    throw unreadable(path, describeError(error));
  });
  if (found.isDirectory()) throw unreadable(path, 'it is a directory');
  return path;
}

const unreadable = (path: string, why: string): CrispError =>
  new CrispError('InvalidArgument', `archive ${path}: ${why}`, {
    hint: 'name an archive, or - for the standard input',
  });

const exportImages: Command<ImageContext> = {
  name: 'export',
  usage: 'IMAGE [IMAGE...] --output FILE|-',
  summary: 'Write images to an archive that is an OCI layout and that docker load reads',
  flags: {
    output: { type: 'string', short: 'o', value: 'FILE', doc: 'Output file; - is the standard output' },
    ...adminFlags,
  },
  arity: [1, Infinity],
  async run(context, parsed) {
    const { terminal, signal } = context;
    const file = parsed.text('output');
    if (!file) throw new UsageError('crisp image export: --output is missing', 'name a file, or -');
    if (file === '-' && process.stdout.isTTY) throw new UsageError('crisp image export: - is a terminal');
    const path = await adminSocketOf(context, parsed);
    const query = parsed.args.map((name) => ['ref', name] as const);
    const pieces = receiveArchive(path, { method: 'GET', path: EXPORT_PATH, query, signal });
    if (file === '-') for await (const piece of pieces) terminal.out(piece);
    else await writeAtomically(file, pieces, terminal);
    return 0;
  },
};

/** The file appears under its name only when it is complete and synced to disk; a failure leaves none. */
async function writeAtomically(
  file: string,
  pieces: AsyncIterable<Buffer>,
  terminal: Terminal,
): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString('hex')}.tmp`);
  let written = 0;
  using _line = progress(terminal, `exporting to ${file}`, async () => bytes(BigInt(written)));
  let created = false;
  try {
    await using handle = await open(temporary, 'wx', 0o644);
    created = true;
    for await (const piece of pieces) {
      await handle.writeFile(piece);
      written += piece.length;
    }
    await handle.sync();
    await rename(temporary, file);
  } catch (error) {
    if (created) await unlink(temporary).catch(() => {});
    if (error instanceof CrispError) throw error;
    const full = errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT';
    throw new CrispError(
      full ? 'ResourceExhausted' : 'InvalidArgument',
      `write ${file}: ${describeError(error)}`,
      {
        cause: error,
        hint: full ? 'free space on its disk, or write elsewhere' : 'name a file that can be written',
      },
    );
  }
}

export const imageCommands: readonly Command<ImageContext>[] = [
  importImages,
  exportImages,
  explainImage,
  pulls,
];

/** Runs `crisp image` with the rest of the command line; resolves to the exit code. */
export async function image(words: readonly string[], context: ImageContext): Promise<number> {
  const [name, ...args] = words[0] === 'help' && words[1] !== undefined ? [words[1], '--help'] : words;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const lines = ['Usage: crisp image COMMAND [ARG...]', '', 'Commands:', ...commandList(imageCommands), ''];
    context.terminal.out(lines.join('\n'));
    return name === undefined ? 2 : 0;
  }
  const command = findCommand('crisp image', imageCommands, name);
  return runCommand(`image ${command.name}`, command, args, {
    out: context.terminal.out,
    run: (parsed) => command.run(context, parsed),
  });
}
