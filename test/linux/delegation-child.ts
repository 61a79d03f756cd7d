/** Runs in the root of a cgroup namespace of its own, and makes groups there. Prints the results. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, errnoOf } from '#core/errors.ts';
import { openCgroups } from '#linux/cgroup/open.ts';
import { CgroupsV2 } from '#linux/cgroup/v2.ts';

const [root = '', mode = ''] = process.argv.slice(2);
const cgroups = mode === 'open' ? openCgroups() : new CgroupsV2(root, { delegated: mode === 'delegated' });
const read = (file: string) => readFileSync(join(root, file), 'utf8').trim();
let error: { errno: string | undefined; message: string } | undefined;
try {
  await cgroups.create('/crisp/pod');
  await cgroups.join('/crisp/pod', process.pid);
} catch (thrown) {
  error = { errno: errnoOf(thrown), message: describeError(thrown) };
}
await cgroups.prepare('/crisp');
process.stdout.write(
  JSON.stringify({
    error,
    trouble: cgroups.trouble,
    own: readFileSync('/proc/self/cgroup', 'utf8').match(/^0::(.*)$/m)?.[1],
    left: read('cgroup.procs').split('\n').filter(Boolean).length,
    handedDown: read('cgroup.subtree_control'),
  }),
);
