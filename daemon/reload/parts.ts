/** What a reload changes, part by part. */
import type { LoadedConfig } from '#config/index.ts';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import type { Streaming } from '#cri/streaming/index.ts';
import type { Inotify } from '#linux/ports/inotify.ts';
import type { DaemonLog } from '#telemetry/log.ts';
import type { MetricsEndpoint } from '../metrics-endpoint.ts';
import { imageOptions, podOptions, reloadableNri, runtimeOptions } from '../options.ts';
import type { Programs } from '../programs.ts';
import type { Services } from '../services.ts';
import { changeableStreaming } from '../streaming-options.ts';
import { checkAuthorities, readTls } from '../tls-files.ts';
import { Certificates } from './certificates.ts';
import type { ReloadPart } from './reload.ts';
import type { RunningConfig } from './running-config.ts';

/** Applies them in this order. */
const together = (changes: readonly PreparedChange[]): PreparedChange => ({
  apply() {
    for (const change of changes) change.apply();
  },
  async discard() {
    for (const change of changes) await change.discard();
  },
});

/** Applied at once; there is nothing to be opened. */
const withoutOpening = (apply: () => void): PreparedChange => ({ apply, discard() {} });

export const logPart =
  (log: DaemonLog): ReloadPart =>
  async ({ config }) =>
    withoutOpening(() => {
      log.setLevel(config.log.level);
      log.setFormat(config.log.format);
    });

export const imagesPart =
  ({ images }: Pick<Services, 'images'>, running: Pick<RunningConfig, 'loaded'>): ReloadPart =>
  async ({ config, settings }) => {
    checkAuthorities(config, running.loaded.config);
    return await images.prepare(imageOptions(config, settings));
  };

/** Handlers, containers and pods, and the programs that these need. */
export const podsPart =
  (
    { handlers, containers, pods, driver, selinux }: Services,
    programs: Pick<Programs, 'follow'>,
  ): ReloadPart =>
  async ({ config }) => {
    const options = runtimeOptions(config, selinux);
    const isInUse = (handler: string): boolean =>
      containers.list().some((one) => one.handler === handler) ||
      pods.list().some(({ runtimeHandler }) => (runtimeHandler || handlers.defaultName) === handler);
    const table = await handlers.prepare(options, isInUse);
    const next = podOptions(config, driver, selinux);
    // Last: it is the only one with something to close.
    const changes = [table, await containers.prepare(options), await pods.prepare(next)];
    return together([...changes, withoutOpening(() => programs.follow(config))]);
  };

/** Of plugins their timeouts, and what they may not do. */
export const nriPart =
  ({ nri }: Pick<Services, 'nri'>): ReloadPart =>
  async ({ config }) =>
    (await nri?.prepare(reloadableNri(config))) ?? withoutOpening(() => {});

export interface TlsParts {
  readonly streaming: Streaming;
  readonly endpoint: MetricsEndpoint;
  readonly inotify: Pick<Inotify, 'watch'>;
  readonly log: Log;
}

/** The listeners of sessions and metrics, and their certificates, which are read again when they change, too. */
export function listenersPart(
  { config }: LoadedConfig,
  { streaming, endpoint, inotify, log }: TlsParts,
): { readonly part: ReloadPart; readonly certificates: Disposable } {
  const certificates = new Certificates(
    {
      streaming: (tls, { streaming: { idleTimeout } }) => streaming.update({ tls, idleMs: idleTimeout }),
      metrics: (tls) => endpoint.setTls(tls),
    },
    { inotify, log },
  );
  certificates.follow(config);
  const part: ReloadPart = async ({ config: next }) => {
    const sessions = changeableStreaming(next);
    const place = { address: next.metrics.address, tls: readTls(next, 'metrics') };
    const served = await endpoint.prepare(place);
    return {
      apply() {
        streaming.update(sessions);
        served.apply();
        certificates.follow(next);
      },
      discard: () => served.discard(),
    };
  };
  return { part, certificates };
}
