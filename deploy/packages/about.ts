/** What both packages say about crisp. */
export const SUMMARY = 'Kubernetes CRI runtime in TypeScript';
export const DESCRIPTION = [
  'crisp is the service that a kubelet (or crictl) calls to run pods, in the place of containerd or CRI-O. It starts pods fast, cleans them',
  'up completely, and its errors name the remedy. The low-level work is done by conmon, an OCI runtime and CNI plugins.',
  'It brings its own Node.js. `crisp check` says what a node lacks.',
].join(' ');
export const MAINTAINER = 'crisp maintainers <maintainers@crisp.invalid>';
/** Of the package itself: one build of each version. */
export const REVISION = '1';

/** For dpkg and rpm a `~` sorts before the end: 1.0.0-rc.1 is before 1.0.0. */
export const packageVersion = (version: string): string => version.replace('-', '~').replaceAll('-', '.');

export interface PackageSettings {
  /** A directory with the files, `staging.ts`. */
  readonly root: string;
  readonly version: string;
  /** Where the package is to be. */
  readonly output: string;
  /** Seconds since the epoch. */
  readonly date: number;
  /** Compressed in seconds instead of a minute: for tests. */
  readonly isFast: boolean;
}

/** Lines of at most `width` characters. */
export function wrapped(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}
