/**
 * systemd over the system bus. The connection is made at the first call and made again when it is gone. Two signals are
 * received: JobRemoved with the result of each job, Reloading when all units have been reloaded.
 */
import { existsSync } from 'node:fs';
import { CrispError, hasCode } from '#core/errors.ts';
import { abandoned, joined } from '../libc/abort.ts';
import type { ScopeRequest, SystemdUnits, UnitProperty } from '../ports/systemd-units.ts';
import { DBusConnection, type MethodCall, type Reply } from './dbus.ts';
import type { Message } from './dbus-message.ts';
import type { DBusValue } from './dbus-values.ts';

const SYSTEM_BUS = '/run/dbus/system_bus_socket';
const SYSTEMD = 'org.freedesktop.systemd1';
const OBJECT = '/org/freedesktop/systemd1';
const MANAGER = `${SYSTEMD}.Manager`;
const signalRule = (member: string): string =>
  `type='signal',sender='${SYSTEMD}',path='${OBJECT}',interface='${MANAGER}',member='${member}'`;

/** How long the connection to the bus and systemd may take, in ms; each caller has a limit of its own besides. */
const OPEN_MS = 30_000;

const systemdMethod = { destination: SYSTEMD, path: OBJECT, interface: MANAGER };

/** The errors of systemd and the bus that have a code of crisp. */
const codes = {
  [`${SYSTEMD}.UnitExists`]: 'AlreadyExists',
  [`${SYSTEMD}.NoSuchUnit`]: 'NotFound',
  [`${SYSTEMD}.NoSuchProcess`]: 'NotFound',
  'org.freedesktop.DBus.Error.UnixProcessIdUnknown': 'NotFound',
  'org.freedesktop.DBus.Error.AccessDenied': 'PermissionDenied',
  'org.freedesktop.DBus.Error.ServiceUnknown': 'Unavailable',
  'org.freedesktop.DBus.Error.NoReply': 'Unavailable',
  'org.freedesktop.DBus.Error.Disconnected': 'Unavailable',
} as const satisfies Record<string, CrispError['code']>;

/** The end of a job of one unit. The signal may come before the reply that names the job. */
interface JobWatch {
  readonly ended: Map<string, string>;
  wake: () => void;
}

export class Systemd implements SystemdUnits, Disposable {
  readonly booted: boolean;
  readonly #socket: string;
  readonly #openMs: number;
  #bus: Promise<DBusConnection> | undefined;
  /** By unit. */
  readonly #watches = new Map<string, Set<JobWatch>>();
  readonly #listeners = new Set<() => void>();

  /** `socket`: the system bus. */
  constructor(
    options: { readonly socket?: string; readonly booted?: boolean; readonly openMs?: number } = {},
  ) {
    this.#openMs = options.openMs ?? OPEN_MS;
    this.#socket = options.socket ?? SYSTEM_BUS;
    this.booted = options.booted ?? existsSync('/run/systemd/system');
  }

