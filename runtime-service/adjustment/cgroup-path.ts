/**
 * The cgroup that a plugin wants for a container. By it crisp kills the container, reads its exit and removes what is left: so it
 * must be this container's alone, directly below its pod's.
 */
import { basename, dirname } from 'node:path';
import { holdsCgroup } from '../container.ts';
import { isUnit, scopeOf } from '../spec/annotations.ts';
import { isWithin } from '../spec/mounts.ts';
import { type Adjusting, refusal } from './adjusting.ts';

/** One name of a directory, as the cgroup drivers take it. */
const NAME = /^(?!\.{1,2}$)[^/\p{Cc}:]{1,200}$/u;
/** Names of control files: `memory.max`. */
const CONTROL_FILE =
  /^(cgroup|memory|cpu|cpuset|cpuacct|io|blkio|pids|hugetlb|devices|freezer|net_cls|rdma|misc|notify_on_release|tasks|release_agent)(\.|$)/;
/** What a unit of systemd may be called: systemd.unit(5). */
const UNIT = /^[A-Za-z0-9_.@-]{1,120}$/;

/** The last part: checks and takes the path in one turn of the main loop, so that no other container gets it meanwhile. */
export function adjustCgroup(adjusting: Adjusting): void {
  const { cgroupsPath } = adjusting.adjustment;
  if (cgroupsPath === undefined || cgroupsPath === adjusting.record.cgroup.oci) return;
  const { record, spec, context } = adjusting;
  const cgroup = { oci: cgroupsPath, path: pathOf(adjusting, cgroupsPath) };
  refuseTaken(adjusting, cgroup.path);
  adjusting.record = { ...record, cgroup };
  spec.linux.cgroupsPath = cgroup.oci;
  context.containers.publish({ ...(context.containers.get(record.id) ?? record), cgroup });
}

const refuseWith = (adjusting: Adjusting, why: string, hint: string) =>
  refusal(adjusting, ['cgroupsPath'], `${JSON.stringify(adjusting.adjustment.cgroupsPath)} ${why}`, hint);

function pathOf(adjusting: Adjusting, wanted: string): string {
  const { cgroup } = adjusting.record;
  const parent = dirname(cgroup.path);
  const refuse = (why: string, hint: string) => refuseWith(adjusting, why, hint);
  if (!isUnit(cgroup.oci)) {
    const name = basename(wanted);
    const clean = parent === '/' ? `/${name}` : `${parent}/${name}`;
    if (wanted !== clean || !NAME.test(name) || CONTROL_FILE.test(name))
      throw refuse(`is no cgroup directly below ${parent}`, `give ${parent} and one name below it`);
    return clean;
  }
  const [slice, prefix = '', name = '', ...more] = wanted.split(':');
  const [own] = cgroup.oci.split(':');
  const isForm = more.length === 0 && UNIT.test(prefix) && UNIT.test(name);
  if (!isForm || slice !== own || name.endsWith('.slice'))
    throw refuse(`is no scope in ${own}`, `give ${own}:prefix:name`);
  return `${parent}/${scopeOf(prefix, name)}`;
}

/** Names of units are one set for the whole node. */
function refuseTaken(adjusting: Adjusting, path: string): void {
  const { record, pod, context } = adjusting;
  const { kernel, containers, cleanups, leaks } = context;
  // What is still to be undone kills by its cgroup, too.
  const gone = [...cleanups.removing(), ...leaks.of(() => true).map((leak) => leak.record)];
  // The next attempt of a container may have the name of the one before.
  const others = [...containers.list().filter(holdsCgroup), ...gone].filter(({ id }) => id !== record.id);
  const taken = [pod.monitorCgroup, ...others.map(({ cgroup }) => cgroup.path)];
  const other = taken.find((used) => isWithin(path, used) || isWithin(used, path));
  const unit = basename(path);
  const isTakenUnit =
    isUnit(record.cgroup.oci) &&
    (taken.some((used) => basename(used) === unit) || kernel.cgroups.find(unit).length > 0);
  if (other === undefined && !isTakenUnit && !kernel.cgroups.exists(path)) return;
  throw refuseWith(
    adjusting,
    'is in use: crisp kills a container by its cgroup',
    'give a name that no other has',
  );
}
