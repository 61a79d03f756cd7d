import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { type Log, silentLog } from '#core/operation.ts';
import { openSeccomp, type SeccompCompiler } from '#linux/process/seccomp.ts';
import type { OciSeccomp } from './oci.ts';
import { SeccompCache, seccompPrograms } from './seccomp-programs.ts';

const rules = (errnoRet: number): OciSeccomp => ({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['getpid'], action: 'SCMP_ACT_ERRNO', errnoRet }],
});
function counting(act: (rules: OciSeccomp) => Promise<Buffer>): {
  compiler: SeccompCompiler;
  calls: () => number;
} {
  let calls = 0;
  const compile = (given: object) => {
    calls++;
    return act(given as OciSeccomp);
  };
  return { compiler: { compile }, calls: () => calls };
}
const warnings = (): [Log, string[]] => {
  const logged: string[] = [];
  return [{ ...silentLog, warn: (_, message) => logged.push(message) }, logged];
};
const errnoOf = (given: OciSeccomp): number => given.syscalls?.[0]?.errnoRet ?? 0;

test('each set of rules is compiled once, also when many ask at once', async () => {
  const { compiler, calls } = counting(async (given) => Buffer.from([errnoOf(given)]));
  const cache = new SeccompCache(compiler, silentLog);
  const all = await Promise.all([1, 1, 2, 1].map((errno) => cache.program(rules(errno))));
  assert.deepEqual(all, ['AQ==', 'AQ==', 'Ag==', 'AQ==']);
  assert.equal(await cache.program(rules(2)), 'Ag==');
  assert.equal(calls(), 2);
});

test('the sets that were used last are kept, a fixed number of them', async () => {
  const { compiler, calls } = counting(async () => Buffer.from('x'));
  const cache = new SeccompCache(compiler, silentLog);
  for (let errno = 1; errno <= 40; errno++) {
    await cache.program(rules(errno));
    await cache.program(rules(1));
  }
  assert.equal(calls(), 40, 'the first one was used throughout');
  await cache.program(rules(2));
  assert.equal(calls(), 41, 'the second one had gone');
});

test('where nothing can be compiled the rules are left to the runtime, and it is logged', async () => {
  for (const [code, again] of [
    ['Unimplemented', 1],
    ['InvalidArgument', 1],
    ['ResourceExhausted', 2],
  ] as const) {
    const [log, logged] = warnings();
    const { compiler, calls } = counting(() => Promise.reject(new CrispError(code, 'no')));
    const cache = new SeccompCache(compiler, log);
    assert.deepEqual([await cache.program(rules(1)), await cache.program(rules(1))], [undefined, undefined]);
    assert.deepEqual([calls(), logged.length], [again, again], code);
  }
  const [log, logged] = warnings();
  const none = seccompPrograms(undefined, log);
  assert.deepEqual([await none.program(rules(1)), await none.program(rules(2))], [undefined, undefined]);
  assert.equal(logged.length, 1);
});

const compiler = openSeccomp();
const needsLibrary = { skip: compiler === undefined && 'there is no libseccomp here' };

test('libseccomp: what is no filter is refused, unknown calls are left out', needsLibrary, async () => {
  const compile = (given: OciSeccomp): Promise<Buffer> => compiler?.compile(given) ?? Promise.reject();
  const rule = (changes: object): OciSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['getpid'], action: 'SCMP_ACT_ERRNO', ...changes }],
  });
  const wrong: readonly (readonly [OciSeccomp, RegExp])[] = [
    [{ defaultAction: 'ALLOW' }, /action "ALLOW"/],
    [{ defaultAction: 'toString' }, /: action "toString"/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: 1 }, /an errno for/],
    [{ defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_NONE'] }, /architecture/],
    [rule({ errnoRet: 70_000 }), /errno 70000/],
    [rule({ args: [{ index: 6, value: 0, op: 'SCMP_CMP_EQ' }] }), /argument 6/],
    [rule({ args: [{ index: 0, value: 0.5, op: 'SCMP_CMP_EQ' }] }), /value 0.5/],
    [rule({ args: [{ index: 0, value: 0, op: 'EQ' }] }), /operator "EQ"/],
    [rule({ action: 'SCMP_ACT_NOTIFY' }), /needs a listener/],
  ];
  for (const [bad, text] of wrong)
    await assert.rejects(compile(bad), (error) => error instanceof CrispError && text.test(error.message));
  const program = await compile(rule({}));
  assert.ok(program.length > 0 && program.length % 8 === 0);
  assert.ok((await compile(rule({ names: ['getpid', 'no_such_call'] }))).equals(program));
  assert.ok(!(await compile(rule({ errnoRet: 2 }))).equals(program));
  assert.ok(
    (await compile(rule({ errnoRet: 1 }))).equals(program),
    'EPERM is what is meant where none is given',
  );
});
