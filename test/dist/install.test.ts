/** `install` of the tarball on a node, which is a copy of this machine's root with a played systemd. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { ARCHITECTURES } from '../../deploy/dist/architectures.ts';
import { buildTree } from '../../deploy/dist/tree.ts';
import { onNode } from './packages.ts';

const PROJECT = join(import.meta.dirname, '../..');
const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'install-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const trees = join(directory, 'trees');
mkdirSync(trees);
const arch = ARCHITECTURES.find(({ node }) => node === process.arch);
assert.ok(arch);
for (const [name, version] of [
  ['old', '1.0.0-rc.1'],
  ['new', '1.0.0'],
] as const) {
  const tree = await buildTree(PROJECT, arch, { output: trees, date: 1_700_000_000, version });
  renameSync(tree, join(trees, name));
}

const QUIET = '>/dev/null 2>&1';
/** The build that the daemon would be started from, and all that is in the directory of builds. */
const BUILDS = 'readlink /usr/local/lib/crisp/current; ls /usr/local/lib/crisp | wc -l';
const DAEMON = 'basename "$(readlink /proc/$(cat /run/daemon.pid)/exe | sed s,/lib/node,,)"';

/** Lines that a script prints, with systemd by fake-systemctl and the trees at /packages. */
const lines = (script: string): string[] =>
  onNode(
    directory,
    trees,
    `mkdir -p /run/systemd/system /usr/local/sbin
    echo /usr/local/lib/crisp/current >/run/installed
    cp '${join(import.meta.dirname, 'fake-systemctl')}' /usr/local/sbin/systemctl; hash -r
    trap '[ ! -e /run/daemon.pid ] || kill "$(cat /run/daemon.pid)" 2>/dev/null || true' EXIT
    interrupted() { # COMMAND...: its power goes when the daemon has a process and is not ready
      earlier=$(cat /run/starting 2>/dev/null || true)
      setsid "$@" ${QUIET} &
      until pid=$(cat /run/starting) && [ "$pid" != "$earlier" ]; do kill -0 $!; sleep 0.1; done 2>/dev/null
      kill -KILL -$!; wait $! || true
      echo "starting: $(${DAEMON})"
    }
    ${script}`,
  )
    .trim()
    .split('\n');

function expect(output: readonly string[], wanted: readonly RegExp[]): void {
  assert.equal(output.length, wanted.length, output.join('\n'));
  wanted.forEach((pattern, n) => {
    assert.match(output[n] ?? '', pattern);
  });
}

const [OLD, NEW] = [/^1\.0\.0-rc\.1-\d{14}$/, /^1\.0\.0-\d{14}$/];

test('an upgrade interrupted while the new build starts is continued, with the build before to go back to', () => {
  const output = lines(`
    /packages/old/install ${QUIET}
    echo "installed: $(${DAEMON})"; ${BUILDS}
    echo 1.0.0-2 >/run/hanging
    interrupted /packages/new/install
    mv /run/hanging /run/broken
    /packages/new/install 2>&1 | grep 'start' || true
    echo "broken: $(${DAEMON})"; ${BUILDS}
    mv /run/broken /run/hanging
    interrupted /packages/new/install
    interrupted /packages/new/install
    rm /run/hanging; /packages/new/install ${QUIET}
    echo "again: $(${DAEMON})"; ${BUILDS}`);
  expect(output, [
    ...[/^installed: 1\.0\.0-rc\.1-/, OLD, /^2$/],
    /^starting: 1\.0\.0-\d/,
    /^crisp: 1\.0\.0-\d{14} does not start; 1\.0\.0-rc\.1-\d{14} is back in place/,
    ...[/^broken: 1\.0\.0-rc\.1-/, OLD, /^2$/],
    ...[/^starting: 1\.0\.0-\d/, /^starting: 1\.0\.0-\d/],
    ...[/^again: 1\.0\.0-\d/, NEW, /^2$/],
  ]);
});

test('a daemon that is stopped stays so with --no-start, and without it goes back to the build that starts', () => {
  const output = lines(`
    /packages/old/install --no-start ${QUIET}
    echo "not started: $(systemctl show -P MainPID crisp.service)"; ${BUILDS}
    /packages/new/install --no-start ${QUIET}
    echo "not started: $(systemctl show -P MainPID crisp.service)"; ${BUILDS}
    /packages/new/install ${QUIET}
    echo "started: $(${DAEMON})"
    systemctl stop crisp
    echo 1.0.0-r >/run/broken
    /packages/old/install 2>&1 | grep 'start' || true
    echo "broken: $(${DAEMON})"; ${BUILDS}
    /packages/new/install 2>&1 | tail -n 1`);
  expect(output, [
    ...[/^not started: 0$/, OLD, /^2$/],
    ...[/^not started: 0$/, NEW, /^2$/],
    /^started: 1\.0\.0-\d/,
    /^crisp: 1\.0\.0-rc\.1-\d{14} does not start; 1\.0\.0-\d{14} is back in place/,
    ...[/^broken: 1\.0\.0-\d/, NEW, /^2$/],
    /^crisp: 1\.0\.0-\d{14} is installed and serves$/,
  ]);
});
