/**
 * The admin API, for what CRI has no call for: HTTP/1.1 on a unix socket that only root may open. Bodies
 * are archives (tar) that stream in either direction.
 *
 * | request | body | reply |
 * |---|---|---|
 * | POST /v1/images/import?name=NAME | docker or OCI archive, compressed or not | `{"images": ImportedImage[]}` |
 * | GET /v1/images/export?ref=IMAGE&ref=… | – | archive in both formats |
 * | GET /v1/images/explain?ref=IMAGE[&ping=1] | – | `{"images": ExplainedImage[]}` |
 * | GET /v1/status | – | `DaemonStatus` |
 * | GET /livez, /readyz, /healthz | – | text: 200 and `ok`, or 503 and the problem, as at the address of the metrics |
 * | POST /v1/reload | – | `ReloadReply`, when the configuration has been read again and is in effect |
 * | GET /v1/nri | – | `NriState` (nri.ts) |
 * | GET /v1/pulls?ref=IMAGE | – | `{"pulls": RunningPull[]}`, of this image where one is named |
 * | POST /v1/images/check[?repair=1] | – | lines of JSON, each a `CheckLine` |
 * | GET /v1/containers/ID/files?path=PATH | – | archive of a file or of a directory tree |
 * | PUT /v1/containers/ID/files?path=PATH | such an archive | `{}` |
 * | POST /v1/containers/ID/exec | `ExecRequest` | `ExecReply` |
 *
 * An error is an HTTP error status with an `AdminFailure` as its body. One that occurs after the archive, or the first line, is sent in
 * the trailer `FAILURE_TRAILER`, an encoded `AdminFailure`; a truncated reply lacks the last chunk.
 */
import type { ErrorCode } from '#core/errors.ts';

export const IMPORT_PATH = '/v1/images/import';
export const EXPLAIN_PATH = '/v1/images/explain';
export const EXPORT_PATH = '/v1/images/export';
export const STATUS_PATH = '/v1/status';
export const RELOAD_PATH = '/v1/reload';
export const PULLS_PATH = '/v1/pulls';
export const CHECK_PATH = '/v1/images/check';
/** `id` is the full id of a container. */
export const filesPath = (id: string): string => `/v1/containers/${encodeURIComponent(id)}/files`;
export const FILES_PATTERN = /^\/v1\/containers\/([0-9a-f]{64})\/files$/;

/** `id` may be shortened. */
export const execPath = (id: string): string => `/v1/containers/${encodeURIComponent(id)}/exec`;
export const EXEC_PATTERN = /^\/v1\/containers\/([0-9a-f]{1,64})\/exec$/;

export const ARCHIVE_TYPE = 'application/x-tar';
/** One JSON document on each line. */
export const LINES_TYPE = 'application/x-ndjson';
export const FAILURE_TRAILER = 'crisp-failure';

export interface AdminFailure {
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint: string };
}

