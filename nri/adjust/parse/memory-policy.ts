/** What a plugin wants of the container's memory nodes, and of its class of caches and memory bandwidth. */
import { nri } from '#api/nri/index.ts';
import type { ContainerAdjustment } from '#core/model/adjustment.ts';
import type { Change } from '../fields.ts';
import { singleChange } from './entries.ts';
import type { Reader } from './reader.ts';

const NODES = /^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$/;
/** set_mempolicy(2): the modes that refuse nodes, and those that need some. */
const WITHOUT_NODES = ['MPOL_DEFAULT', 'MPOL_LOCAL'];
const WITH_NODES = ['MPOL_BIND', 'MPOL_INTERLEAVE', 'MPOL_PREFERRED_MANY', 'MPOL_WEIGHTED_INTERLEAVE'];

export const memoryPolicyChanges = (reader: Reader, sent: nri.LinuxMemoryPolicy | undefined): Change[] =>
  singleChange('memoryPolicy', sent && memoryPolicy(reader, sent));

function memoryPolicy(
  reader: Reader,
  sent: nri.LinuxMemoryPolicy,
): NonNullable<ContainerAdjustment['memoryPolicy']> {
  const mode = reader.enumName('memoryPolicy.mode', sent.mode, nri.MpolMode);
  const nodes = reader.matching('memoryPolicy.nodes', sent.nodes, NODES, 'send a list such as 0-1,3', 4096);
  if (WITHOUT_NODES.includes(mode) && nodes !== '')
    reader.refuse('memoryPolicy.nodes', `${mode} has no nodes`, 'send none');
  if (WITH_NODES.includes(mode) && nodes === '')
    reader.refuse('memoryPolicy.nodes', `${mode} needs nodes`, 'send a list such as 0-1,3');
  const flags = reader
    .list('memoryPolicy.flags', sent.flags, Object.keys(nri.MpolFlag).length)
    .map((flag) => reader.enumName('memoryPolicy.flags', flag, nri.MpolFlag));
  if (flags.includes('MPOL_F_STATIC_NODES') && flags.includes('MPOL_F_RELATIVE_NODES'))
    reader.refuse('memoryPolicy.flags', 'static and relative nodes exclude each other', 'send one of both');
  return { mode, nodes, flags };
}

/** The name of a directory of resctrl. */
const CLOS_ID = /^(?!\.{1,2}$)[^/\n]*$/;
const MAX_SCHEMATA = 64;

/** `remove` takes all three away, or replaces what other plugins have set of them. */
export function rdtChanges(reader: Reader, sent: nri.LinuxRdt | undefined): Change[] {
  if (!sent) return [];
  const { closId, schemata, enableMonitoring, remove: marked } = sent;
  const change = <F extends 'rdt.closID' | 'rdt.schemata' | 'rdt.enableMonitoring'>(
    field: F,
    value: Change<F>['value'],
  ): Change[] => (value === undefined && !marked ? [] : [{ field, entry: '', value, marked }]);
  return [
    ...change(
      'rdt.closID',
      closId && reader.matching('rdt.closID', closId.value, CLOS_ID, 'send a name without /', 255),
    ),
    ...change(
      'rdt.schemata',
      schemata &&
        reader
          .list('rdt.schemata', schemata.value, MAX_SCHEMATA)
          .map((line) => reader.matching('rdt.schemata', line, /^[^\n]+$/, 'send one line each', 4096)),
    ),
    ...change('rdt.enableMonitoring', enableMonitoring?.value),
  ];
}
