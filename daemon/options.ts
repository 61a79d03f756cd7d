/** The configuration as the plain options of each service. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config, LoadedConfig } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import type { SelinuxDefaults } from '#core/model/selinux.ts';
import {
  defaultImageOptions,
  type ImageServiceOptions,
  ownTable,
  type ProxyOptions,
  parseProxy,
  proxyOptions,
  type TrustOptions,
} from '#image-service/index.ts';
import type { NriOptions, ReloadableNri } from '#nri/index.ts';
import type { PodSandboxOptions } from '#pod-sandbox/index.ts';
import type { HandlerOptions, RuntimeOptions } from '#runtime-service/index.ts';

/** The pause program of the distributed form, and that of bin/setup. */
const SHIPPED_PAUSE = join(import.meta.dirname, '../pause');
const BUILT_PAUSE = join(import.meta.dirname, '../linux/shim/build/pause');
/** Handlers without an entry in the configuration; a later one is the default only where the earlier does not work. */
const BUILT_IN = ['crun', 'runc'];
const UNLIMITED = 2n ** 64n - 1n;
const PLUGIN_ENV = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };

export const pauseProgram = (config: Config): string =>
  config.pause.path || (existsSync(SHIPPED_PAUSE) ? SHIPPED_PAUSE : BUILT_PAUSE);

type Handler = Config['runtime']['handlers'][string];

function handlerTable(config: Config): Record<string, Handler | undefined> {
  const table: Record<string, Handler | undefined> = Object.create(null);
  for (const name of BUILT_IN) table[name] = undefined;
  return Object.assign(table, config.runtime.handlers);
}

export function runtimeOptions(config: Config, selinux?: SelinuxDefaults): RuntimeOptions {
  const handlers: Record<string, HandlerOptions> = Object.create(null);
  for (const [name, handler] of Object.entries(handlerTable(config))) {
    handlers[name] = {
      path: handler?.path || name,
      isBuiltIn: handler === undefined,
      options: Object.entries(handler?.options ?? {}).map(([key, value]) => `--${key}=${value}`),
      allowedAnnotations: allowedAnnotations(config, handler),
      ...flagsOf(config.container, handler),
      baseRuntimeSpec: handler?.baseRuntimeSpec ?? '',
      apparmorProfile: handler?.apparmorProfile ?? '',
      seccompProfile: handler?.seccompProfile ?? '',
      capabilities: handler?.defaultCapabilities ?? [],
      env: handler?.defaultEnv ?? {},
      rlimits: rlimits(`runtime.handlers.${name}`, handler?.rlimits),
      additionalDevices: handler?.additionalDevices ?? [],
    };
  }
  return {
    root: config.root,
    state: config.state,
    conmon: config.conmon.path,
    logBytes: config.container.logSizeMax,
    handlers,
    defaultHandler: config.runtime.default,
    defaults: {
      capabilities: config.container.defaultCapabilities,
      env: config.container.defaultEnv,
      rlimits: rlimits('container', config.container.rlimits),
      seccompProfile: config.seccomp.defaultProfile,
      baseRuntimeSpec: config.container.baseRuntimeSpec,
      apparmorProfile: config.container.apparmorProfile,
      deviceOwnership: config.container.deviceOwnershipFromSecurityContext,
      allowedDevices: config.container.allowedDevices,
      additionalDevices: config.container.additionalDevices,
      passwdEntry: config.container.passwdEntry,
      blockioFile: config.container.blockioConfigFile,
      rdtClasses: config.container.rdtClasses,
      absentSourcesToReject: config.container.absentMountSourcesToReject,
    },
    cdiDirs: config.cdi.dirs,
    hooksDirs: config.hooks.dirs,
    timeouts: {
      create: config.timeouts.runtime,
      kill: config.timeouts.undo,
      runtime: config.timeouts.runtime,
      relabel: config.timeouts.files,
    },
    ...(selinux ? { selinux } : {}),
  };
}

const allowedAnnotations = ({ container }: Config, handler: Handler | undefined): readonly string[] => [
  ...container.allowedAnnotations,
  ...(handler?.allowedAnnotations ?? []),
];

type Flags = Pick<
  Config['container'],
  'privilegedWithoutHostDevices' | 'privilegedWithoutHostDevicesAllDevicesAllowed' | 'cgroupWritable'
>;

/** What is true for all handlers, or for this one. */
const flagsOf = (all: Flags, own: Flags | undefined): Flags => ({
  privilegedWithoutHostDevices:
    all.privilegedWithoutHostDevices || own?.privilegedWithoutHostDevices === true,
  privilegedWithoutHostDevicesAllDevicesAllowed:
    all.privilegedWithoutHostDevicesAllDevicesAllowed ||
    own?.privilegedWithoutHostDevicesAllDevicesAllowed === true,
  cgroupWritable: all.cgroupWritable || own?.cgroupWritable === true,
});

type Rlimits = RuntimeOptions['defaults']['rlimits'];

const rlimits = (section: string, texts: Readonly<Record<string, string>> = {}): Rlimits =>
  Object.entries(texts).map(([name, text]) => rlimit(section, name, text));

/** `1024:524288`, `65536`, `unlimited`. */
function rlimit(section: string, name: string, text: string): Rlimits[number] {
  const [soft = '', hard = soft] = text.split(':');
  const value = (part: string) => (part === 'unlimited' ? UNLIMITED : BigInt(part));
  if (value(soft) > value(hard)) {
    throw new CrispError(
      'InvalidArgument',
      `${section}.rlimits.${name}: the soft limit of ${text} is above the hard one`,
      {
        hint: 'write "soft:hard"',
      },
    );
  }
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: value(soft), hard: value(hard) };
}

