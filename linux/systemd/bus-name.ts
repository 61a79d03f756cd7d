/** Which services are on a D-Bus. */
import { hasCode } from '#core/errors.ts';
import { DBusConnection } from './dbus.ts';

const BUS = 'org.freedesktop.DBus';

/**
 * Whether a program has the name on the bus at the socket, now; false where there is no such bus, or it refuses this user. Throws at
 * the abort.
 */
export async function hasBusName(socket: string, name: string, signal: AbortSignal): Promise<boolean> {
  const on = { signal: () => {}, close: () => {} };
  try {
    using bus = await DBusConnection.open(socket, on, signal);
    const method = { destination: BUS, interface: BUS, path: '/org/freedesktop/DBus' };
    const call = { ...method, member: 'GetNameOwner', signature: 's', body: [name] };
    return (await bus.call(call, signal)).ok;
  } catch (error) {
    signal.throwIfAborted();
    if (hasCode(error, 'Unavailable') || hasCode(error, 'PermissionDenied')) return false;
    throw error;
  }
}
