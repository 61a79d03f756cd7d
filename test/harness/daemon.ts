/** Starts real daemons for the demo and the tests: each with its own root and state directories, socket, cgroup prefix and network. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CriClient, connectCri } from '#api/cri/v1/client.ts';

const PROJECT = join(import.meta.dirname, '../..');
/** An emulated machine takes a minute to load the program. */
const START_MS = 300_000;

export interface DaemonSettings {
  /** Everything that the daemon writes is below it; created if missing. */
  readonly directory: string;
  /** State directory, which also has the socket; `state` in the directory unless given. */
  readonly state?: string;
  /** Absolute below the cgroup root. */
  readonly cgroup: string;
  /** Registry hosts with plain HTTP, and their mirrors. */
  readonly registries?: Readonly<Record<string, readonly string[]>>;
  /** Third octet of the pods' subnet 10.234.x.0/24; also names the bridge. */
  readonly subnet?: number;
  readonly runtime?: 'crun' | 'runc';
  /** How networks are set up; `exec` runs the plugins. */
  readonly network?: 'auto' | 'exec';
  /** Address of the metrics listener. */
  readonly metrics?: string;
  /** More TOML at the top of the file. */
  readonly head?: string;
  /** More TOML at the end of the file. */
  readonly extra?: string;
  readonly logLevel?: 'debug' | 'info';
  readonly environment?: Readonly<Record<string, string>>;
  /** Prefix of the daemon's argv: it must end in an exec of the rest, so that the pid is kept. */
  readonly wrapper?: readonly string[];
  /** Open in the daemon as its descriptors from 3 on. */
  readonly descriptors?: readonly number[];
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
  /** Resolves when the process has exited. */
  readonly ended: Promise<number>;
}

const quoted = (value: string): string => JSON.stringify(value);

/** Distinguishes what this run makes from what another run makes at the same time; empty outside of test/run.ts. */
export const runTag = basename(process.env['CRISP_TEST_DIR'] ?? '').slice(-6);

/** The bridge of a subnet; at most the 15 bytes that the kernel takes. */
export const bridgeOf = (subnet: number): string => `crispt${subnet}${runTag}`;

/** The name of a subnet's network, as it is in the comments of packet filter rules. */
export const networkOf = (subnet: number): string =>
  `crisp-test-${subnet}${runTag === '' ? '' : `-${runTag}`}`;

/** A conflist as in the bench: bridge with host-local addresses, portmap. */
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
    ...(/^\[nri\]/m.test(settings.extra ?? '') ? [] : [nriSection(settings)]),
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

/** Below the run's own directories: the machine's plugins are none of a test's. */
export const nriSection = ({ directory, state = join(directory, 'state') }: DaemonSettings): string =>
  `[nri]\nsocket = ${quoted(join(state, 'nri.sock'))}\nplugin_dir = ${quoted(join(directory, 'nri/plugins'))}\nplugin_config_dir = ${quoted(join(directory, 'nri/conf.d'))}`;

/** Flags that keep the machine's own configuration of registries out, where the settings have none of their own. */
function isolation(settings: DaemonSettings): string[] {
  const none = join(settings.directory, 'none');
  const policy = join(settings.directory, 'policy.json');
  if (!existsSync(policy)) writeFileSync(policy, '{"default":[{"type":"insecureAcceptAnything"}]}');
  const options = {
    hosts_dirs: none,
    registries_conf: '',
    registries_conf_dir: '',
    certs_dirs: none,
    policy_file: policy,
    verifier_dir: none,
  };
  const own = `${settings.head ?? ''} ${settings.extra ?? ''}`;
  return Object.entries(options).flatMap(([name, value]) =>
    own.includes(name) ? [] : [`--image-${name.replaceAll('_', '-')}=${value}`],
  );
}

/** Starts a daemon and waits until it serves. Throws with its log where it exits instead. */
export async function startDaemon(settings: DaemonSettings): Promise<TestDaemon> {
  const { file, socket } = writeConfig(settings);
  const confDir = join(settings.directory, 'cni/net.d');
  if (!existsSync(confDir)) writeConflist(confDir, settings.subnet ?? 1);
  const logFile = join(settings.directory, 'daemon.log');
  const serve = [process.execPath, join(PROJECT, 'cli/main.ts'), 'serve', '--config', file];
  serve.push(...isolation(settings));
  const [program = '', ...args] = [...(settings.wrapper ?? []), ...serve];
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe', ...(settings.descriptors ?? [])],
    env: { ...process.env, ...settings.environment },
  });
  // When a test process dies, its daemon must not keep running.
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
      await connected(socket); // after a failed first call a gRPC channel backs off for a second
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
