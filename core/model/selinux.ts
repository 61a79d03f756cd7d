/** SELinux labels of pods and containers: their parts, and what a request makes of the policy's defaults. */
import { CrispError } from '../errors.ts';
import type { SelinuxOptions } from './security.ts';

/** A security context in its parts; `level` is empty where the policy has no levels. */
export interface SelinuxContext {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  /** With its categories: `s0:c12,c345`. */
  readonly level: string;
}

/** The labels of a pod, or of one container. */
export interface SelinuxLabels {
  /** Empty: none is set, the policy decides. */
  readonly process: string;
  /** Of the root file system, /dev/shm, the pod's files and relabelled volumes. Empty: none is set. */
  readonly files: string;
}

/** What labels are made of where SELinux is in use. */
export interface SelinuxDefaults extends SelinuxLabels {
  /** Of files that no container may write to: the layers of images. */
  readonly readonlyFiles: string;
  /** The categories of pods are below this number. */
  readonly categoryRange: number;
  /** Containers on the node's network have no label of their own, as CRI-O has it. */
  readonly disableForHostNetwork: boolean;
}

/** Undefined for a text that is no context. */
export function parseContext(text: string): SelinuxContext | undefined {
  const [user = '', role = '', type = '', ...level] = text.split(':');
  if (user === '' || role === '' || type === '') return undefined;
  return { user, role, type, level: level.join(':') };
}

export const formatContext = ({ user, role, type, level }: SelinuxContext): string =>
  [user, role, type, ...(level === '' ? [] : [level])].join(':');

export const levelOf = (context: string): string => parseContext(context)?.level ?? '';
export const typeOf = (context: string): string => parseContext(context)?.type ?? '';

const withLevelOf = (context: string, level: string): string => {
  const parts = parseContext(context);
  return parts ? formatContext({ ...parts, level }) : context;
};

/** Both labels at this level. */
export const atLevel = ({ process, files }: SelinuxLabels, level: string): SelinuxLabels => ({
  process: withLevelOf(process, level),
  files: withLevelOf(files, level),
});

const PART = /^[A-Za-z0-9_.:,-]{1,128}$/;
/** The others separate the parts of a context. */
const WORD = /^[A-Za-z0-9_.-]{1,128}$/;

/** Throws InvalidArgument for a part that no context can have. Whether the policy knows it is for the kernel to say. */
export function checkSelinuxOptions(options: SelinuxOptions | undefined): void {
  for (const part of ['user', 'role', 'type', 'level'] as const) {
    const value = options?.[part] ?? '';
    if (value === '' || (part === 'level' ? PART : WORD).test(value)) continue;
    throw new CrispError(
      'InvalidArgument',
      `selinux_options.${part} ${JSON.stringify(value)} is not a valid part of a label`,
      { hint: 'give parts such as system_u, system_r, container_t, s0:c1,c2' },
    );
  }
}

/** The labels with the parts that are requested; those of files have the user and the level of the process. */
export function withOptions(
  { process, files }: SelinuxLabels,
  options: SelinuxOptions | undefined,
): SelinuxLabels {
  const [ofProcess, ofFiles] = [parseContext(process), parseContext(files)];
  if (!options || !ofProcess || !ofFiles) return { process, files };
  const user = options.user || undefined;
  const level = options.level || undefined;
  return {
    process: formatContext({
      user: user ?? ofProcess.user,
      role: options.role || ofProcess.role,
      type: options.type || ofProcess.type,
      level: level ?? ofProcess.level,
    }),
    files: formatContext({ ...ofFiles, user: user ?? ofFiles.user, level: level ?? ofFiles.level }),
  };
}

/**
 * What of its labels a pod or container gets, as in CRI-O: one with the node's processes or IPC none; for the process none
 * where it is privileged, and where the configuration wants that on the node's network.
 */
export function appliedLabels(
  labels: SelinuxLabels | undefined,
  of: { readonly privileged: boolean; readonly sharesNode: boolean; readonly onNodeNetwork: boolean },
  defaults: Pick<SelinuxDefaults, 'disableForHostNetwork'> | undefined,
): SelinuxLabels {
  if (!labels || of.sharesNode) return { process: '', files: '' };
  const isBare = of.privileged || (of.onNodeNetwork && defaults?.disableForHostNetwork === true);
  return isBare ? { process: '', files: labels.files } : labels;
}

/**
 * The categories of a single level in ascending order, whichever way they are written (`c1.c3`, `c3,c1`); undefined for a
 * range of levels, and for what is not a level.
 */
export function categoriesOf(level: string): number[] | undefined {
  const [, list] = /^s\d+(?::(c[\d,.c]+))?$/.exec(level) ?? [undefined, null];
  if (list === null) return undefined;
  const found = new Set<number>();
  for (const part of (list ?? '').split(',')) {
    if (part === '') continue;
    const [, first = '', last = first] = /^c(\d{1,4})(?:\.c(\d{1,4}))?$/.exec(part) ?? [];
    if (first === '') return undefined;
    for (let at = Number(first); at <= Number(last); at++) found.add(at);
  }
  return [...found].sort((a, b) => a - b);
}
