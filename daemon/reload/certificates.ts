import type { Config } from '#config/index.ts';
import { CertificateWatch, type CertificateWatchParts } from '../certificate-watch.ts';
import { readTls, type TlsMaterial, type TlsSection, tlsPaths } from '../tls-files.ts';

type Users = Readonly<Record<TlsSection, (tls: TlsMaterial, config: Config) => void>>;

/** The watches of the TLS files of a configuration. */
export class Certificates implements Disposable {
  readonly #users: Users;
  readonly #parts: Pick<CertificateWatchParts, 'inotify' | 'log'>;
  #watches: CertificateWatch[] = [];

  constructor(users: Users, parts: Pick<CertificateWatchParts, 'inotify' | 'log'>) {
    this.#users = users;
    this.#parts = parts;
  }

  /** Watches the files that this configuration names, in the place of those before. What they hold is in use already. */
  follow(config: Config): void {
    this[Symbol.dispose]();
    for (const section of ['streaming', 'metrics'] as const) {
      const paths = tlsPaths(config, section);
      if (paths.length === 0 || (section === 'metrics' && config.metrics.address === '')) continue;
      const read = () => readTls(config, section);
      const changed = (tls: TlsMaterial) => this.#users[section](tls, config);
      this.#watches.push(new CertificateWatch({ section, paths, read, changed, ...this.#parts }));
    }
  }

  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#watches = [];
  }
}
