/** What crisp uses of systemd: scopes for existing processes, new slices along with them, and stopping of units. */

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
   * Makes a delegated scope and moves the processes in, with one call. Resolves when they are in it.
   * Throws AlreadyExists where a unit of one of the names is loaded, NotFound where a process has ended, Unavailable where
   * D-Bus or systemd do not reply, RuntimeFailed where systemd refuses, naming unit and properties. At the abort: its
   * reason; the scope may still be started then.
   */
  startScope(request: ScopeRequest, signal: AbortSignal): Promise<void>;
  /** Stops a unit with all its processes. One that is not loaded is success. Resolves when systemd has done it. */
  stop(unit: string, signal: AbortSignal): Promise<void>;
  /**
   * Calls the listener when systemd has reloaded its units (`systemctl daemon-reload`, done by every installed package with
   * a service): it then writes its own settings to the control files again. Also called after each (re)connection, since
   * reloads may have been missed. Returns a function that removes the listener.
   */
  onReload(listener: () => void): () => void;
  /** Connects in order to receive reloads, where no unit was requested yet. Throws as `startScope` does. */
  listen(signal: AbortSignal): Promise<void>;
}