/** As CRI's ExecRequest, with a user. */
export interface ExecRequest {
  readonly command: readonly string[];
  /** `user[:group]`, each a number or a name of the container's own files. */
  readonly user: string;
  readonly stdin: boolean;
  readonly stdout: boolean;
  /** Not with a terminal. */
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** `url` opens the session once, within a minute, as that of CRI's Exec. */
export interface ExecReply {
  readonly url: string;
}

export interface ImportedImage {
  /** `sha256:…` */
  readonly id: string;
  readonly tags: readonly string[];
}

/** How an image would be pulled. */
export interface ExplainedImage {
  readonly reference: string;
  /** `file:line` of what has completed the name. */
  readonly completedBy?: string | undefined;
  /** In the order in which they would be asked. */
  readonly endpoints: readonly ExplainedEndpoint[];
  /** `file:line` of what configures the registry, too, and does not count. */
  readonly unused: readonly string[];
}

export interface ExplainedEndpoint {
  /** Of the manifest. */
  readonly url: string;
  /** `file:line`, or `default`. */
  readonly source: string;
  /** Whether tags may be asked there. */
  readonly resolves: boolean;
  /** Whether manifests by digest and blobs may be asked there. */
  readonly serves: boolean;
  readonly scope: string;
  /** File and key; absent: none of the node. */
  readonly credentials?: string | undefined;
  readonly proxy?: string | undefined;
  /** Files of authorities, or the fault of one; absent by http. */
  readonly authorities?: string | undefined;
  readonly skipVerify: boolean;
  /** Files of client certificates. */
  readonly clientCertificates: readonly string[];
  /** Names of headers. */
  readonly headers: readonly string[];
  readonly dialTimeoutMs?: number | undefined;
  /** What the root of its API answered; absent unless asked for. */
  readonly answer?:
    | {
        readonly ms: number;
        readonly status?: number | undefined;
        readonly login?: string | undefined;
        readonly error?: string | undefined;
      }
    | undefined;
}

/** What was found last. */
export interface HealthAnswer {
  /** Absent where all is well. */
  readonly problem?: string | undefined;
  /** Since when it is well, or is not; ISO 8601, UTC. */
  readonly since: string;
}

/** What the daemon is and does now. Without secrets. */
export interface DaemonStatus {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  /** The judgement of /livez. */
  readonly live: HealthAnswer;
  /** The judgement of /readyz. */
  readonly ready: HealthAnswer;
  /** Why the node should get no pods, though the daemon may be live; absent where it may. */
  readonly unready?: string | undefined;
  /** What is asked for /livez, each by itself. */
  readonly checks: readonly (HealthAnswer & {
    readonly name: string;
    /** How long the present question has waited for its answer; absent where none waits. */
    readonly waitingSeconds?: number | undefined;
  })[];
  /** RuntimeReady and NetworkReady of CRI's Status. */
  readonly conditions: readonly {
    readonly type: string;
    readonly status: boolean;
    readonly reason: string;
    readonly message: string;
  }[];
  /** What is wrong with the node or the daemon, the worst first. */
  readonly troubles: readonly { readonly reason: string; readonly message: string; readonly hint: string }[];
  readonly configuration: {
    /** The files that were read, in order. */
    readonly files: readonly string[];
    /** The options that are set, by their keys, and where (`file:line`); their values may be secret. */
    readonly set: readonly { readonly key: string; readonly origin: string }[];
    readonly root: string;
    readonly state: string;
    readonly cgroupDriver: string;
    readonly defaultHandler: string;
    readonly handlers: readonly string[];
    /** The form of new layers, and why; see `image.layers`. */
    readonly layers: string;
    /** When it was read, at the start or by a reload; ISO 8601, UTC. */
    readonly readAt: string;
    /** The options whose change needs a restart of the daemon. */
    readonly restartNeeded: readonly ChangedOption[];
    /** Why the last reload was refused; absent where it was not. */
    readonly reloadRefused?: string | undefined;
  };
  /** Calls that are answered now, the oldest first. */
  readonly operations: readonly RunningOperation[];
  readonly pulls: readonly RunningPull[];
  /** How many there are in each state. */
  readonly pods: Readonly<Record<string, number>>;
  readonly containers: Readonly<Record<string, number>>;
  readonly images: number;
  /** Layers by their form. */
  readonly layers: Readonly<Record<string, number>>;
  /** What could not be undone; see `crisp ctl info`. */
  readonly leaks: readonly { readonly object: string; readonly name: string; readonly error: string }[];
  readonly memory: { readonly rssBytes: number; readonly heapBytes: number };
}

/** An option whose value differs from before. */
export interface ChangedOption {
  readonly key: string;
  /** `file:line`, or a flag; absent where it is not set any more. */
  readonly origin?: string;
}

export interface ReloadReply {
  /** The options whose change is in effect. */
  readonly applied: readonly ChangedOption[];
  readonly restartNeeded: readonly ChangedOption[];
}

export interface RunningOperation {
  /** As in the log. */
  readonly id: string;
  readonly name: string;
  readonly seconds: number;
  /** What runs, the outermost first. */
  readonly stages: readonly { readonly name: string; readonly detail: string; readonly seconds: number }[];
}

/** A pull that the daemon runs now. */
export interface RunningPull {
  /** The full name. */
  readonly reference: string;
  /** `resolve`, `verify`, `fetch`, `unpack`, `commit`. */
  readonly stage: string;
  readonly elapsedMs: number;
  /** The endpoint that has served the last content; absent before the first. */
  readonly endpoint?: string | undefined;
  /** The calls that wait for it. */
  readonly callers: number;
  /** Over the last five seconds. */
  readonly bytesPerSecond: number;
  /** From the bottom to the top; none until the manifest is known. */
  readonly layers: readonly {
    readonly digest: string;
    /** Compressed bytes. */
    readonly total: number;
    readonly done: number;
    readonly state: 'waiting' | 'fetching' | 'unpacking' | 'done';
  }[];
}

/** What of an image is checked. */
export interface CheckedPart {
  readonly kind: 'layer' | 'blob' | 'image';
  /** A layer's key in the store, a blob's digest, an image's id. */
  readonly name: string;
  /** The images that need it: a tag of each, else a digest, else the id. */
  readonly images: readonly string[];
}

/**
 * A line of a check of images: the plan; then progress (at intervals) and findings; with `repair` a line before and after each
 * repair; the end. A reply without the end is truncated.
 */
export type CheckLine =
  | { readonly kind: 'plan'; readonly objects: number; readonly bytes: number }
  | {
      readonly kind: 'progress';
      readonly part: CheckedPart;
      /** Objects and bytes that have been checked. */
      readonly objects: number;
      readonly bytes: number;
    }
  | {
      readonly kind: 'finding';
      readonly part: CheckedPart;
      readonly fault: 'missing' | 'size' | 'digest' | 'unreadable' | 'tree' | 'incomplete';
      readonly message: string;
    }
  | { readonly kind: 'repairing'; readonly part: CheckedPart }
  | {
      readonly kind: 'repair';
      readonly part: CheckedPart;
      readonly repaired: boolean;
      readonly message: string;
      /** The remedy where it could not be repaired. */
      readonly hint?: string;
    }
  | {
      readonly kind: 'end';
      readonly layers: number;
      readonly blobs: number;
      readonly images: number;
      readonly bytes: number;
      readonly findings: number;
      readonly repaired: number;
    };

/** A failure as a header's value: header values are ASCII. */
export const encodeFailure = (failure: AdminFailure): string =>
  encodeURIComponent(JSON.stringify(failure).toWellFormed());
export const decodeFailure = (text: string): unknown => JSON.parse(decodeURIComponent(text));
