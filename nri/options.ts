import { join } from 'node:path';
import type { DefaultValidatorOptions } from './adjust/index.ts';

/** `[nri]` of the configuration. */
export interface NriOptions {
  readonly socket: string;
  readonly disableConnections: boolean;
  readonly pluginDirectory: string;
  readonly configDirectory: string;
  readonly timeouts: NriTimeouts;
  readonly defaultValidator: DefaultValidatorOptions;
  /** Of this runtime, for Configure. */
  readonly runtime: { readonly name: string; readonly version: string };
  /** The daemon's state directory: tells its plugins from those of another daemon. */
  readonly state: string;
}

/** Milliseconds. */
export interface NriTimeouts {
  readonly registrationMs: number;
  readonly requestMs: number;
}

/** What a reload changes, for calls that begin afterwards. */
export type ReloadableNri = Pick<NriOptions, 'timeouts' | 'defaultValidator'>;

/** There while plugins that a daemon has started may run. */
export const launchedFile = (state: string): string => join(state, 'nri-plugins-started');
