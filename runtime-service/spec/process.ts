import { posix } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { ContainerConfig } from '../config.ts';
import type { ContainerUser } from '../container.ts';
import type { OciProcess } from './oci.ts';

export interface Rlimit {
  /** `RLIMIT_NOFILE` */
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** `ENTRYPOINT [""]` is how a Dockerfile drops the entry point of the image that it builds upon. */
const entrypointOf = ({ config: { entrypoint } }: ImageForContainer): readonly string[] =>
  entrypoint.length === 1 && entrypoint[0] === '' ? [] : entrypoint;

/**
 * Command and arguments by Kubernetes' table: `command` replaces ENTRYPOINT and drops CMD, `args` replaces CMD, both
 * empty is ENTRYPOINT followed by CMD. Throws InvalidArgument where nothing is left to run.
 */
export function containerArgs(config: ContainerConfig, image: ImageForContainer): string[] {
  const command = config.command.length > 0 ? config.command : entrypointOf(image);
  const inherited = config.command.length > 0 ? [] : image.config.cmd;
  const args = [...command, ...(config.args.length > 0 ? config.args : inherited)];
  if (args.length === 0) {
    throw new CrispError(
      'InvalidArgument',
      `container ${config.metadata.name}: no command, and image ${image.name} has none`,
      {
        hint: 'set command, or build the image with an ENTRYPOINT or CMD',
      },
    );
  }
  return args;
}

/** The configured variables first, then the image's and the request's; PATH, HOME and (with a terminal) TERM where neither sets them. */
export function containerEnv(
  config: ContainerConfig,
  image: ImageForContainer,
  facts: { home: string; hostname: string; defaultEnv?: Readonly<Record<string, string>> },
): string[] {
  const variables = new Map<string, string>();
  const set = (entry: string) => {
    const at = entry.indexOf('=');
    if (at > 0) variables.set(entry.slice(0, at), entry);
  };
  set(DEFAULT_PATH);
  if (config.tty) set('TERM=xterm');
  set(`HOSTNAME=${facts.hostname}`);
  for (const [name, value] of Object.entries(facts.defaultEnv ?? {})) set(`${name}=${value}`);
  for (const entry of image.config.env) set(entry);
  for (const { key, value } of config.envs) set(`${key}=${value}`);
  if (!variables.has('HOME')) set(`HOME=${facts.home}`);
  return [...variables.values()];
}

/** The process of the OCI spec. */
export function ociProcess(
  config: ContainerConfig,
  image: ImageForContainer,
  facts: {
    user: ContainerUser & { home: string };
    hostname: string;
    defaultEnv?: Readonly<Record<string, string>>;
    capabilities: string[];
    rlimits: readonly Rlimit[];
    oomScoreAdj: number;
  },
): OciProcess {
  const { user, hostname, defaultEnv = {}, capabilities } = facts;
  return {
    terminal: config.tty,
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.supplementalGroups] },
    args: containerArgs(config, image),
    env: containerEnv(config, image, { home: user.home, hostname, defaultEnv }),
    // An image's may be relative to its root.
    cwd: config.workingDir || posix.resolve('/', image.config.workingDir),
    capabilities: {
      bounding: capabilities,
      effective: capabilities,
      permitted: capabilities,
      inheritable: [],
      ambient: [],
    },
    rlimits: facts.rlimits.map(({ type, soft, hard }) => ({ type, soft, hard })),
    noNewPrivileges: config.security.noNewPrivs,
    oomScoreAdj: facts.oomScoreAdj,
  };
}
