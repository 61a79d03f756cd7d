/** Streaming: one-shot URLs for exec, attach and port-forward, and the server behind them, started at the first request. */
import { CrispError, codeOf, describeError, type ErrorCode } from '#core/errors.ts';
import { Operation, type StageRecord } from '#core/operation.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import { endpointOf, tryAddress } from './address.ts';
import type { serveSession as ServeSession, StreamingServices } from './dispatch.ts';
import type { Connection, ListenOptions, StreamingServer } from './server.ts';
import type { StreamingSession } from './sessions.ts';
import { isSameKind } from './tls.ts';

export type { StreamingSession } from './sessions.ts';
export type { StreamingTls } from './tls.ts';

export interface StreamingOptions extends ListenOptions {
  readonly observer: {
    operation(operation: Operation, seconds: number, code: ErrorCode | undefined): void;
    stage(operation: Operation, stage: StageRecord): void;
  };
}

/** Notifies of pods that have ended. */
export interface PodChanges {
  readonly pods: Pick<PodSandboxes, 'onChange'>;
}

const NAMES = { exec: 'ExecSession', attach: 'AttachSession', portforward: 'PortForwardSession' } as const;

export class Streaming {
  readonly #services: StreamingServices & PodChanges;
  #options: StreamingOptions;
  readonly #running = new Map<AbortController, StreamingSession>();
  readonly #unsubscribe: () => void;
  #server: Promise<StreamingServer> | undefined;
  #bindFailure: CrispError | undefined;
  /** A try that binds the address for a moment; a listener waits for its end. */
  #trial: Promise<void> | undefined;
  /** Of other TLS than now: they have sessions, and no new ones. */
  readonly #retired: Promise<StreamingServer | undefined>[] = [];

  constructor(services: StreamingServices & PodChanges, options: StreamingOptions) {
    this.#services = services;
    this.#options = options;
    this.#unsubscribe = services.pods.onChange(({ kind, sandbox }) => {
      if (kind === 'notReady' || kind === 'removed') this.#abortForwards(sandbox.id);
    });
  }

  /** A URL that opens the session once, within a minute. Throws ResourceExhausted, Unavailable. */
  async url(session: StreamingSession): Promise<string> {
    const server = this.#server ?? this.#listen();
    this.#server = server;
    try {
      return (await server).url(session);
    } catch (error) {
      // If it does not listen the next call tries again; a concurrent call may have started that already.
      const full = error instanceof CrispError && error.code === 'ResourceExhausted';
      if (!full && this.#server === server) this.#server = undefined;
      throw error;
    }
  }

  /** Why the address could not be bound when that was tried last; undefined where it could. */
  get bindFailure(): CrispError | undefined {
    return this.#bindFailure;
  }

  /** Binds the address for a moment, where its port is fixed and no session has bound it: see `bindFailure`. Never rejects. */
  async tryAddress(): Promise<void> {
    if (endpointOf(this.#options.address).port === 0) return;
    this.#trial ??= this.#tryAddress().finally(() => {
      this.#trial = undefined;
    });
    await this.#trial;
  }

  async #tryAddress(): Promise<void> {
    await this.#server?.catch(() => {}); // reported by its own failure
    if (this.#server) return;
    try {
      await tryAddress(this.#options.address);
      this.#bindFailure = undefined;
    } catch (error) {
      if (error instanceof CrispError) this.#bindFailure = error;
    }
  }

  /** For new sessions. Where TLS is switched on or off, or client certificates are, URLs that are not used yet become invalid. */
  update(changed: Pick<StreamingOptions, 'tls' | 'idleMs'>): void {
    const before = this.#options;
    this.#options = { ...before, ...changed };
    const server = this.#server;
    if (!server) return;
    if (isSameKind(before.tls, changed.tls)) {
      server.then((one) => one.update(this.#options)).catch(() => {}); // the next call starts it, or fails as well
      return;
    }
    this.#server = undefined;
    const retired = server.then((one) => {
      one.retire();
      return one;
    });
    this.#retired.push(retired.catch(() => undefined));
  }

  /** Ends all sessions; unused URLs are invalid. */
  async close(): Promise<void> {
    this.#unsubscribe();
    const reason = new CrispError('Unavailable', 'the daemon is stopping', {
      hint: 'start a new session later',
    });
    for (const controller of this.#running.keys()) controller.abort(reason);
    const servers = await Promise.all([this.#server?.catch(() => undefined), ...this.#retired]);
    await Promise.all(servers.map((server) => server?.close()));
  }

  async #listen(): Promise<StreamingServer> {
    await Promise.all([...this.#retired, this.#trial]); // the port is free then
    const [{ StreamingServer }, { serveSession }] = await Promise.all([
      import('./server.ts'),
      import('./dispatch.ts'),
    ]);
    try {
      const server = await StreamingServer.listen(this.#options, (session, connection) => {
        void this.#serve(serveSession, session, connection);
      });
      this.#bindFailure = undefined;
      return server;
    } catch (error) {
      if (error instanceof CrispError) this.#bindFailure = error;
      throw error;
    }
  }

  async #serve(
    serveSession: typeof ServeSession,
    session: StreamingSession,
    connection: Connection,
  ): Promise<void> {
    const { log, observer } = this.#options;
    const controller = new AbortController();
    this.#running.set(controller, session);
    const onStage = (one: Operation, stage: StageRecord) => observer.stage(one, stage);
    const op = new Operation(NAMES[session.kind], { log, signal: controller.signal, onStage });
    try {
      await serveSession(this.#services, session, connection, op);
      this.#ended(op, undefined);
    } catch (error) {
      this.#ended(op, error);
    } finally {
      this.#running.delete(controller);
      if (connection.transport === 'websocket') connection.socket.terminate();
      else setTimeout(() => connection.stream.destroy(), 5000).unref();
    }
  }

  /** Aborts port forwards of a pod that is no longer ready; exec and attach end with their containers. */
  #abortForwards(sandbox: string): void {
    const reason = new CrispError('FailedPrecondition', 'the pod has ended', {
      hint: 'forward to another pod',
    });
    for (const [controller, session] of this.#running) {
      if (session.kind === 'portforward' && session.sandbox === sandbox) controller.abort(reason);
    }
  }

  #ended(op: Operation, error: unknown): void {
    const ms = performance.now() - op.started;
    const code = error === undefined ? undefined : codeOf(error);
    this.#options.observer.operation(op, ms / 1000, code);
    const fields = { ms: Math.round(ms * 10) / 10 };
    if (error === undefined) {
      op.log.debug(fields, 'done');
      return;
    }
    const stack = code === 'Internal' ? { stack: (error as Error)?.stack } : {};
    op.log.info({ ...fields, code, error: describeError(error), ...stack }, 'session ended');
  }
}
