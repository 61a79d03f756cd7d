/** The limits of inotify as the kernel enforces them: those of a user namespace of the test's own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';

const module = join(import.meta.dirname, '../../linux/fs/inotify.ts');
/** Watches three times: at the limit, below it, and a missing path. Prints the results. */
const program = `
import { writeFileSync } from 'node:fs';
import { RealInotify as Inotify } from ${JSON.stringify(module)};
const warnings = [];
const inotify = new Inotify({ warn: (fields, message) => warnings.push({ ...fields, message }) });
const tryWatch = () => inotify.watch('test', '/tmp', () => {}) !== undefined;
const seen = { refused: [tryWatch(), tryWatch()], trouble: inotify.trouble };
writeFileSync(process.argv[1], '100');
seen.allowed = tryWatch();
seen.after = inotify.trouble ?? 'none';
try { inotify.watch('missing', '/tmp/crisp-is-not-there', () => {}); } catch (error) { seen.missing = error.code; }
console.log(JSON.stringify({ ...seen, warnings }));
process.exit(0);
`;

for (const limit of ['instances', 'watches'] as const) {
  test(`no ${limit} are left to the user: no watch, one warning that names the limit, and a watch when there are some again`, () => {
    const setting = `/proc/sys/user/max_inotify_${limit}`;
    const shell = `echo 0 > ${setting} && exec "$@"`;
    const node = [process.execPath, '--input-type=module', '-e', program, setting];
    const argv = ['--user', '--map-root-user', 'sh', '-c', shell, 'sh', ...node];
    const { stdout, stderr, status } = spawnSync('unshare', argv, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const seen = JSON.parse(stdout);
    assert.deepEqual(seen.refused, [false, false]);
    assert.deepEqual([seen.trouble.reason, seen.trouble.podsFail], ['InotifyExhausted', false]);
    assert.match(seen.trouble.hint, new RegExp(`sysctl -w fs\\.inotify\\.max_user_${limit}=\\d+`));
    assert.deepEqual([seen.allowed, seen.after, seen.missing], [true, 'none', 'NotFound']);
    assert.equal(seen.warnings.length, 1);
  });
}
