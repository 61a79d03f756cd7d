/** What a plugin has sent, checked: a list of changes. Nothing here knows of other plugins. */
import type { nri } from '#api/nri/index.ts';
import type { Change } from '../fields.ts';
import { entryChanges, singleChange } from './entries.ts';
import { cdiChanges, deviceChanges, mountChanges, netDeviceChanges } from './files.ts';
import { hookChanges } from './hooks.ts';
import { memoryPolicyChanges, rdtChanges } from './memory-policy.ts';
import {
  argsChanges,
  envChanges,
  ioPriorityChanges,
  oomScoreAdjChanges,
  rlimitChanges,
  schedulerChanges,
} from './process.ts';
import { quoted, type Reader } from './reader.ts';
import { deviceRuleChanges, resourceChanges } from './resources.ts';
import { namespaceChanges, seccompChanges, sysctlChanges } from './security.ts';

/** Throws InvalidArgument naming plugin, field and remedy. */
export function adjustmentChanges(reader: Reader, sent: nri.ContainerAdjustment | undefined): Change[] {
  if (!sent) return [];
  return [
    ...annotationChanges(reader, sent.annotations),
    ...mountChanges(reader, sent.mounts),
    ...envChanges(reader, sent.env),
    ...argsChanges(reader, sent.args),
    ...hookChanges(reader, sent.hooks),
    ...rlimitChanges(reader, sent.rlimits),
    ...cdiChanges(reader, sent.CDIDevices),
    ...linuxChanges(reader, sent.linux),
  ];
}

function linuxChanges(reader: Reader, sent: nri.LinuxContainerAdjustment | undefined): Change[] {
  if (!sent) return [];
  return [
    ...deviceChanges(reader, sent.devices),
    ...resourceChanges(reader, sent.resources),
    ...deviceRuleChanges(reader, sent.resources),
    ...cgroupsPathChanges(reader, sent.cgroupsPath),
    ...oomScoreAdjChanges(reader, sent.oomScoreAdj),
    ...ioPriorityChanges(reader, sent.ioPriority),
    ...seccompChanges(reader, sent.seccompPolicy),
    ...namespaceChanges(reader, sent.namespaces),
    ...sysctlChanges(reader, sent.sysctl),
    ...netDeviceChanges(reader, sent.netDevices),
    ...schedulerChanges(reader, sent.scheduler),
    ...rdtChanges(reader, sent.rdt),
    ...memoryPolicyChanges(reader, sent.memoryPolicy),
  ];
}

/** crun acts on these: they would change a filter or run a program behind the fields that validators see. */
const COMMANDS = 'run.oci.';

const annotationChanges = (reader: Reader, sent: Readonly<Record<string, string>>): Change[] =>
  entryChanges(
    reader,
    {
      field: 'annotations',
      name: (name) => {
        reader.text('annotations', name, 512);
        if (name.startsWith(COMMANDS))
          reader.refuse(
            'annotations',
            `${quoted(name)} is a command to the OCI runtime`,
            'send the field of NRI that does the same',
          );
        return name;
      },
      // The bound of Kubernetes for all annotations of an object.
      value: (value, name) => reader.text(`annotations ${name}`, value, 256 * 1024),
    },
    reader.entries('annotations', sent).map(([name, value]) => ({ name, value })),
  );

/** systemd's `slice:prefix:name`. */
const UNIT = /^[A-Za-z0-9_.\\@-]*:[A-Za-z0-9_.\\@-]*:[A-Za-z0-9_.\\@-]+$/;

function cgroupsPathChanges(reader: Reader, sent: string): Change[] {
  if (sent === '') return [];
  const path = sent.startsWith('/')
    ? reader.path('cgroupsPath', sent)
    : reader.matching('cgroupsPath', sent, UNIT, 'send an absolute path, or slice:prefix:name', 512);
  return singleChange('cgroupsPath', path);
}
