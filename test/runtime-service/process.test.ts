/** What a container's process is: arguments, environment, directory, user, rights, filters, limits, descriptors. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { buildImage, busyboxEntries, busyboxImage } from '../harness/images.ts';
import { busy, endsClean, nanoseconds, processesWith, refused, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('process');
const pod = await node.runPod();
const passwd = 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home:/bin/sh\nnogroup:x:7:99::/:/bin/sh\n';
const group = 'root:x:0:\nalice:x:1000:\nextra:x:50000:alice,root\nother:x:50001:bob\n';
/** Prints its effective user: busybox itself gives up what the setuid bit has given it. */
function whoAmI(): Buffer {
  const program = join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'who');
  const source =
    '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d %d\\n", getuid(), geteuid()); }';
  execFileSync('gcc', ['-static', '-Os', '-x', 'c', '-o', program, '-'], { input: source });
  const bytes = readFileSync(program);
  rmSync(program);
  return bytes;
}
const entries = [
  ...busyboxEntries().filter(({ name }) => !/^etc\/(passwd|group)$/.test(name)),
  { name: 'etc/passwd', content: passwd },
  { name: 'etc/group', content: group },
  { name: 'bin/who', content: whoAmI(), mode: 0o4755 },
];
const config = {
  Env: ['PATH=/bin', 'A=image', 'B=image'],
  Entrypoint: ['echo', 'E'],
  Cmd: ['C'],
  WorkingDir: '/made/here',
  User: 'alice',
};
const full = await node.addImage('full', buildImage({ layers: [{ entries }], config }));
const image = { image: full };
const int = (value: number) => ({ value: fromBigInt(BigInt(value)) });
const ints = (values: number[]) => values.map((value) => fromBigInt(BigInt(value)));
const { RuntimeDefault, Unconfined } = cri.SecurityProfile.ProfileType;
const { Strict, Merge } = cri.SupplementalGroupsPolicy;

/** Fields of /proc/PID/status. */
function fieldsOf(text: string): Record<string, string> {
  return Object.fromEntries(text.split('\n').map((line) => line.split(':\t') as [string, string]));
}

for (const [command, args, want] of [
  [[], [], 'E C'],
  [[], ['A'], 'E A'],
  [['echo', 'K'], [], 'K'],
  [['echo', 'K'], ['A'], 'K A'],
] as const) {
  test(`command [${command}] and args [${args}] with ENTRYPOINT and CMD print ${want}`, async () => {
    assert.equal((await node.output(pod, [...command], { image, args: [...args] })).out, want);
  });
}

test('variables: the image first, then the request, with bytes as they are; the directory is made', async () => {
  const value = Buffer.from('two lines\nand = ä');
  const envs = [
    { key: 'B', value: Buffer.from('request') },
    { key: 'C', value },
    { key: 'E', value: Buffer.alloc(0) },
  ];
  const id = await node.run(pod, { image, envs, command: busy });
  const { pid } = await node.facts(id);
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
  for (const entry of ['PATH=/bin', 'A=image', 'B=request', `C=${value}`, 'E=', 'HOME=/home']) {
    assert.equal(environment.filter((have) => have === entry).length, 1, entry);
  }
  const name = (await node.client.PodSandboxStatus({ podSandboxId: pod })).status?.metadata?.name;
  assert.ok(name);
  assert.equal(
    environment.filter((entry) => entry.startsWith('CRISP') || entry.startsWith('_OCI')).length,
    0,
  );
  assert.equal((await node.exec(id, ['sh', '-c', 'pwd; echo $B'])).out, '/made/here\nrequest\n');
  await node.remove(id);
  assert.equal(
    (await node.output(pod, ['sh', '-c', 'pwd'], { image, workingDir: '/other/new' })).out,
    '/other/new',
  );
});

test('a value that is not UTF-8 has U+FFFD for each such byte, as with the peers, and the log names the variable', async () => {
  const value = Buffer.from([0x73, 0x65, 0x63, 0x72, 0x65, 0x74, 0xff, 0xe2, 0x82]);
  const { out } = await node.output(pod, ['sh', '-c', 'printf %s "$TOKEN" | od -An -tx1 | tr -d " \\n"'], {
    image,
    envs: [{ key: 'TOKEN', value }],
  });
  assert.equal(out, Buffer.from('secret\ufffd\ufffd\ufffd').toString('hex'));
  const log = readFileSync(node.daemon.logFile, 'utf8');
  assert.match(log, /not UTF-8.*TOKEN|TOKEN.*not UTF-8/);
  assert.doesNotMatch(log, /secret\W/);
});

