import { CrispError } from '#core/errors.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { PlatformDescriptor } from './manifest.ts';

type Platform = ImageServiceOptions['platform'];

/**
 * The variants that this architecture runs, best first; '' is an entry without one. Of amd64 only the
 * baseline is taken: an image for v3 needs a processor that the node may not have.
 */
function variantsOf({ architecture, variant }: Platform): readonly string[] {
  if (variant !== undefined) return [variant, ''];
  if (architecture === 'arm64') return ['v8', '', 'v8.0'];
  if (architecture === 'amd64') return ['', 'v1'];
  return [''];
}

/** The manifest of an index for this machine. Throws FailedPrecondition with the platforms that are available. */
export function choosePlatform(
  manifests: readonly PlatformDescriptor[],
  wanted: Platform,
  what: string,
): PlatformDescriptor {
  const fits = ({ platform }: PlatformDescriptor) =>
    platform?.os === wanted.os && platform.architecture === wanted.architecture;
  for (const variant of variantsOf(wanted)) {
    const match = manifests.find((one) => fits(one) && one.platform?.variant === variant);
    if (match) return match;
  }
  const [only] = manifests;
  // An index of one entry without a platform: its config has it.
  if (only && manifests.length === 1 && !only.platform) return only;
  const offered = manifests.map(({ platform }) => (platform ? nameOf(platform) : 'no platform')).slice(0, 20);
  throw wrongPlatform(what, offered.join(', ') || 'nothing', wanted);
}

/** Refuses an image whose config is for another machine. */
export function checkPlatform(
  found: { os: string; architecture: string },
  wanted: Platform,
  what: string,
): void {
  const os = found.os === '' || found.os === wanted.os;
  const architecture = found.architecture === '' || found.architecture === wanted.architecture;
  if (!os || !architecture) throw wrongPlatform(what, nameOf(found), wanted);
}

const wrongPlatform = (what: string, offered: string, wanted: Platform): CrispError =>
  new CrispError('FailedPrecondition', `${what}: it is for ${offered}, this machine is ${nameOf(wanted)}`, {
    hint: 'build the image for this platform, or schedule the pod on another one',
  });

function nameOf(platform: { os: string; architecture: string; variant?: string }): string {
  const text = `${platform.os}/${platform.architecture}${platform.variant ? `/${platform.variant}` : ''}`;
  return text.slice(0, 60);
}
