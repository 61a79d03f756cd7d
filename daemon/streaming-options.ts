import type { Config } from '#config/index.ts';
import type { Log } from '#core/operation.ts';
import type { CallObserver } from '#cri/server.ts';
import type { StreamingOptions } from '#cri/streaming/index.ts';
import { readTls } from './tls-files.ts';

/** The part of the options that a reload changes. Throws InvalidArgument where a file of TLS cannot be read, or used. */
export const changeableStreaming = (config: Config): Pick<StreamingOptions, 'tls' | 'idleMs'> => ({
  tls: readTls(config, 'streaming'),
  idleMs: config.streaming.idleTimeout,
});

/** The configuration as the options of streaming. Throws InvalidArgument where a named file cannot be read, or used. */
export const streamingOptions = (config: Config, log: Log, observer: CallObserver): StreamingOptions => ({
  address: config.streaming.address,
  ...changeableStreaming(config),
  log,
  observer,
});