  async startScope(request: ScopeRequest, signal: AbortSignal): Promise<void> {
    const { name, slice, slices } = request;
    const properties: UnitProperty[] = [
      { name: 'Description', type: 's', value: request.description },
      { name: 'Slice', type: 's', value: slice },
      { name: 'PIDs', type: 'au', value: request.pids },
      { name: 'Delegate', type: 'b', value: true },
      // What fails is forgotten as soon as it is empty, and shutdown ends pods with the rest of the processes.
      { name: 'CollectMode', type: 's', value: 'inactive-or-failed' },
      { name: 'DefaultDependencies', type: 'b', value: false },
    ];
    const what = describeScope(request);
    await this.#job(name, what, signal, {
      member: 'StartTransientUnit',
      signature: 'ssa(sv)a(sa(sv))',
      body: [name, 'fail', pairs(properties), slices.map((made) => [made.name, pairs(made.properties)])],
    });
  }

  async stop(unit: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#job(unit, `stop ${unit}`, signal, {
        member: 'StopUnit',
        signature: 'ss',
        body: [unit, 'replace'],
      });
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }

  onReload(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async listen(signal: AbortSignal): Promise<void> {
    await this.#connected('subscribe to reloads', signal);
  }

  #notifyReload(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls a method that returns a job, and waits for the job's end. */
  async #job(
    unit: string,
    what: string,
    signal: AbortSignal,
    method: { readonly member: string; readonly signature: string; readonly body: readonly DBusValue[] },
  ): Promise<void> {
    const watch: JobWatch = { ended: new Map(), wake() {} };
    const watches = this.#watches.get(unit) ?? new Set();
    this.#watches.set(unit, watches.add(watch));
    try {
      const bus = await this.#connected(what, signal);
      using _awake = bus.hold();
      const reply = await bus.call({ ...systemdMethod, ...method }, signal);
      const job = String(accepted(reply, what)[0]);
      const result = await this.#result(watch, job, bus, what, signal);
      if (result !== 'done') throw failed(what, unit, result);
    } catch (error) {
      throw hasCode(error, 'Unavailable') ? noReply(what, error) : error;
    } finally {
      watches.delete(watch);
      if (watches.size === 0) this.#watches.delete(unit);
    }
  }

  async #result(
    watch: JobWatch,
    job: string,
    bus: DBusConnection,
    what: string,
    signal: AbortSignal,
  ): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const check = () => {
      const result = watch.ended.get(job);
      if (result !== undefined) resolve(result);
      else if (bus.closed) reject(new CrispError('Unavailable', 'the D-Bus was closed'));
    };
    const onAbort = () => reject(abandoned(what, signal));
    signal.addEventListener('abort', onAbort, { once: true });
    watch.wake = check;
    if (signal.aborted) onAbort();
    check();
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The connection, made once for all callers: one that gives up, even the first, does not abort the others' wait. */
  async #connected(what: string, signal: AbortSignal): Promise<DBusConnection> {
    if (!this.booted) {
      throw new CrispError('FailedPrecondition', `${what}: systemd is not PID 1 of this machine`, {
        hint: 'set the cgroup driver of crisp and of the kubelet to cgroupfs',
      });
    }
    const bus = this.#bus ?? this.#begin();
    this.#bus = bus;
    return joined(bus, what, signal);
  }

  #begin(): Promise<DBusConnection> {
    const controller = new AbortController();
    const late = () =>
      controller.abort(
        new CrispError(
          'Unavailable',
          `the D-Bus at ${this.#socket} has not replied for ${this.#openMs / 1000} s`,
          {
            hint: 'see systemctl status dbus.service; systemd itself may hang: systemctl is-system-running',
          },
        ),
      );
    const timer = setTimeout(late, this.#openMs);
    const bus = this.#open(controller.signal);
    const settled = () => clearTimeout(timer);
    bus.then(settled, () => {
      settled();
      if (this.#bus === bus) this.#bus = undefined;
    });
    return bus;
  }

  async #open(signal: AbortSignal): Promise<DBusConnection> {
    const bus = await DBusConnection.open(
      this.#socket,
      {
        signal: (message) => this.#onSignal(message),
        close: () => {
          this.#bus = undefined;
          this.#wakeAll();
        },
      },
      signal,
    );
    const addMatch = (member: string): MethodCall => ({
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      member: 'AddMatch',
      signature: 's',
      body: [signalRule(member)],
    });
    // Without a subscriber systemd sends no signals.
    const subscribe = { ...systemdMethod, member: 'Subscribe', signature: '', body: [] };
    const calls: readonly MethodCall[] = [addMatch('JobRemoved'), addMatch('Reloading'), subscribe];
    try {
      const replies = await Promise.all(calls.map((call) => bus.call(call, signal)));
      for (const [index, reply] of replies.entries()) accepted(reply, calls[index]?.member ?? '');
      this.#notifyReload();
      return bus;
    } catch (error) {
      bus[Symbol.dispose]();
      throw error;
    }
  }

  #onSignal({ member, signature, body }: Message): void {
    // Sent with `true` when it begins and with `false` when it is done.
    if (member === 'Reloading' && signature === 'b' && body[0] === false) this.#notifyReload();
    if (member !== 'JobRemoved' || signature !== 'uoss') return;
    const [, job, unit, result] = body as [number, string, string, string];
    for (const watch of this.#watches.get(unit) ?? []) {
      watch.ended.set(job, result);
      watch.wake();
    }
  }

  #wakeAll(): void {
    for (const watches of this.#watches.values()) for (const { wake } of watches) wake();
  }

  [Symbol.dispose](): void {
    void this.#bus?.then((bus) => bus[Symbol.dispose]()).catch(() => {});
  }
}

const pairs = (properties: readonly UnitProperty[]): DBusValue[] =>
  properties.map(({ name, type, value }) => [name, { type, value }]);

/** The scope, its slice and the properties that a caller chose. */
function describeScope({ name, slice, slices }: ScopeRequest): string {
  const made = slices.flatMap((unit) =>
    unit.properties.map((property) => `${unit.name} ${property.name}=${String(property.value)}`),
  );
  return `start ${name} in ${slice}${made.length > 0 ? ` (${made.join(', ')})` : ''}`;
}

function accepted(reply: Reply, what: string): readonly DBusValue[] {
  if (reply.ok) return reply.body;
  const code = Object.hasOwn(codes, reply.error) ? codes[reply.error as keyof typeof codes] : 'RuntimeFailed';
  throw new CrispError(code, `systemd: ${what}: ${reply.error}: ${reply.text}`, {
    hint: 'see its messages: journalctl -u init.scope; correct the named property or free the unit name',
  });
}

const failed = (what: string, unit: string, result: string): CrispError =>
  new CrispError('RuntimeFailed', `systemd: ${what}: its job ended with ${JSON.stringify(result)}`, {
    hint: `see systemctl status '${unit}' and systemctl list-jobs`,
  });

const noReply = (what: string, error: CrispError): CrispError =>
  new CrispError('Unavailable', `systemd: ${what}`, {
    cause: error,
    hint: 'start dbus.service, or set the cgroup driver of crisp and of the kubelet to cgroupfs',
  });
