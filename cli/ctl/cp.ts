/** `crisp ctl cp`: files in and out of running containers, through the daemon's admin socket. */
import { Readable } from 'node:stream';
import { filesPath } from '#api/admin/contract.ts';
import { CrispError } from '#core/errors.ts';
import { receiveArchive, receiveJson } from '../admin-client.ts';
import { type Command, UsageError } from '../command.ts';
import type { Ctl } from './context.ts';
import { extract } from './cp-extract.ts';
import { archiveOf } from './cp-pack.ts';
import { containerNames, findRunning } from './running.ts';

interface Remote {
  readonly name: string;
  readonly path: string;
}

/** `NAME:PATH`; what begins with `/` or `.` is a path of this machine, colons or not. */
export function remoteOf(text: string): Remote | undefined {
  const at = text.indexOf(':');
  if (at < 1 || /^[./]/.test(text)) return undefined;
  return { name: text.slice(0, at), path: text.slice(at + 1) };
}

/** The running container of an id, or of a pod's id or name; with several in the pod `wanted` chooses by name. */
async function findContainer(ctl: Ctl, name: string, wanted: string | undefined): Promise<string> {
  const { byId, ofPods } = await findRunning(ctl, name);
  const named = (byId.length > 0 ? byId : ofPods).filter(
    ({ metadata }) => wanted === undefined || metadata?.name === wanted,
  );
  const [found, ...others] = named;
  if (!found) {
    throw new CrispError('NotFound', `no running container matches "${name}"`, {
      hint:
        ofPods.length > 0 ? `it has ${containerNames(ofPods)}` : 'see `crisp ctl ps` and `crisp ctl pods`',
    });
  }
  if (others.length > 0) {
    throw new UsageError(
      `"${name}" matches several containers: ${containerNames(named)}`,
      'choose one with -c, or give its id',
    );
  }
  return found.id;
}

export const cp: Command<Ctl> = {
  name: 'cp',
  usage: 'POD-or-CONTAINER:PATH LOCAL | LOCAL POD-or-CONTAINER:PATH',
  summary: 'Copy a file or a directory out of or into a running container',
  flags: {
    container: { type: 'string', short: 'c', value: 'NAME', doc: 'The container of the pod, by name' },
  },
  arity: [2, 2],
  async run(ctl, parsed) {
    const [source = '', target = ''] = parsed.args;
    const [from, to] = [remoteOf(source), remoteOf(target)];
    const remote = from ?? to;
    if (!remote || (from && to)) {
      throw new UsageError(
        'crisp ctl cp: one of the two must be POD-or-CONTAINER:PATH',
        'write ./NAME for a file of this machine with a colon in its name',
      );
    }
    if (remote.path === '') throw new UsageError(`crisp ctl cp: ${source} ${target}: the path is empty`);
    const id = await findContainer(ctl, remote.name, parsed.text('container'));
    const query = [['path', remote.path] as const];
    const call = { path: filesPath(id), query, signal: ctl.signal };
    if (from) await extract(receiveArchive(ctl.adminSocket, { ...call, method: 'GET' }), target);
    else {
      const skipped = (path: string) =>
        ctl.terminal.err(`crisp ctl cp: ${path} is skipped: not a file, directory or symlink\n`);
      const body = Readable.from(await archiveOf(source, skipped), { objectMode: false });
      await receiveJson(ctl.adminSocket, { ...call, method: 'PUT', body });
    }
    return 0;
  },
};
