/** hosts.toml, which crisp reads itself. */
import { lacks, moot, type PeerOption, under } from '../option.ts';

/** The keys of these files begin with this. */
export const HOSTS = 'hosts.toml';
const READ = 'crisp reads this file itself, at each pull, in the directories of image.hosts_dirs';

const fields: readonly PeerOption[] = [
  moot('capabilities', undefined, `${READ}; push is ignored`),
  moot('ca', undefined, READ),
  moot('client', undefined, READ),
  moot('skip_verify', undefined, READ),
  moot('override_path', undefined, READ),
  moot('dial_timeout', undefined, READ),
  moot('header.*', undefined, READ, { secret: true }),
];

export const hostsOptions: readonly PeerOption[] = under(
  [HOSTS],
  [
    moot('server', '', READ),
    ...fields,
    ...under(['host', '*'], fields),
    moot('host.*', undefined, READ),
    lacks('**', undefined, 'not a key of hosts.toml: containerd and crisp ignore it'),
  ],
);
