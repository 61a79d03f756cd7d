import { CrispError } from '#core/errors.ts';
import type { ImageServiceOptions } from '../options.ts';
import { type Descriptor, parseDescriptor } from './descriptor.ts';
import type { EntryPlatform, IndexEntry } from './index-entries.ts';

type Platform = ImageServiceOptions['platform'];

/** Other names that tools write for an architecture: those of the kernel, of Debian, of older Go; with their variant. */
const ALIASES: ReadonlyMap<string, readonly [architecture: string, variant: string]> = new Map(
  Object.entries({
    x86_64: ['amd64', ''],
    'x86-64': ['amd64', ''],
    x64: ['amd64', ''],
    i386: ['386', ''],
    i486: ['386', ''],
    i586: ['386', ''],
    i686: ['386', ''],
    aarch64: ['arm64', ''],
    armv8l: ['arm64', ''],
    armhf: ['arm', 'v7'],
    armv7l: ['arm', 'v7'],
    armel: ['arm', 'v6'],
    armv6l: ['arm', 'v6'],
    ppc64el: ['ppc64le', ''],
  } as const),
);

/** The OCI names: lower case, no aliases, `v8` of arm64 and `v1` of amd64 left out as the default that they are. */
export function normalPlatform(given: { os: string; architecture: string; variant?: string }): EntryPlatform {
  const written = given.architecture.toLowerCase();
  const [architecture, implied] = ALIASES.get(written) ?? [written, ''];
  const variant = (given.variant ?? '').toLowerCase().replace(/^(?=\d)/, 'v');
  const isDefault =
    (architecture === 'arm64' && (variant === 'v8' || variant === 'v8.0')) ||
    (architecture === 'amd64' && variant === 'v1');
  return { os: given.os.toLowerCase(), architecture, variant: isDefault ? '' : variant || implied };
}

/**
 * The variants that this architecture runs, best first; '' is an entry without one. Of amd64 only the
 * baseline is taken: an image for v3 needs a processor that the node may not have.
 */
function variantsOf({ architecture, variant }: EntryPlatform): readonly string[] {
  if (architecture !== 'arm') return [...new Set([variant, ''])];
  const own = variant || 'v7';
  return [...['v8', 'v7', 'v6', 'v5'].filter((one) => one <= own), ''];
}

/**
 * The entry of an index for this machine: of its platform, else the first that names none. Entries that are not images are
 * skipped. Throws FailedPrecondition with the platforms that are available, and what `parseDescriptor` throws.
 */
export function choosePlatform(entries: readonly IndexEntry[], node: Platform, what: string): Descriptor {
  const wanted = normalPlatform(node);
  const usable = entries.filter((entry) => entry.usable);
  const chosen = ofPlatform(usable, wanted) ?? usable.find(({ platform }) => platform === undefined);
  if (chosen) return parseDescriptor(chosen.item, `${what}: its manifest for ${nameOf(wanted)}`);
  const offered = usable.map(({ platform }) => (platform ? nameOf(platform) : 'no platform')).slice(0, 20);
  throw new CrispError(
    'FailedPrecondition',
    `${what}: it is for ${offered.join(', ') || 'no platform: it has no image'}, this machine is ${nameOf(wanted)}`,
    { hint: 'build the image for this platform, or schedule the pod on another one' },
  );
}

function ofPlatform(entries: readonly IndexEntry[], wanted: EntryPlatform): IndexEntry | undefined {
  const fitting = entries.flatMap((entry) => {
    const platform = entry.platform && normalPlatform(entry.platform);
    const fits = platform?.os === wanted.os && platform.architecture === wanted.architecture;
    return fits ? [{ entry, variant: platform.variant }] : [];
  });
  for (const variant of variantsOf(wanted)) {
    const match = fitting.find((one) => one.variant === variant);
    if (match) return match.entry;
  }
  return undefined;
}

/** Whether a config says that it is for another machine. It may be wrong: programs that do not run fail at their start. */
export function isForeign(found: { os: string; architecture: string }, node: Platform): boolean {
  const [config, own] = [normalPlatform(found), normalPlatform(node)];
  const os = config.os === '' || config.os === own.os;
  return !os || (config.architecture !== '' && config.architecture !== own.architecture);
}

function nameOf(platform: { os: string; architecture: string; variant?: string }): string {
  const text = `${platform.os}/${platform.architecture}${platform.variant ? `/${platform.variant}` : ''}`;
  return text.slice(0, 60);
}