for (const [name, security, groups] of [
  ["the image's user", {}, 'uid=1000 gid=1000 groups=1000,50000'],
  ['run_as_user', { runAsUser: int(5) }, 'uid=5 gid=0 groups=0'],
  ['run_as_user of /etc/passwd', { runAsUser: int(7) }, 'uid=7 gid=99 groups=99'],
  ['run_as_username', { runAsUsername: 'alice' }, 'uid=1000 gid=1000 groups=1000,50000'],
  [
    'run_as_user and run_as_group',
    { runAsUser: int(1000), runAsGroup: int(3) },
    'uid=1000 gid=3 groups=3,50000',
  ],
  [
    'Merge',
    { runAsUser: int(1000), supplementalGroups: ints([1234]), supplementalGroupsPolicy: Merge },
    'uid=1000 gid=1000 groups=1000,1234,50000',
  ],
  [
    'Strict',
    { runAsUser: int(1000), supplementalGroups: ints([1234]), supplementalGroupsPolicy: Strict },
    'uid=1000 gid=1000 groups=1000,1234',
  ],
] as const) {
  test(`${name}: the process, exec and the status agree on ${groups}`, async () => {
    const id = await node.run(pod, { image, command: busy, security: { ...security } });
    const {
      Uid = '',
      Gid = '',
      Groups = '',
    } = fieldsOf(readFileSync(`/proc/${(await node.facts(id)).pid}/status`, 'utf8'));
    const sorted = (text: string) =>
      text
        .trim()
        .split(' ')
        .map(Number)
        .sort((a, b) => a - b)
        .join(',');
    assert.equal(`uid=${Uid.split('\t')[0]} gid=${Gid.split('\t')[0]} groups=${sorted(Groups)}`, groups);
    const exec = fieldsOf((await node.exec(id, ['cat', '/proc/self/status'])).out);
    assert.deepEqual([exec['Uid'], exec['Gid'], sorted(exec['Groups'] ?? '')], [Uid, Gid, sorted(Groups)]);
    const linux = (await node.status(id)).user?.linux;
    assert.ok(linux);
    const reported = linux.supplementalGroups.map(nanoseconds).join(',');
    assert.equal(`uid=${nanoseconds(linux.uid)} gid=${nanoseconds(linux.gid)} groups=${reported}`, groups);
    await node.remove(id);
  });
}

test('an unknown user and a group without user are refused', async () => {
  await refused(
    node.create(pod, { image, security: { runAsUsername: 'mallory' } }),
    'InvalidArgument',
    /"mallory"/,
  );
  await refused(
    node.create(pod, { image, security: { runAsGroup: int(5) } }),
    'InvalidArgument',
    /run_as_group/,
  );
});

const CAPS = { none: '0000000000000000', default: '00000000a80425fb', netAdmin: '0000000000001000' };
for (const [name, capabilities, mask] of [
  ['the default', {}, CAPS.default],
  ['drop ALL', { dropCapabilities: ['ALL'] }, CAPS.none],
  ['drop ALL, add NET_ADMIN', { dropCapabilities: ['ALL'], addCapabilities: ['NET_ADMIN'] }, CAPS.netAdmin],
  ['drop NET_RAW', { dropCapabilities: ['NET_RAW'] }, '00000000a80405fb'],
] as const) {
  test(`capabilities: ${name} is ${mask} in the first process and in exec`, async () => {
    const id = await node.run(pod, { security: { capabilities: { ...capabilities } } as never });
    const init = fieldsOf(readFileSync(`/proc/${(await node.facts(id)).pid}/status`, 'utf8'));
    const exec = fieldsOf((await node.exec(id, ['cat', '/proc/self/status'])).out);
    for (const fields of [init, exec]) {
      assert.deepEqual([fields['CapEff'], fields['CapBnd'], fields['CapPrm']], [mask, mask, mask]);
      assert.deepEqual([fields['CapAmb'], fields['CapInh']], [CAPS.none, CAPS.none]);
    }
    await node.remove(id);
  });
}

