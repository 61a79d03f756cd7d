/** What crisp asks of systemd: scopes for processes that exist, with slices where they are new, and their end. */

/** A value that carries its own type. */
export interface Variant {
  readonly type: string;
  readonly value: DBusValue;
}

export type DBusValue = number | bigint | boolean | string | Variant | readonly DBusValue[];

/** A property of a unit as systemd's D-Bus interface has it (org.freedesktop.systemd1(5)). */
export interface UnitProperty {
  readonly name: string;
  /** D-Bus signature of the value. */
  readonly type: string;
  readonly value: DBusValue;
}

export interface ScopeRequest {
  /** `….scope` */
  readonly name: string;
  /** `….slice`; it and those that hold it are started where they are not. */
  readonly slice: string;
  readonly description: string;
  /** Processes that move in. At least one, and alive. */
  readonly pids: readonly number[];
  /** Slices that are made along with these properties. None of them may be in use. */
  readonly slices: readonly { readonly name: string; readonly properties: readonly UnitProperty[] }[];
}

export interface SystemdUnits {
  /** Whether systemd runs this machine (sd_booted(3)). */
  readonly booted: boolean;
  /**
   * Makes a delegated scope and moves the processes in, with one call. Resolves when they stand there.
   * Throws AlreadyExists where a unit of one of the names is loaded, NotFound where a process has ended, Unavailable where
   * D-Bus or systemd do not answer, RuntimeFailed where systemd refuses, naming unit and properties. At the abort: its
   * reason; whether the scope comes to be is open then.
   */
  startScope(request: ScopeRequest, signal: AbortSignal): Promise<void>;
  /** Stops a unit with all that it holds. One that is not loaded is success. Resolves when systemd has done it. */
  stop(unit: string, signal: AbortSignal): Promise<void>;
  /**
   * Tells when systemd has reloaded its units (`systemctl daemon-reload`, done by every installed package with a service):
   * it then writes all that it thinks it knows of a group anew. Also told when systemd can be heard again after a time
   * in which it could not. Returns the end of the telling.
   */
  onReload(listener: () => void): () => void;
  /** Begins to hear reloads, where no unit was asked for yet. Throws as `startScope` does. */
  listen(signal: AbortSignal): Promise<void>;
}
