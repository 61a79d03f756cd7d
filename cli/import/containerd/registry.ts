/** Options of containerd for registries in its own file; those of hosts.toml are in hosts.ts. */
import { lacks, maps, type PeerOption, type Result, type Surroundings } from '../option.ts';
import { IMAGES } from './names.ts';

const REGISTRY = ['plugins', IMAGES, 'registry'];
const WITH_PATH = 'without effect in containerd: config_path is set';
const CREDENTIALS =
  "credentials are not in crisp's configuration: put them into a file in the format of docker's config.json, and name that in image.auth_file";

const usesPath = ({ get }: Surroundings): boolean => get(...REGISTRY, 'config_path') !== '';

function configPath(value: unknown): Result {
  if (value === '') return { same: 'the same here: /etc/containerd/certs.d, then /etc/docker/certs.d' };
  const directories = String(value)
    .split(':')
    .filter((path) => path !== '')
    .map((path) => path.replace(/(.)\/+$/, '$1'));
  return {
    set: [
      [['image', 'hosts_dirs'], directories],
      [['image', 'certs_dirs'], directories],
    ],
    note: 'hosts.toml and certificates in it are read at each pull',
  };
}

const isRegistry = (host: string): boolean =>
  /^(\[[0-9a-f:.]+\]|[a-z0-9]+([.-]+[a-z0-9]+)*)(:\d{1,5})?$/i.test(host) &&
  (/[.:]/.test(host) || host === 'localhost');

/** `insecure`: the registry itself by http; undefined: the registry itself, which comes last anyway. */
function mirrorOf(endpoint: string, host: string): { mirror?: string; insecure?: true; reason?: string } {
  const url = URL.parse(endpoint.includes('://') ? endpoint : `https://${endpoint}`);
  if (!url || !/^https?:$/.test(url.protocol)) return { reason: 'it is not an http or https URL' };
  if (url.username !== '' || url.password !== '') return { reason: 'it has a login' };
  const path = url.pathname.replace(/\/+$/, '');
  if (path !== '' && !path.split('/').includes('v2'))
    return { reason: 'its path has no v2: write a hosts.toml with override_path = true' };
  const isOwn = url.host === host || (host === 'docker.io' && url.host === 'registry-1.docker.io');
  if (isOwn && (path === '' || path === '/v2')) return url.protocol === 'http:' ? { insecure: true } : {};
  return { mirror: `${url.origin}${path}` };
}

function mirrors(value: unknown, around: Surroundings): Result {
  const host = around.names[0] ?? '';
  if (usesPath(around))
    return { cannot: 'containerd refuses mirrors beside config_path: remove one of the two' };
  if (host === '*')
    return {
      cannot: 'mirrors of all registries: write _default/hosts.toml in a directory of image.hosts_dirs',
    };
  if (!isRegistry(host)) return { cannot: 'no image reference has this host' };
  const found = (value as readonly unknown[]).map((endpoint) => mirrorOf(String(endpoint), host));
  const reasons = found.flatMap(({ reason }, index) => (reason ? [`endpoint ${index + 1}: ${reason}`] : []));
  if (reasons.length > 0) return { cannot: reasons.join('; ') };
  const list = found.flatMap(({ mirror }) => (mirror === undefined ? [] : [mirror]));
  if (found.some(({ insecure }) => insecure))
    return {
      set: [
        [['image', 'registries', host, 'insecure'], true],
        [['image', 'registries', host, 'mirrors'], list],
      ],
    };
  return list.length === 0
    ? { same: 'the registry itself' }
    : { set: [[['image', 'registries', host, 'mirrors'], list]], note: 'then the registry itself' };
}

const tls =
  (convert: (value: unknown, host: string) => Result) =>
  (value: unknown, around: Surroundings): Result => {
    const host = around.names[0] ?? '';
    if (usesPath(around)) return { same: WITH_PATH };
    if (value === '' || value === false) return { same: 'off' };
    return isRegistry(host) ? convert(value, host) : { cannot: 'no image reference has this host' };
  };

const pair = tls((_value, host) => ({
  cannot: `put the pair as ${host}/client.cert and ${host}/client.key into a directory of image.certs_dirs`,
}));

const credentials = (table: string): PeerOption[] =>
  ['username', 'password', 'auth', 'identitytoken'].map((key) =>
    lacks(`registry.${table}.${key}`, '', CREDENTIALS, { secret: true }),
  );

export const registryOptions: readonly PeerOption[] = [
  maps('registry.config_path', '', 'image.hosts_dirs', {
    convert: configPath,
    note: 'and image.certs_dirs; the files in it are read as they are',
  }),
  maps('registry.mirrors.*.endpoint', undefined, 'image.registries.*.mirrors', {
    convert: mirrors,
    note: 'an endpoint by http on the host itself is `insecure`',
  }),
  maps('registry.configs.*.tls.insecure_skip_verify', undefined, 'image.registries.*.skip_verify', {
    convert: tls((_value, host) => ({ set: [[['image', 'registries', host, 'skip_verify'], true]] })),
  }),
  maps('registry.configs.*.tls.ca_file', undefined, 'image.registries.*.ca_file', {
    convert: tls((value, host) => ({ set: [[['image', 'registries', host, 'ca_file'], value]] })),
  }),
  maps('registry.configs.*.tls.cert_file', undefined, 'image.certs_dirs', {
    convert: pair,
    note: 'by hand, as HOST/client.cert in such a directory',
  }),
  maps('registry.configs.*.tls.key_file', undefined, 'image.certs_dirs', {
    convert: pair,
    note: 'by hand, as HOST/client.key in such a directory',
  }),
  ...credentials('configs.*.auth'),
  ...credentials('auths.*'),
  lacks('registry.headers.*', undefined, 'write [header] into a hosts.toml', { secret: true }),
];