test('no_new_privs stops setuid; without it setuid works', async () => {
  const run = async (noNewPrivs: boolean) =>
    (await node.output(pod, ['/bin/who'], { image, security: { runAsUser: int(1000), noNewPrivs } })).out;
  assert.deepEqual([await run(false), await run(true)], ['1000 0', '1000 1000']);
});

test('seccomp: no profile is mode 0, an empty one the default filter, Unconfined none, for exec as well', async () => {
  for (const [seccomp, mode] of [
    [undefined, '0'],
    [{}, '2'],
    [{ profileType: RuntimeDefault }, '2'],
    [{ profileType: Unconfined }, '0'],
  ] as const) {
    const id = await node.run(pod, { security: seccomp ? { seccomp: { ...seccomp } } : {} });
    const init = fieldsOf(readFileSync(`/proc/${(await node.facts(id)).pid}/status`, 'utf8'));
    const exec = fieldsOf((await node.exec(id, ['cat', '/proc/self/status'])).out);
    assert.deepEqual([init['Seccomp'], exec['Seccomp']], [mode, mode]);
    await node.remove(id);
  }
});

test('under the default filter ordinary programs work, and what it keeps away fails', async () => {
  const security = { seccomp: { profileType: RuntimeDefault }, runAsUser: int(0) };
  const id = await node.run(pod, { image, security });
  for (const script of [
    'ls -la / | sort | head -3',
    'cat /etc/passwd | md5sum',
    'mkdir /d && touch /d/f && mv /d/f /d/g && ln -s g /d/h && readlink /d/h',
    'dd if=/dev/zero of=/f bs=4k count=8 && wc -c /f',
    'find / -xdev -name passwd',
    'awk "BEGIN { print 2 * 512 }"',
    'date && df / && du -s /etc',
    'seq 10 | sed s/1/x/ | tr x y | tail -1',
    'chown 5:5 /f && chmod 700 /f && stat -c %u:%a /f',
    'sleep 0.01 & wait',
    'ps',
    'id',
    'echo x | tee /t | grep x',
    'hostname',
    '(nc -l -p 7777 127.0.0.1 > /got & sleep 0.3; echo hi | nc 127.0.0.1 7777; cat /got)',
  ]) {
    const { code, err } = await node.exec(id, ['sh', '-c', script]);
    assert.deepEqual(
      [script, code, err.replace(/^\d+\+\d+ records.*\n?/gm, '').replace(/^.*copied.*\n?/gm, '')],
      [script, 0, ''],
    );
  }
  const { code, err } = await node.exec(id, ['mount', '-t', 'tmpfs', 'x', '/tmp']);
  assert.ok(code !== 0 && /not permitted|denied|must be/.test(err), err);
  await node.remove(id);
});

test('masked and read-only paths; empty lists mask nothing', async () => {
  const id = await node.run(pod, {
    image,
    command: busy,
    security: {
      runAsUser: int(0),
      maskedPaths: ['/bin/who', '/proc/acpi', '/etc', '/no/such'],
      readonlyPaths: ['/proc/sys', '/var'],
    },
  });
  const masked = await node.exec(id, ['sh', '-c', '/bin/who 2>&1']);
  assert.match(masked.out, /ermission denied/);
  assert.equal((await node.exec(id, ['sh', '-c', 'cd /etc; echo *'])).out, '*\n');
  assert.match((await node.exec(id, ['sh', '-c', 'touch /var/x 2>&1'])).out, /ead-only/);
  assert.match((await node.exec(id, ['sh', '-c', 'echo 1 > /proc/sys/vm/swappiness'])).err, /ead-only/);
  assert.equal((await node.exec(id, ['touch', '/home/x'])).code, 0);
  const open = await node.run(pod);
  assert.equal((await node.exec(open, ['sh', '-c', 'touch /var/x && ls /etc'])).code, 0);
  await Promise.all([node.remove(id), node.remove(open)]);
});

test("a read-only root; the image's VOLUMEs stay writable and are the container's own", async () => {
  const volumes = await node.addImage(
    'volumes',
    busyboxImage({
      layers: [{ entries: [{ name: 'data/' }, { name: 'data/seed', content: 'seed' }] }],
      config: { Volumes: { '/data': {}, '/new/vol': {} } },
    }),
  );
  for (const readonlyRootfs of [true, false]) {
    const id = await node.run(pod, { image: { image: volumes }, security: { readonlyRootfs } });
    const touch = await node.exec(id, ['touch', '/x']);
    assert.equal(touch.code, readonlyRootfs ? 1 : 0, touch.err);
    const { out, err } = await node.exec(id, [
      'sh',
      '-c',
      'cat /data/seed; echo a > /data/b && echo a > /new/vol/b && cat /data/b /new/vol/b',
    ]);
    assert.deepEqual([out, err], ['seeda\na\n', '']);
    assert.equal((await node.status(id)).mounts.length, 0);
    await node.remove(id);
  }
});