export function podOptions(
  config: Config,
  driver: 'cgroupfs' | 'systemd',
  selinux?: SelinuxDefaults,
): PodSandboxOptions {
  const handlers: Record<string, PodSandboxOptions['handlers'][string]> = Object.create(null);
  for (const [name, handler] of Object.entries(handlerTable(config))) {
    handlers[name] = {
      sandbox: handler?.sandbox ?? 'pause',
      allowedAnnotations: allowedAnnotations(config, handler),
      confDir: handler?.cniConfDir ?? '',
      maxNetworks: handler?.cniMaxNetworks ?? 0,
    };
  }
  return {
    root: config.root,
    state: config.state,
    handlers,
    cgroupDriver: driver,
    cgroupPrefix: config.cgroup.parent,
    defaultSysctls: config.container.defaultSysctls,
    network: {
      confDir: config.cni.confDir,
      name: config.cni.network,
      maxNetworks: config.cni.maxNetworks,
      ipPreference: config.cni.ipPref,
      hostPorts: config.cni.hostPorts,
      binDirs: config.cni.binDirs,
      environment: PLUGIN_ENV,
      template: config.cni.template,
      native: config.cni.native,
      gcInterval: config.cni.gcInterval,
    },
    deadlines: {
      namespaces: config.timeouts.namespaces,
      files: config.timeouts.files,
      cgroup: config.timeouts.cgroup,
      networkAdd: config.cni.timeout,
      networkDel: config.cni.timeout,
      undo: config.timeouts.undo,
    },
    ...(selinux ? { selinux } : {}),
  };
}

/** `settings` has the origins of values, for messages. */
export function imageOptions(
  config: Config,
  settings: LoadedConfig['settings'] = new Map(),
  environment: NodeJS.ProcessEnv = process.env,
): ImageServiceOptions {
  const origin = (...keys: readonly string[]) => settings.get(['image', ...keys].join('\0'))?.origin;
  const [os, architecture, variant] = config.image.platform.split('/');
  return {
    ...defaultImageOptions,
    root: join(config.root, 'images'),
    state: join(config.state, 'images'),
    layers: config.image.layers,
    keepBlobs: config.image.keepBlobs,
    verifyIntervalMs: config.image.verifyInterval,
    registries: ownTable(config.image.registries, (key, option) => {
      const entry = `image.registries.${JSON.stringify(key)}`;
      const own = option && origin('registries', key, option);
      return own ?? origin('registries', key) ?? entry;
    }),
    hostsDirectories: config.image.hostsDirs,
    registriesConf: registriesConf(config, origin('registries_conf') !== undefined, environment),
    authFiles: [config.image.authFile, ...config.image.authFiles].filter((file) => file !== ''),
    certificateDirectories: config.image.certsDirs,
    proxy: proxies(config),
    platform:
      os && architecture
        ? { os, architecture, ...(variant ? { variant } : {}) }
        : defaultImageOptions.platform,
    parallelDownloads: config.image.concurrentLayers,
    unpackWorkers: config.image.unpackWorkers,
    noByteMs: config.image.pullStallTimeout,
    minRate: config.image.pullMinRate,
    trust: trustOptions(config),
    limits: {
      ...defaultImageOptions.limits,
      layerBytes: config.image.maxLayerSize,
      layerEntries: config.image.maxLayerEntries,
    },
  };
}

/** A malformed setting of the configuration is refused at the start; one of the environment by the pulls that need it. */
export function proxies(config: Config): ProxyOptions {
  const options = proxyOptions(config.image.proxy, process.env);
  for (const setting of [options.http, options.https])
    if (setting?.source.startsWith('image.')) checkProxy(setting);
  return options;
}

/** As parseProxy; its message begins with the option. */
function checkProxy(setting: NonNullable<ProxyOptions['http']>): void {
  try {
    parseProxy(setting);
  } catch (error) {
    if (!(error instanceof CrispError)) throw error;
    throw new CrispError(error.code, `${setting.source}: ${error.message}`, { hint: error.hint });
  }
}

/** The peers' own policy file, for nodes that have one. */
const DEFAULT_POLICY = '/etc/containers/policy.json';

/** A file that the operator names must exist: without it no image is pulled. */
const trustOptions = ({ image }: Config): TrustOptions => ({
  policy: { path: image.policyFile || DEFAULT_POLICY, required: image.policyFile !== '' },
  registriesDir: image.policyRegistriesDir,
  verifiers: { dir: image.verifierDir, max: image.maxVerifiers, timeoutMs: image.verifierTimeout },
});

/** The file that the operator names, in the configuration or as other programs do, must exist; the usual one need not. */
function registriesConf(
  config: Config,
  isSet: boolean,
  environment: NodeJS.ProcessEnv,
): ImageServiceOptions['registriesConf'] {
  const named = isSet ? undefined : environment['CONTAINERS_REGISTRIES_CONF'];
  const path = named || config.image.registriesConf;
  return { path, required: isSet || Boolean(named), dropIns: config.image.registriesConfDir };
}

export const nriOptions = (config: Config, version: string): NriOptions => ({
  socket: config.nri.socket,
  disableConnections: config.nri.disableConnections,
  pluginDirectory: config.nri.pluginDir,
  configDirectory: config.nri.pluginConfigDir,
  runtime: { name: 'crisp', version },
  state: config.state,
  ...reloadableNri(config),
});

export const reloadableNri = ({ nri }: Config): ReloadableNri => ({
  timeouts: { registrationMs: nri.registrationTimeout, requestMs: nri.requestTimeout },
  defaultValidator: {
    ...nri.defaultValidator,
    // Who names plugins wants them required.
    enable: nri.defaultValidator.enable || nri.defaultValidator.requiredPlugins.length > 0,
  },
});
