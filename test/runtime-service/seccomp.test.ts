/**
 * One filter, three ways: crun with the compiled program, crun with the rules, runc with the rules. The daemon is
 * in a mount namespace in which crun works (see crun.test.ts); runc works there too.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { inspect } from 'node:util';
import { cri } from '#api/cri/v1/index.ts';
import { busyboxImage } from '../harness/images.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { type Call, constants, verdict } from './filter-verdict.ts';

const hidden = 'umount -l /sys/fs/cgroup/unified && exec "$@"';
const hybrid = existsSync('/sys/fs/cgroup/unified/cgroup.controllers');
const scratch = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/tmp', 'seccomp-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const crun = spawnSync('sh', ['-c', 'command -v crun'], { encoding: 'utf8' }).stdout.trim();

const profile = join(scratch, 'profile.json');
writeFileSync(
  profile,
  JSON.stringify({
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
    syscalls: [
      { names: ['getpriority', 'no_such_call'], action: 'SCMP_ACT_ERRNO', errnoRet: 71 },
      { names: ['getpgrp'], action: 'SCMP_ACT_ERRNO' },
      {
        names: ['getsid'],
        action: 'SCMP_ACT_KILL_PROCESS',
        args: [{ index: 0, value: 7, op: 'SCMP_CMP_EQ' }],
      },
      // Two conditions on one argument: either is enough. On two arguments: both are needed.
      {
        names: ['dup'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 72,
        args: [
          { index: 0, value: 1000, op: 'SCMP_CMP_EQ' },
          { index: 0, value: 1001, op: 'SCMP_CMP_EQ' },
        ],
      },
      {
        names: ['dup2'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 73,
        args: [
          { index: 0, value: 1000, op: 'SCMP_CMP_EQ' },
          { index: 1, value: 0xff, valueTwo: 5, op: 'SCMP_CMP_MASKED_EQ' },
        ],
      },
    ],
  }),
);

const node = await TestNode.start('seccomp', {
  runtime: 'crun',
  ...(hybrid ? { wrapper: ['unshare', '-m', '--propagation', 'private', 'sh', '-c', hidden, 'sh'] } : {}),
  prepare() {
    // By this name it is not taken for crun, and so gets the rules alone.
    symlinkSync(crun, join(scratch, 'rules-only'));
  },
  extra: `[runtime.handlers.rules]\npath = "${join(scratch, 'rules-only')}"`,
});

const HANDLERS = ['crun', 'rules', 'runc'] as const;

function probe(): Buffer {
  const program = join(scratch, 'probe');
  const source = join(import.meta.dirname, 'syscall-probe.c');
  const { status, stderr } = spawnSync('gcc', ['-static', '-O1', '-o', program, source], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return readFileSync(program);
}
const probeProgram = probe();
/** Whether this machine makes calls of i386 at all: some processors and kernels answer `int 0x80` with SIGSEGV. */
const hasI386 = spawnSync(join(scratch, 'probe'), ['i386:20:0:0'], { encoding: 'utf8' }).stdout.endsWith(
  ' ok\n',
);
if (!hasI386) console.log('# this machine makes no calls of i386: their verdicts are not looked at');
const image = await node.addImage(
  'probe',
  busyboxImage({ layers: [{ entries: [{ name: 'bin/probe', content: probeProgram, mode: 0o755 }] }] }),
);
const pods = new Map<string, string>();
for (const runtimeHandler of HANDLERS) {
  const { podSandboxId } = await node.client.RunPodSandbox({ config: node.podConfig(), runtimeHandler });
  pods.set(runtimeHandler, podSandboxId);
}

type Security = cri.LinuxContainerSecurityContextInit;
const { RuntimeDefault, Localhost } = cri.SecurityProfile.ProfileType;
const DEFAULT: Security = { seccomp: { profileType: RuntimeDefault } };
const start = (handler: string, security: Security, more: cri.ContainerConfigInit = {}): Promise<string> =>
  node.run(pods.get(handler) ?? '', { image: { image }, security, ...more });
