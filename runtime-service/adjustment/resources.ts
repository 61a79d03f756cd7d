/** Limits, classes of block IO and RDT, and the NUMA policy of memory. */
import { setBlockIo, setRdt } from '../annotations/classes.ts';
import { checkControlFiles } from '../limits/control-files.ts';
import { unitAnnotations } from '../spec/annotations.ts';
import { changedLimits, impossibleChange, limitResources } from '../spec/other-limits.ts';
import { checkUpdate } from '../spec/update.ts';
import { type Adjusting, attributed, ownerOf, refusal } from './adjusting.ts';
import { requireFeature } from './process.ts';

export async function adjustResources(adjusting: Adjusting): Promise<void> {
  const { resources: changes } = adjusting.adjustment;
  if (!changes) return;
  const { context, oci, spec, record } = adjusting;
  const { host, kernel } = context;
  const found = impossibleChange(changes, { ...host, isCrun: oci.isCrun });
  if (found) throw refusal(adjusting, [found.field], `cannot be set: ${found.why}`, found.hint);
  const limits = changedLimits({ resources: record.resources, others: record.otherLimits ?? {} }, changes);
  await attributed(adjusting, 'resources', () => {
    checkUpdate(limits.resources);
    const { devices, blockIO } = spec.linux.resources;
    const made = limitResources(limits, host);
    spec.linux.resources = { ...made, ...(devices ? { devices } : {}), ...(blockIO ? { blockIO } : {}) };
    checkControlFiles(kernel.cgroups, record.cgroup.path, { unified: changes.unified ?? {} });
    Object.assign(spec.annotations, unitAnnotations(record.cgroup.oci, limits.resources, host));
  });
  adjusting.record = {
    ...record,
    resources: limits.resources,
    ...(Object.keys(limits.others).length > 0 ? { otherLimits: limits.others } : {}),
  };
  await setClasses(adjusting, changes);
}

async function setClasses(
  adjusting: Adjusting,
  { blockioClass, rdtClass }: NonNullable<Adjusting['adjustment']['resources']>,
): Promise<void> {
  const { context, oci, op, spec, owners } = adjusting;
  const { blockio, host } = context;
  const classes = { blockio, rdtClasses: host.defaults.rdtClasses, runtime: oci, resources: host };
  const from = (field: string) => `NRI plugin ${ownerOf(owners, field)}: ${field}`;
  if (blockioClass !== undefined) {
    delete spec.linux.resources.blockIO;
    const named = { from: from('blockioClass'), value: blockioClass };
    if (blockioClass !== '') await setBlockIo(spec, named, classes, op);
  }
  if (rdtClass !== undefined) {
    delete spec.linux.intelRdt;
    const named = { from: from('rdtClass'), value: rdtClass };
    if (rdtClass !== '') await setRdt(spec, named, classes);
  }
}

/** The name of a group below the file system of resctrl; `/` is its root. */
const CLASS = /^(\/|(?!\.{1,2}$)[^/\n\0]{1,255})$/;

export async function adjustRdt(adjusting: Adjusting): Promise<void> {
  const { rdt } = adjusting.adjustment;
  if (!rdt) return;
  const { spec, oci } = adjusting;
  if (rdt.remove) {
    delete spec.linux.intelRdt;
    return;
  }
  const { closID, schemata, enableMonitoring } = rdt;
  if (closID === undefined && schemata === undefined && enableMonitoring === undefined) return;
  const refuse = (why: string, hint: string) => refusal(adjusting, ['rdt'], why, hint);
  if (closID !== undefined && !CLASS.test(closID))
    throw refuse(`has ${JSON.stringify(closID)}, which is no class`, 'use the name of a group of resctrl');
  if (schemata?.some((line) => /[\n\0]/.test(line)))
    throw refuse('has schemata that are not lines', 'give each line by itself');
  const { version, intelRdt } = await oci.features();
  const lacks = (what: string, since: string) =>
    refuse(`${what} not applied by runtime handler ${oci.handler} (${version})`, `use ${since}`);
  if (intelRdt === 'none') throw lacks('is', 'runc, or crun 1.10 or later');
  if ((schemata || enableMonitoring) && intelRdt !== 'all')
    throw lacks('has schemata or enableMonitoring, which are', 'runc 1.4, crun 1.24 or later');
  spec.linux.intelRdt = {
    ...spec.linux.intelRdt,
    ...(closID === undefined ? {} : { closID }),
    ...(schemata === undefined ? {} : { schemata: [...schemata] }),
    ...(enableMonitoring === undefined ? {} : { enableMonitoring }),
  };
}

/** set_mempolicy(2) */
const MODES = /^MPOL_(DEFAULT|BIND|INTERLEAVE|WEIGHTED_INTERLEAVE|PREFERRED|PREFERRED_MANY|LOCAL)$/;
const FLAGS = /^MPOL_F_(NUMA_BALANCING|RELATIVE_NODES|STATIC_NODES)$/;
const NODES = /^(\d+(-\d+)?(,\d+(-\d+)?)*)?$/;

export async function adjustMemoryPolicy(adjusting: Adjusting): Promise<void> {
  const { memoryPolicy } = adjusting.adjustment;
  if (!memoryPolicy) return;
  const { mode, nodes, flags } = memoryPolicy;
  const refuse = (why: string, hint: string) => refusal(adjusting, ['memoryPolicy'], why, hint);
  if (!MODES.test(mode)) throw refuse(`has no mode ${JSON.stringify(mode)}`, 'use those of set_mempolicy(2)');
  if (!NODES.test(nodes)) throw refuse(`has the nodes ${JSON.stringify(nodes)}`, 'write 0-3,8');
  const flag = flags.find((name) => !FLAGS.test(name));
  if (flag !== undefined)
    throw refuse(`has no flag ${JSON.stringify(flag)}`, 'use those of set_mempolicy(2)');
  await requireFeature(adjusting, 'memoryPolicy');
  adjusting.spec.linux.memoryPolicy = { mode, nodes, flags: [...flags] };
}
