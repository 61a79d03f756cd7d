/** What the kernel has of AppArmor, and what the configuration requires of it. */
import { readFileSync } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import type { RuntimeOptions } from '../options.ts';

/** crisp's own, which it loads itself. */
export const DEFAULT_PROFILE = 'crisp-default';
export const UNCONFINED = 'unconfined';
export const PARSER = 'apparmor_parser';

const FILES = {
  enabled: '/sys/module/apparmor/parameters/enabled',
  loaded: '/sys/kernel/security/apparmor/profiles',
};

/** Read at each question: profiles come and go. */
export class AppArmorKernel {
  readonly #files: typeof FILES;

  constructor(files = FILES) {
    this.#files = files;
  }

  get isEnabled(): boolean {
    try {
      return readFileSync(this.#files.enabled, 'utf8').startsWith('Y');
    } catch {
      return false;
    }
  }

  /** Names by the kernel's own list; undefined where it cannot be seen (securityfs is not mounted). */
  loaded(): Set<string> | undefined {
    try {
      return profileNames(readFileSync(this.#files.loaded, 'utf8'));
    } catch (error) {
      if (['ENOENT', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }

  /** Whether a container may have it, as far as the list can be seen. */
  knows(profile: string): boolean {
    return profile === UNCONFINED || this.loaded()?.has(profile) !== false;
  }
}

/** Each line is `NAME (MODE)`; a name may contain blanks. */
export const profileNames = (list: string): Set<string> =>
  new Set(list.split('\n').flatMap((line) => /^(.+) \([a-z]+\)$/.exec(line)?.[1] ?? []));

export interface ConfiguredProfile {
  /** `container.apparmor_profile` */
  readonly option: string;
  readonly profile: string;
}

/** The profiles of the configuration that the operator must have loaded. */
export function configuredProfiles({
  defaults,
  handlers,
}: Pick<RuntimeOptions, 'defaults' | 'handlers'>): ConfiguredProfile[] {
  const own = Object.entries(handlers).map(([name, { apparmorProfile: profile = '' }]) => ({
    option: `runtime.handlers.${name}.apparmor_profile`,
    profile,
  }));
  return [{ option: 'container.apparmor_profile', profile: defaults.apparmorProfile }, ...own].filter(
    ({ profile }) => !['', DEFAULT_PROFILE, UNCONFINED].includes(profile),
  );
}