const stateOf = (handler: string, id: string, name: string): string =>
  join(node.settings.directory, 'state/oci', handler, id, name);
const specOf = (id: string): { annotations: Record<string, string>; linux: { seccomp?: object } } =>
  JSON.parse(readFileSync(join(node.settings.directory, 'state/containers', id, 'config.json'), 'utf8'));

/** The keys of the annotations that the OCI runtime gets besides those that say which container it is. */
const passedTo = (id: string): string[] =>
  Object.keys(specOf(id).annotations).filter((key) => !key.startsWith('io.kubernetes.cri.'));

const isMade = (call: string): boolean => hasI386 || !call.startsWith('i386:');

/** What the calls give under each handler, to the first process and to one that is executed later. */
async function verdicts(security: Security, calls: readonly string[]): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  const made = calls.filter(isMade);
  for (const handler of HANDLERS) {
    const command = [
      'sh',
      '-c',
      `probe ${made.join(' ')} > /tmp/verdicts; mv /tmp/verdicts /tmp/done; exec sleep 1000`,
    ];
    const id = await start(handler, security, { command });
    const wait = 'while ! test -e /tmp/done; do sleep 0.05; done; cat /tmp/done';
    all.set(`${handler} init`, (await node.exec(id, ['sh', '-c', wait])).out);
    all.set(`${handler} exec`, (await node.exec(id, ['probe', ...made])).out);
    await node.remove(id);
  }
  return all;
}

function sameEverywhere(all: Map<string, string>, wanted: Readonly<Record<string, string>>): void {
  const expected = Object.entries(wanted)
    .filter(([call]) => isMade(call))
    .map(([call, verdict]) => `${call} ${verdict}\n`);
  for (const [where, found] of all) assert.equal(found, expected.join(''), where);
}

const onX64 = { skip: process.arch !== 'x64' && 'call numbers of x86_64' };
const EPERM = 'errno 1';
const ENOSYS = 'errno 38';

test('the default profile: the same verdicts three ways, for init and exec', onX64, async () => {
  sameEverywhere(await verdicts(DEFAULT, Object.keys(DEFAULT_VERDICTS)), DEFAULT_VERDICTS);
});

const DEFAULT_VERDICTS: Readonly<Record<string, string>> = {
  'native:39:0:0': 'ok', // getpid
  'native:250:0:0': EPERM, // keyctl
  'native:165:0:0': EPERM, // mount
  'native:272:131072:0': EPERM, // unshare(CLONE_NEWNS)
  'native:321:0:0': EPERM, // bpf
  'native:435:0:0': ENOSYS, // clone3
  'native:430:0:0': ENOSYS, // fsopen
  'native:999:0:0': ENOSYS, // no call at all
  'native:56:268435456:0': ENOSYS, // clone(CLONE_NEWUSER)
  'native:135:4294967295:0': 'ok', // personality: the question
  'native:135:262144:0': ENOSYS, // personality(ADDR_NO_RANDOMIZE)
  'native:41:1:1': 'ok', // socket(AF_UNIX)
  'native:41:40:1': ENOSYS, // socket(AF_VSOCK)
  'i386:20:0:0': 'ok', // getpid
  'i386:288:0:0': EPERM, // keyctl
  'i386:21:0:0': EPERM, // mount
  'i386:384:3:0': 'errno 22', // arch_prctl, allowed: EINVAL of the kernel
  'i386:359:40:1': ENOSYS, // socket(AF_VSOCK)
  'x32:250:0:0': EPERM, // keyctl
};

test('capabilities select other rules: another program', onX64, async () => {
  const calls = { 'native:165:0:0': 'errno 14', 'native:161:0:0': EPERM, 'native:430:0:0': 'errno 14' };
  const security: Security = {
    ...DEFAULT,
    capabilities: { addCapabilities: ['SYS_ADMIN'], dropCapabilities: ['SYS_CHROOT'] },
  };
  sameEverywhere(await verdicts(security, Object.keys(calls)), calls);
});

