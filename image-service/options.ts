import type { ProxyOptions } from './registry/http/proxies.ts';

/** An entry of `[image.registries]` as the operator writes it. */
export interface RegistryOptions {
  /** In the order in which they are asked, before the registry itself. */
  readonly mirrors: readonly string[];
  /** Asked by http. */
  readonly insecure: boolean;
  readonly skipVerify: boolean;
  /** PEM file of authorities; empty: none. */
  readonly caFile: string;
}

/** One endpoint for the content of a registry host, in the order of the table. */
export interface EndpointOptions {
  /**
   * `https://mirror.example:5000`, or with a path: up to `/v2`, which is added where no part of it is `v2`, and the beginning of
   * the repository's name behind it. In an entry `*.example.com`, `https://*.example.com` is the registry itself.
   */
  readonly url: string;
  /** PEM file of certificate authorities, beside those of the system; read at each pull. */
  readonly caFile?: string;
  /** Accepts any certificate: for isolated tests. */
  readonly insecureSkipVerify?: boolean;
  /** Where it is configured: `/etc/crisp/crisp.toml:12`. */
  readonly source?: string;
}

/** Limits of an unpacked archive; beyond one the pull fails with ResourceExhausted and leaves nothing. */
export interface UnpackLimits {
  /** Unpacked bytes of one layer. */
  readonly layerBytes: number;
  /** Entries of one layer. */
  readonly layerEntries: number;
  /** Unpacked bytes per compressed byte, checked once a layer is beyond `ratioFrom` unpacked bytes. */
  readonly ratio: number;
  readonly ratioFrom: number;
}

/** Programs that decide whether an image may be pulled. */
export interface VerifierOptions {
  /** Each of its files is such a program; may be missing. */
  readonly dir: string;
  /** How many of them are called, the first by their names; all where it is negative. */
  readonly max: number;
  /** How long each may run, in ms. */
  readonly timeoutMs: number;
}

/** What images are trusted. */
export interface TrustOptions {
  /**
   * Signature policy in the format of containers-policy.json(5), read at each pull. Where a file that is not `required` is
   * missing, or without one, every image is accepted.
   */
  readonly policy: { readonly path: string; readonly required: boolean } | undefined;
  /** Directory of containers-registries.d(5), which says where signatures are; may be missing. */
  readonly registriesDir: string;
  /** Absent: none are called. */
  readonly verifiers?: VerifierOptions;
}

