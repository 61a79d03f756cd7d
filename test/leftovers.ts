/**
 * The last test of a run: no process, mount, loop device, network namespace, cgroup, link or packet filter rule is left. Runs in
 * the machine's own namespaces; objects of concurrent runs are distinguished by the run's own names.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

/** Of the groups of all suites. */
const prefix = process.env['CRISP_TEST_CGROUP'] ?? '';
const directory = process.env['CRISP_TEST_DIR'] ?? '';
/** As test/harness/daemon.ts names them; other users and other runs of these tests use the machine at the same time. */
const tag = basename(directory).slice(-6);
const ownBridge = new RegExp(`^crispt\\d+${tag}$`);
const ownNetwork = new RegExp(`crisp-test-\\d+-${tag}\\b`);

const output = (program: string, args: string[]): string =>
  spawnSync(program, args, { encoding: 'utf8' }).stdout ?? '';

/** The run's bridges and the links attached to them. */
const links = (): string[] =>
  readdirSync('/sys/class/net').filter((name) => [name, masterOf(name)].some((one) => ownBridge.test(one)));

function masterOf(link: string): string {
  try {
    return basename(readlinkSync(`/sys/class/net/${link}/master`));
  } catch {
    return '';
  }
}

/** The rules that name a network of the run. */
const rules = (): string[] =>
  ['iptables-save', 'ip6tables-save']
    .flatMap((program) => output(program, []).split('\n'))
    .filter((line) => ownNetwork.test(line));

function cgroupTrees(prefix: string): string[] {
  return globSync([`/sys/fs/cgroup${prefix}*`, `/sys/fs/cgroup/*${prefix}*`]);
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

function processesIn(tree: string): string[] {
  return globSync([`${tree}/cgroup.procs`, `${tree}/**/cgroup.procs`]).flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((pid) => `${pid} ${commandOf(pid)}`),
  );
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

const pids = (): string[] => readdirSync('/proc').filter((name) => /^\d+$/.test(name));

function namesIn(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** Removes the empty groups that the runner itself made. */
function removeOwnGroups(prefix: string): void {
  for (const tree of cgroupTrees(`${prefix}run`)) rmdirSync(tree);
}

test('no process of the run is left', () => {
  const inGroups = cgroupTrees(prefix).flatMap(processesIn);
  const ofDirectory = pids()
    .filter((pid) => pid !== String(process.pid) && commandOf(pid).includes(directory))
    .map((pid) => `${pid} ${commandOf(pid)}`);
  assert.deepEqual([...new Set([...inGroups, ...ofDirectory])], []);
});

test('no cgroup of the run is left', () => {
  removeOwnGroups(prefix);
  assert.deepEqual(cgroupTrees(prefix), []);
});

test('no mount of the run is left, in any mount namespace', () => {
  const seen = new Map<string, string>();
  for (const pid of pids()) {
    try {
      seen.set(readlinkSync(`/proc/${pid}/ns/mnt`), pid);
    } catch {
      // The process has ended, or is a kernel thread.
    }
  }
  const left = [...seen.values()].flatMap((pid) =>
    namesIn(pid, 'mountinfo')
      .split('\n')
      .filter((line) => line.includes(directory)),
  );
  assert.deepEqual(left, []);
});

/** The kernel frees a loop device behind the last who has it open, which may be udev, so it is waited for. */
test('no loop device of the run is left', async () => {
  const devices = (): string[] =>
    globSync('/sys/block/loop*/loop/backing_file').flatMap((file) => {
      const backing = contentOf(file);
      return backing.includes(directory) ? [`${file} ${backing}`] : [];
    });
  for (let n = 0; n < 50 && devices().length > 0; n++) await sleep(100);
  assert.deepEqual(devices(), []);
});

test('no network namespace of the run is named', () => {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  assert.deepEqual(
    names.filter((name) => name.includes(basename(directory))),
    [],
  );
});

test('no link and no packet filter rule of the run is left in the namespace of the machine', () => {
  assert.deepEqual(links(), []);
  assert.deepEqual(rules(), []);
});

test('no file of the run is outside of its directory', () => {
  const strays = ['/run/crisp', '/var/lib/crisp', '/var/lib/cni', '/var/run/crun', '/run/runc']
    .filter((path) => existsSync(path))
    .flatMap((path) => globSync(`${path}/**/*`).filter((file) => file.includes(basename(directory))));
  assert.deepEqual(strays, []);
  assert.ok(existsSync(join(dirname(directory), basename(directory))));
});