test('limits, signals and descriptors of conmon, of the first process and of exec are clean', async () => {
  const id = await node.run(pod);
  const { pid } = await node.facts(id);
  const limit = (text: string) => /Max open files\s+(\d+)/.exec(text)?.[1];
  assert.equal(limit(readFileSync(`/proc/${pid}/limits`, 'utf8')), '1024');
  // runc before 1.1.13 lets Go raise the soft limit of an exec'd process now and then: there the hard one is what counts.
  const hard = (text: string) => /Max open files\s+\d+\s+(\d+)/.exec(text)?.[1];
  assert.equal(
    hard((await node.exec(id, ['cat', '/proc/self/limits'])).out),
    hard(readFileSync(`/proc/${pid}/limits`, 'utf8')),
  );
  assert.notEqual(
    limit(readFileSync(`/proc/${node.daemon.pid}/limits`, 'utf8')),
    '1024',
    "the daemon's own is another",
  );
  const conmon = processesWith(id).filter((line) => line.includes('conmon'));
  assert.equal(conmon.length, 1);
  const monitor = Number(conmon[0]?.split(' ')[0]);
  const none = '0000000000000000';
  for (const text of [
    readFileSync(`/proc/${pid}/status`, 'utf8'),
    (await node.exec(id, ['cat', '/proc/self/status'])).out,
  ]) {
    const { SigBlk, SigIgn } = fieldsOf(text);
    assert.deepEqual([SigBlk, SigIgn], [none, none]);
  }
  assert.deepEqual(readdirSync(`/proc/${pid}/fd`).sort(), ['0', '1', '2']);
  // Other runs on this machine have commands of their own.
  const command = `sleep 77${process.pid}`;
  const sleeping = node.exec(id, command.split(' '));
  const [line = ''] = await until('the command runs', () => {
    const found = processesWith(command).filter((entry) => new RegExp(`^\\d+ ${command}$`).test(entry));
    return found.length > 0 ? found : undefined;
  });
  const execed = line.split(' ')[0];
  assert.deepEqual(readdirSync(`/proc/${execed}/fd`).sort(), ['0', '1', '2']);
  process.kill(Number(execed), 'SIGKILL');
  assert.equal((await sleeping).code, 137);
  // conmon's own: pipes, sockets, its event files, the log, the directories of this container; nothing of the daemon's.
  const targets = readdirSync(`/proc/${monitor}/fd`).map((fd) => readlinkSync(`/proc/${monitor}/fd/${fd}`));
  const stray = targets.filter(
    (target) => !/^(pipe|socket|anon_inode):|^\/dev\/(null|pts|ptmx)/.test(target),
  );
  assert.deepEqual(
    stray.filter((target) => !target.includes(id) && !/\/logs\/|cgroup/.test(target)),
    [],
  );
  const { SigBlk, SigIgn } = fieldsOf(readFileSync(`/proc/${monitor}/status`, 'utf8'));
  // SIGUSR1 and SIGCHLD, which it reads from a descriptor.
  assert.equal(SigBlk, '0000000000010200');
  assert.ok(['0000000000001000', none].includes(SigIgn ?? ''), `conmon ignores ${SigIgn}: more than SIGPIPE`);
  await node.remove(id);
});

test('an image whose user files are a pipe or a device: not opened, but refused by name', async () => {
  const others = busyboxEntries().filter(({ name }) => !/^etc\/(passwd|group)$/.test(name));
  for (const [strange, what] of [
    [{ name: 'etc/passwd', type: 'fifo' }, /\/etc\/passwd .* is a device, a pipe or a socket/],
    [{ name: 'etc/group', type: 'character', major: 1, minor: 5 }, /\/etc\/group .* is a device/],
  ] as const) {
    const tag = `strange-${strange.type}`;
    const name = await node.addImage(tag, buildImage({ layers: [{ entries: [...others, strange] }] }));
    await refused(node.create(pod, { image: { image: name } }), 'InvalidArgument', what);
  }
});

endsClean(node);