export interface ImageServiceOptions {
  /** Directory of everything that belongs to images: `content/`, `layers/`, `images/`, `retired/`, `staging/`. */
  readonly root: string;
  /** The SELinux context of the files of layers that are EROFS images; absent: none is set. */
  readonly layerLabel?: string;
  /** Endpoints by registry host (`docker.io`, `localhost:5000`, `*.example.com`), as `ownTable` returns them. */
  readonly registries: Readonly<Record<string, readonly EndpointOptions[]>>;
  /** Directories with `<host>/hosts.toml`, for hosts without an entry in `registries`. */
  readonly hostsDirectories: readonly string[];
  /** registries.conf, for hosts that are in neither, and for names without a host. */
  readonly registriesConf: {
    /** Empty: none. */
    readonly path: string;
    /** Whether its absence is an error. */
    readonly required: boolean;
    /** Directory of drop-in files; empty: none. */
    readonly dropIns: string;
  };
  /** Directories with `<host>/*.crt`, `*.cert` and `*.key`, as docker, podman and containerd have them; read at each pull. */
  readonly certificateDirectories: readonly string[];
  /** The proxies for registries, token servers and what they redirect to. May hold passwords. */
  readonly proxy: ProxyOptions;
  /** Files with credentials, as docker and containers-auth.json(5) write them; read at each pull, the first that has one counts. */
  readonly authFiles: readonly string[];
  /** Which image of an index is taken: OCI names, such as `{ os: 'linux', architecture: 'arm64' }`. */
  readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
  /** The form of new layers; `auto`: EROFS images where a probe at the start can mount one, else directories. */
  readonly layers: 'auto' | 'erofs' | 'directory';
  /** Whether the compressed blobs of layers stay in the store, for export. */
  readonly keepBlobs: boolean;
  /** How long a round of verification in the background takes, in ms; 0: none. */
  readonly verifyIntervalMs: number;
  /** Directory of what is gone after a reboot: layers' mounts. */
  readonly state: string;
  /** Blobs in transfer at once, over all pulls. At least 1. */
  readonly parallelDownloads: number;
  /**
   * Threads that unpack layers at once, over all pulls, each while its layer arrives. Images that wait for the layers below them
   * take none of their places.
   */
  readonly unpackWorkers: number;
  /** How long an idle worker, of downloads or of unpacking, stays, in ms. */
  readonly workerIdleMs: number;
  /** A transfer in which no byte arrives for this long has failed, in ms. */
  readonly noByteMs: number;
  /** Limit of establishing a connection, TLS included, in ms. */
  readonly connectMs: number;
  /** Tries per request and endpoint: the first and its retries. At least 1. */
  readonly attempts: number;
  /** Longest wait between two tries that a `Retry-After` may request, in ms. */
  readonly retryWaitMs: number;
  /** How long a connection to an endpoint is waited for before the next endpoint is asked as well, in ms. */
  readonly nextEndpointMs: number;
  /** The same for the reply of an endpoint to which there is a connection, since its request. */
  readonly slowEndpointMs: number;
  /** The least that a transfer must receive over `minRateMs`, in bytes per second; 0: anything. */
  readonly minRate: number;
  readonly minRateMs: number;
  /** Limit of unpacking one layer, its wait for a worker included, in ms. */
  readonly unpackMs: number;
  /** Limit of syncing an image's files to the disk, in ms. */
  readonly commitMs: number;
  /**
   * How long the finished blobs and layers of a failed pull are kept for its retry, and the durable layers of one that the end
   * of the daemon has cut short, in ms.
   */
  readonly keepUnfinishedMs: number;
  readonly limits: UnpackLimits;
  readonly trust: TrustOptions;
}

/** The options that can change while the service is open: what a pull reads when it begins. */
export const reloadableOptions = ({
  registries,
  hostsDirectories,
  registriesConf,
  certificateDirectories,
  proxy,
  authFiles,
  platform,
  noByteMs,
  minRate,
  trust,
}: ImageServiceOptions) => ({
  registries,
  hostsDirectories,
  registriesConf,
  certificateDirectories,
  proxy,
  authFiles,
  platform,
  noByteMs,
  minRate,
  trust,
});

const GiB = 1024 ** 3;

/** The defaults of all but the directories. */
export const defaultImageOptions: Omit<ImageServiceOptions, 'root' | 'state'> = {
  layers: 'auto',
  keepBlobs: false,
  verifyIntervalMs: 0,
  registries: {},
  hostsDirectories: [],
  registriesConf: { path: '', required: false, dropIns: '' },
  certificateDirectories: [],
  proxy: {},
  authFiles: [],
  platform: { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch },
  parallelDownloads: 4,
  unpackWorkers: 4,
  workerIdleMs: 10_000,
  noByteMs: 60_000,
  connectMs: 15_000,
  attempts: 5,
  retryWaitMs: 30_000,
  nextEndpointMs: 500,
  slowEndpointMs: 2_500,
  minRate: 1024,
  minRateMs: 60_000,
  unpackMs: 30 * 60_000,
  commitMs: 10 * 60_000,
  keepUnfinishedMs: 10 * 60_000,
  limits: { layerBytes: 128 * GiB, layerEntries: 4_000_000, ratio: 1500, ratioFrom: GiB },
  trust: { policy: undefined, registriesDir: '/etc/containers/registries.d' },
};
