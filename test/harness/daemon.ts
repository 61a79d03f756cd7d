/** Starts real daemons for the demo and the tests: own roots, own socket, own cgroup prefix, own network. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CriClient, connectCri } from '#api/cri/v1/index.ts';

const PROJECT = join(import.meta.dirname, '../..');
/** Generous: an emulated machine takes a minute to load the program. */
const START_MS = 300_000;

export interface DaemonSettings {
  /** Holds all that the daemon writes; made if missing. */
  readonly directory: string;
  /** What ends with a reboot, the socket with it; `state` in the directory unless given. */
  readonly state?: string;
  /** Absolute below the cgroup root. */
  readonly cgroup: string;
  /** Registry hosts that are spoken to in plain HTTP, with their mirrors. */
  readonly registries?: Readonly<Record<string, readonly string[]>>;
  /** Third octet of the pods' subnet 10.234.x.0/24; also names the bridge. */
  readonly subnet?: number;
  readonly runtime?: 'crun' | 'runc';
  /** How networks are made; `exec` goes through the plugins. */
  readonly network?: 'auto' | 'exec';
  /** Address of the metrics listener. */
  readonly metrics?: string;
  /** More TOML at the top of the file. */
  readonly head?: string;
  /** More TOML at the end of the file. */
  readonly extra?: string;
  readonly logLevel?: 'debug' | 'info';
  readonly environment?: Readonly<Record<string, string>>;
  /** Put before the daemon's own argv: it must end in an exec of what follows, so that the pid stays. */
  readonly wrapper?: readonly string[];
}

export interface TestDaemon {
  readonly pid: number;
  readonly socket: string;
  readonly client: CriClient;
  readonly logFile: string;
  /** SIGTERM and wait; the exit code. */
  stop(): Promise<number>;
  /** SIGKILL and wait. */
  kill(): Promise<void>;
  /** Settles when it has ended by itself. */
  readonly ended: Promise<number>;
}

const quoted = (value: string): string => JSON.stringify(value);

/** Tells what this run makes from what another one makes at the same time; empty outside of test/run.ts. */
export const runTag = basename(process.env['CRISP_TEST_DIR'] ?? '').slice(-6);

/** The bridge of a subnet; at most the 15 bytes that the kernel takes. */
export const bridgeOf = (subnet: number): string => `crispt${subnet}${runTag}`;

/** The name of a subnet's network, as it stands in the comments of packet filter rules. */
export const networkOf = (subnet: number): string =>
  `crisp-test-${subnet}${runTag === '' ? '' : `-${runTag}`}`;

/** The conflist that the issue's bench uses as well: bridge, portmap, with host-local addresses. */
export function writeConflist(directory: string, subnet: number): void {
  mkdirSync(directory, { recursive: true });
  const bridge = {
    type: 'bridge',
    bridge: bridgeOf(subnet),
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam: {
      type: 'host-local',
      dataDir: join(directory, '../ipam'),
      ranges: [[{ subnet: `10.234.${subnet}.0/24` }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  const list = {
    cniVersion: '1.0.0',
    name: networkOf(subnet),
    plugins: [bridge, { type: 'portmap', capabilities: { portMappings: true } }],
  };
  writeFileSync(join(directory, '10-crisp.conflist'), JSON.stringify(list, undefined, 2));
}

export function writeConfig(settings: DaemonSettings): { file: string; socket: string } {
  const { directory, state = join(directory, 'state') } = settings;
  const socket = join(state, 'crisp.sock');
  const lines = [
    settings.head ?? '',
    `root = ${quoted(join(directory, 'root'))}`,
    `state = ${quoted(state)}`,
    `[log]\nlevel = ${quoted(settings.logLevel ?? 'debug')}`,
    settings.metrics ? `[metrics]\naddress = ${quoted(settings.metrics)}` : '',
    `[cgroup]\ndriver = "cgroupfs"\nparent = ${quoted(settings.cgroup)}`,
    `[cni]\nconf_dir = ${quoted(join(directory, 'cni/net.d'))}\nbin_dirs = ["/usr/lib/cni"]\nnative = ${quoted(settings.network ?? 'auto')}`,
    settings.runtime ? `[runtime]\ndefault = ${quoted(settings.runtime)}` : '',
  ];
  for (const [host, mirrors] of Object.entries(settings.registries ?? {})) {
    lines.push(`[image.registries.${quoted(host)}]\ninsecure = true\nmirrors = ${JSON.stringify(mirrors)}`);
  }
  lines.push(settings.extra ?? '');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, 'crisp.toml');
  writeFileSync(file, `${lines.filter(Boolean).join('\n')}\n`);
  return { file, socket };
}

/** Starts a daemon and waits until it serves. Throws with its log where it ends instead. */
export async function startDaemon(settings: DaemonSettings): Promise<TestDaemon> {
  const { file, socket } = writeConfig(settings);
  const confDir = join(settings.directory, 'cni/net.d');
  if (!existsSync(confDir)) writeConflist(confDir, settings.subnet ?? 1);
  const logFile = join(settings.directory, 'daemon.log');
  const serve = [process.execPath, join(PROJECT, 'cli/main.ts'), 'serve', '--config', file];
  const [program = '', ...args] = [...(settings.wrapper ?? []), ...serve];
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...settings.environment },
  });
  // A test file that dies must not leave its daemon behind.
  const orphaned = () => child.kill('SIGKILL');
  process.once('exit', orphaned);
  child.once('exit', () => process.removeListener('exit', orphaned));
  const log = createWriteStream(logFile, { flags: 'a' });
  child.stdout?.pipe(log, { end: false });
  child.stderr?.pipe(log, { end: false });
  const ended = once(child, 'exit').then(([code, signal]) => {
    log.end();
    return code === null ? 128 + Number(signal === 'SIGKILL' ? 9 : 15) : Number(code);
  });
  const client = connectCri(socket);
  await untilServing(child, socket, client, logFile, ended);
  return {
    pid: child.pid as number,
    socket,
    client,
    logFile,
    ended,
    async stop() {
      client.close();
      child.kill('SIGTERM');
      return ended;
    },
    async kill() {
      client.close();
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function untilServing(
  child: ChildProcess,
  socket: string,
  client: CriClient,
  logFile: string,
  ended: Promise<number>,
): Promise<void> {
  const limit = Date.now() + START_MS;
  let gone: number | undefined;
  void ended.then((code) => {
    gone = code;
  });
  for (;;) {
    try {
      await connected(socket); // a first call that fails costs a gRPC channel a second of back-off
      await client.Version({}, { timeoutMs: 1000 });
      return;
    } catch (error) {
      const log = () => readFileSync(logFile, 'utf8').slice(-4000);
      if (gone !== undefined) throw new Error(`the daemon ended with ${gone}:\n${log()}`);
      if (Date.now() > limit) {
        child.kill('SIGKILL');
        throw new Error(`the daemon does not serve: ${error}\n${log()}`);
      }
      await sleep(20);
    }
  }
}

async function connected(path: string): Promise<void> {
  const connection = connect(path);
  try {
    await once(connection, 'connect');
  } finally {
    connection.destroy();
  }
}
