/** What a plugin wants of the container's files, devices and network interfaces. */
import type { nri } from '#api/nri/index.ts';
import type { AdjustedDevice, AdjustedMount } from '#core/model/adjustment.ts';
import type { Change } from '../fields.ts';
import { entryChanges, plainChanges } from './entries.ts';
import type { Reader } from './reader.ts';
import { MAX_MAJOR, MAX_MINOR } from './resources.ts';

const MAX_MOUNT_OPTIONS = 128;
/** As the CDI specification has them: vendor/class=name. */
const CDI_DEVICE = /^[A-Za-z][A-Za-z0-9_.-]*\/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*$/;
/** What dev_valid_name (net/core/dev.c) takes, but for `%`, from which the kernel would make a number. */
const INTERFACE = /^(?!\.{1,2}$)[^/:%\s]{1,15}$/;
/** uid_t without the one that means no change (chown(2)). */
const MAX_ID = 4_294_967_294;

export const mountChanges = (reader: Reader, sent: readonly nri.Mount[]): Change[] =>
  entryChanges(
    reader,
    {
      field: 'mounts',
      name: (path) => reader.path('mounts', path),
      value: (one, at) => mount(reader, one, at),
    },
    sent.map((one) => ({ name: one.destination, value: one })),
  );

function mount(reader: Reader, sent: nri.Mount, destination: string): AdjustedMount {
  const field = `mounts ${destination}`;
  const options = reader
    .list(`${field} options`, sent.options, MAX_MOUNT_OPTIONS)
    .map((option) => reader.text(`${field} options`, option, 4096));
  const type = reader.matching(
    `${field} type`,
    sent.type,
    /^[A-Za-z0-9_.-]*$/,
    'send a type of file system',
    64,
  );
  const bind = type === 'bind' || options.some((option) => option === 'bind' || option === 'rbind');
  const source = bind
    ? reader.path(`${field} source`, sent.source, { root: true })
    : reader.text(`${field} source`, sent.source, 4096);
  return { destination, type, source, options };
}

export const deviceChanges = (reader: Reader, sent: readonly nri.LinuxDevice[]): Change[] =>
  entryChanges(
    reader,
    {
      field: 'devices',
      name: (path) => reader.path('devices', path),
      value: (one, path) => device(reader, one, path),
    },
    sent.map((one) => ({ name: one.path, value: one })),
  );

function device(reader: Reader, sent: nri.LinuxDevice, path: string): AdjustedDevice {
  const field = `devices ${path}`;
  const { fileMode, uid, gid } = sent;
  return {
    path,
    type: reader.oneOf(`${field} type`, sent.type, ['b', 'c', 'u', 'p']),
    major: reader.number(`${field} major`, sent.major, 0, MAX_MAJOR),
    minor: reader.number(`${field} minor`, sent.minor, 0, MAX_MINOR),
    ...(fileMode ? { fileMode: permissions(reader, field, fileMode.value) } : {}),
    ...(uid ? { uid: reader.number(`${field} uid`, uid.value, 0, MAX_ID) } : {}),
    ...(gid ? { gid: reader.number(`${field} gid`, gid.value, 0, MAX_ID) } : {}),
  };
}

/** Bits of a device's type: of st_mode (inode(7)), and of Go's fs.FileMode, which plugins send as they have read it. */
const TYPE_BITS = 0o170000 | (1 << 21) | (1 << 25) | (1 << 26);

const permissions = (reader: Reader, field: string, mode: number): number =>
  reader.number(`${field} file_mode`, (mode & ~TYPE_BITS) >>> 0, 0, 0o777);

export const netDeviceChanges = (
  reader: Reader,
  sent: Readonly<Record<string, nri.LinuxNetDevice>>,
): Change[] =>
  entryChanges(
    reader,
    {
      field: 'netDevices',
      name: (name) => interfaceName(reader, 'netDevices', name),
      // Without a name it keeps its own.
      value: ({ name }, host) => ({
        name: name === '' ? host : interfaceName(reader, `netDevices ${host}`, name),
      }),
    },
    reader.entries('netDevices', sent).map(([name, value]) => ({ name, value })),
  );

const interfaceName = (reader: Reader, field: string, name: string): string =>
  reader.matching(field, name, INTERFACE, 'send the name of an interface: 1 to 15 characters', 15);

export const cdiChanges = (reader: Reader, sent: readonly nri.CDIDevice[]): Change[] =>
  plainChanges(
    reader,
    {
      field: 'cdiDevices',
      name: (name) =>
        reader.matching('cdiDevices', name, CDI_DEVICE, 'send a qualified name: vendor/class=name'),
      value: () => true as const,
    },
    sent.map((one) => ({ name: one.name, value: one })),
  );
