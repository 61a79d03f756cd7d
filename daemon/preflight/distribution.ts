/** How software is installed, by distribution: remedies of `crisp check`, and of the daemon's troubles. */
export type Distribution = 'debian' | 'fedora' | 'suse' | 'alpine' | 'arch';

export type PackageNames = Readonly<Record<Distribution, string>>;

const COMMANDS: PackageNames = {
  debian: 'apt-get install',
  fedora: 'dnf install',
  suse: 'zypper install',
  alpine: 'apk add',
  arch: 'pacman -S',
};

/** What os-release(5) names in ID and ID_LIKE. */
const FAMILIES: Readonly<Record<string, Distribution>> = {
  debian: 'debian',
  ubuntu: 'debian',
  fedora: 'fedora',
  rhel: 'fedora',
  centos: 'fedora',
  suse: 'suse',
  opensuse: 'suse',
  sles: 'suse',
  alpine: 'alpine',
  arch: 'arch',
};

/** By the text of /etc/os-release; undefined where it is none of these. */
export function distributionOf(osRelease: string): Distribution | undefined {
  const value = (key: string) => new RegExp(`^${key}="?([^"\n]*)`, 'm').exec(osRelease)?.[1] ?? '';
  const names = `${value('ID')} ${value('ID_LIKE')}`.split(/\s+/);
  for (const name of names) {
    const family = FAMILIES[name] ?? FAMILIES[name.split('-')[0] ?? ''];
    if (family) return family;
  }
  return undefined;
}

/** `apt-get install conmon`; of an unknown distribution all. */
export function installing(names: PackageNames, distribution: Distribution | undefined): string {
  if (distribution) return `${COMMANDS[distribution]} ${names[distribution]}`;
  const all = Object.entries(names).map(([name, packages]) => `${packages} (${name})`);
  return `install ${all.join(', ')}`;
}

const same = (name: string): PackageNames => ({
  debian: name,
  fedora: name,
  suse: name,
  alpine: name,
  arch: name,
});

export const packages = {
  conmon: same('conmon'),
  crun: same('crun'),
  runc: same('runc'),
  plugins: {
    debian: 'containernetworking-plugins',
    fedora: 'containernetworking-plugins',
    suse: 'cni-plugins',
    alpine: 'cni-plugins',
    arch: 'cni-plugins',
  },
  iptables: {
    debian: 'iptables',
    fedora: 'iptables-nft',
    suse: 'iptables',
    alpine: 'iptables',
    arch: 'iptables-nft',
  },
  seccomp: {
    debian: 'libseccomp2',
    fedora: 'libseccomp',
    suse: 'libseccomp2',
    alpine: 'libseccomp',
    arch: 'libseccomp',
  },
  apparmor: {
    debian: 'apparmor',
    fedora: 'apparmor-parser',
    suse: 'apparmor-parser',
    alpine: 'apparmor',
    arch: 'apparmor',
  },
  selinux: { ...same('container-selinux'), debian: 'selinux-policy-default' },
} as const satisfies Record<string, PackageNames>;

/** Where no OCI runtime works. */
export const runtimeRemedy = (program: 'crun' | 'runc', distribution: Distribution | undefined): string =>
  `${installing(packages[program], distribution)}; or set path of the handler under [runtime.handlers]`;

/** Where `conmon.path` names no program. */
export function monitorRemedy(path: string, distribution: Distribution | undefined): string {
  const how = installing(packages.conmon, distribution);
  return path === 'conmon' ? `${how}; or set conmon.path` : `correct conmon.path, or ${how}`;
}