test('a profile of the node: errnos, a kill, conditions together and apart', onX64, async () => {
  const wanted = {
    'native:140:0:0': 'errno 71',
    'native:111:0:0': EPERM,
    'native:124:7:0': 'signal 31',
    'native:124:0:0': 'ok',
    'native:32:1000:0': 'errno 72',
    'native:32:1001:0': 'errno 72',
    'native:32:1002:0': 'errno 9',
    'native:33:1000:261': 'errno 73',
    'native:33:1000:262': 'errno 9',
    'native:33:1001:261': 'errno 9',
    'i386:96:0:0': 'errno 71',
  };
  const security: Security = { seccomp: { profileType: Localhost, localhostRef: profile } };
  sameEverywhere(await verdicts(security, Object.keys(wanted)), wanted);
});

const ARCHITECTURES = { x86_64: 0xc000003e, i386: 0x40000003, aarch64: 0xc00000b7 };

/** Numbers of calls, x32's among them, with arguments at and beside each constant of either program. */
function* calls(programs: readonly Buffer[]): Generator<Call> {
  const known = [...new Set(programs.flatMap((program) => [...constants(program)]))];
  for (const arch of Object.values(ARCHITECTURES)) {
    for (const base of [0, 0x40000000]) {
      for (let nr = base; nr < base + 700; nr++) yield { nr, arch, args: [] };
    }
    // Conditions stand on few calls: clone, clone3's kin, personality, socket.
    for (const nr of [41, 56, 102, 120, 135, 136, 155, 161, 272, 359, 364]) {
      for (const value of known) {
        for (const near of [value - 1, value, value + 1]) {
          const argument = BigInt(near >>> 0);
          for (const args of [[argument], [0n, argument], [argument | (1n << 32n)], [argument, argument]])
            yield { nr, arch, args };
        }
      }
    }
  }
}

test('the program has for every call the verdict of crun’s own program', async () => {
  for (const security of [
    DEFAULT,
    { ...DEFAULT, capabilities: { addCapabilities: ['SYS_ADMIN', 'NET_ADMIN'] } },
  ]) {
    const [given, made] = [await start('crun', security), await start('rules', security)];
    const program = Buffer.from(specOf(given).annotations['run.oci.seccomp_bpf_data'] ?? '', 'base64');
    const reference = readFileSync(stateOf('rules', made, 'seccomp.bpf'));
    const seen = new Set<number>();
    for (const call of calls([program, reference])) {
      const actual = verdict(program, call);
      seen.add(actual);
      if (actual !== verdict(reference, call)) assert.fail(`verdicts differ: ${inspect(call)}`);
    }
    assert.ok(seen.size >= 3, 'allowed, refused and killed');
    assert.ok(specOf(given).linux.seccomp, 'the rules stay in the spec');
    assert.deepEqual(passedTo(made), []);
    await Promise.all([node.remove(given), node.remove(made)]);
  }
});

test('the filter is on: mode 2, for init and exec', async () => {
  for (const handler of HANDLERS) {
    const id = await start(handler, DEFAULT);
    const { pid } = await node.facts(id);
    await until('the filter is set', () => /Seccomp:\t2/.test(readFileSync(`/proc/${pid}/status`, 'utf8')));
    assert.match((await node.exec(id, ['cat', '/proc/self/status'])).out, /Seccomp:\t2/, handler);
    await node.remove(id);
  }
});

test('a client cannot bring a program of its own, nor command crun', async () => {
  const annotations = {
    'run.oci.seccomp_bpf_data': Buffer.from('0600000000ff7f', 'hex').toString('base64'),
    'run.oci.hooks.stdout': '/tmp/crisp-hook',
    'example.com/a': 'b',
  };
  const id = await start('crun', DEFAULT, { annotations });
  const { annotations: passed } = specOf(id);
  assert.deepEqual(passedTo(id), ['run.oci.seccomp_bpf_data']);
  assert.notEqual(passed['run.oci.seccomp_bpf_data'], annotations['run.oci.seccomp_bpf_data']);
  const unconfined = await start('crun', {}, { annotations });
  assert.deepEqual(passedTo(unconfined), []);
  await Promise.all([node.remove(id), node.remove(unconfined)]);
});

endsClean(node);
