/**
 * System call filters as ready BPF programs, by libseccomp (the only place that uses it). An OCI runtime that takes
 * such a program need not compile the rules anew for each container.
 *
 * What a filter means follows the OCI runtimes' reading of `linux.seccomp` (runtime-spec, config-linux.md): a rule with
 * the default's own action adds nothing, an errno where none is given is EPERM, calls that libseccomp does not know are
 * left out, the conditions of a rule hold together unless two of them test the same argument: then each alone does.
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import koffi, { type KoffiFunc } from 'koffi';
import { CrispError } from '#core/errors.ts';
import { check, refused } from '../libc/errno.ts';
import { asynchronous, memfdCreate } from '../libc/libc.ts';

export interface FilterCondition {
  /** 0 to 5. */
  readonly index: number;
  readonly value: number | bigint;
  readonly valueTwo?: number | bigint;
  /** `SCMP_CMP_EQ`, … */
  readonly op: string;
}

export interface FilterRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly FilterCondition[];
}

/** A filter as `linux.seccomp` has it. */
export interface SeccompFilter {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  /** Besides the machine's own. */
  readonly architectures?: readonly string[];
  readonly syscalls?: readonly FilterRule[];
}

export interface SeccompCompiler {
  /**
   * The filter as an array of `struct sock_filter` in the machine's byte order (seccomp(2)). Takes some 20 ms, in
   * slices between which the main thread is free. Throws InvalidArgument for what is not a filter, Unimplemented for one
   * that needs a listener, KernelRefused where libseccomp refuses.
   */
  compile(filter: SeccompFilter): Promise<Buffer>;
}

type Context = object;

interface Libseccomp {
  init(action: number): Context | null;
  release(context: Context): void;
  resolveArch(name: string): number;
  addArch(context: Context, token: number): number;
  resolveCall(name: string): number;
  addRule(context: Context, action: number, call: number, count: number, conditions: BigUint64Array): number;
  setAttribute(context: Context, attribute: number, value: number): number;
  readonly exportBpf: KoffiFunc<(context: Context, fd: number) => number>;
}

const ACTIONS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    SCMP_ACT_ALLOW: 0x7fff0000,
    SCMP_ACT_KILL: 0x00000000,
    SCMP_ACT_KILL_THREAD: 0x00000000,
    SCMP_ACT_KILL_PROCESS: 0x80000000,
    SCMP_ACT_LOG: 0x7ffc0000,
    SCMP_ACT_TRAP: 0x00030000,
  }),
);
/** Actions that carry a value of 16 bits. */
const VALUED: ReadonlyMap<string, number> = new Map([
  ['SCMP_ACT_ERRNO', 0x00050000],
  ['SCMP_ACT_TRACE', 0x7ff00000],
]);

const COMPARISONS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    SCMP_CMP_NE: 1,
    SCMP_CMP_LT: 2,
    SCMP_CMP_LE: 3,
    SCMP_CMP_EQ: 4,
    SCMP_CMP_GE: 5,
    SCMP_CMP_GT: 6,
    SCMP_CMP_MASKED_EQ: 7,
  }),
);

/**
 * SCMP_FLTATR_CTL_OPTIMIZE: a tree of comparisons instead of a list of hundreds. The kernel walks it for each call,
 * and once for every number of a call when the filter is set.
 */
const OPTIMIZE = 8;
const AS_TREE = 2;
const UNKNOWN_CALL = -1;
const EEXIST = -17;
const EPERM = 1;
/** Conditions of one rule; a call has as many arguments. */
const MAX_CONDITIONS = 6;
const MAX_ERRNO = 4095;
/** How long rules are added before the main thread gets its turn, in ms. */
const SLICE_MS = 1;
const MFD_CLOEXEC = 1;

/** Loads libseccomp; undefined where the machine has none. */
export function openSeccomp(): SeccompCompiler | undefined {
  let library: Libseccomp;
  try {
    library = bindLibrary();
  } catch {
    return undefined;
  }
  return { compile: (filter) => compile(library, filter) };
}

function bindLibrary(): Libseccomp {
  const so = koffi.load('libseccomp.so.2');
  const bind = <T>(definition: string): T => so.func(definition) as unknown as T;
  return {
    init: bind('void *seccomp_init(uint32_t action)'),
    release: bind('void seccomp_release(void *context)'),
    resolveArch: bind('uint32_t seccomp_arch_resolve_name(const char *name)'),
    addArch: bind('int seccomp_arch_add(void *context, uint32_t token)'),
    resolveCall: bind('int seccomp_syscall_resolve_name(const char *name)'),
    // struct scmp_arg_cmp is two 32-bit and two 64-bit numbers.
    addRule: bind(
      'int seccomp_rule_add_array(void *context, uint32_t action, int call, unsigned int count, const uint64_t *conditions)',
    ),
    setAttribute: bind('int seccomp_attr_set(void *context, int attribute, uint32_t value)'),
    exportBpf: bind('int seccomp_export_bpf(void *context, int fd)'),
  };
}

const malformed = (why: string): CrispError =>
  new CrispError('InvalidArgument', `seccomp filter: ${why}`, { hint: 'correct the seccomp profile' });

function actionOf(name: string, errno: number | undefined): number {
  if (name === 'SCMP_ACT_NOTIFY') {
    throw new CrispError('Unimplemented', 'seccomp filter: SCMP_ACT_NOTIFY needs a listener', {
      hint: 'leave the compilation to the OCI runtime',
    });
  }
  const valued = VALUED.get(name);
  if (valued !== undefined) {
    const value = errno ?? EPERM;
    if (!Number.isInteger(value) || value < 0 || value > MAX_ERRNO) throw malformed(`errno ${value}`);
    return valued | value;
  }
  const action = ACTIONS.get(name);
  if (action === undefined) throw malformed(`action ${JSON.stringify(name)}`);
  if (errno !== undefined) throw malformed(`an errno for ${name}`);
  return action;
}

function conditionWords({ index, op, value, valueTwo = 0 }: FilterCondition): bigint[] {
  const comparison = COMPARISONS.get(op);
  if (comparison === undefined) throw malformed(`operator ${JSON.stringify(op)}`);
  if (!Number.isInteger(index) || index < 0 || index >= MAX_CONDITIONS) throw malformed(`argument ${index}`);
  const [a, b] = [value, valueTwo].map((number) => {
    if (typeof number !== 'bigint' && !Number.isSafeInteger(number)) throw malformed(`value ${number}`);
    return BigInt.asUintN(64, BigInt(number));
  });
  return [BigInt(index) | (BigInt(comparison) << 32n), a ?? 0n, b ?? 0n];
}

/** The sets of conditions under which the rule holds: one that is empty where there are none. */
function conditionSets(args: readonly FilterCondition[]): BigUint64Array[] {
  if (args.length > MAX_CONDITIONS) throw malformed(`a rule of ${args.length} conditions`);
  const words = args.map(conditionWords);
  const repeats = new Set(args.map(({ index }) => index)).size < args.length;
  return (repeats ? words : [words.flat()]).map((set) => new BigUint64Array(set));
}

async function compile(library: Libseccomp, filter: SeccompFilter): Promise<Buffer> {
  const fallback = actionOf(filter.defaultAction, filter.defaultErrnoRet);
  const context = library.init(fallback);
  if (!context) throw malformed(`libseccomp takes no default action ${filter.defaultAction}`);
  try {
    for (const name of filter.architectures ?? []) addArchitecture(library, context, name);
    let since = performance.now();
    for (const rule of filter.syscalls ?? []) {
      const action = actionOf(rule.action, rule.errnoRet);
      if (action === fallback) continue;
      const sets = conditionSets(rule.args ?? []);
      for (const name of rule.names) {
        addCall(library, context, action, name, sets);
        if (performance.now() - since < SLICE_MS) continue;
        await turn();
        since = performance.now();
      }
    }
    // One that is older has lists alone.
    library.setAttribute(context, OPTIMIZE, AS_TREE);
    return await exported(library, context);
  } finally {
    library.release(context);
  }
}

function addArchitecture(library: Libseccomp, context: Context, name: string): void {
  const token = library.resolveArch(name.replace(/^SCMP_ARCH_/, '').toLowerCase());
  if (token === 0) throw malformed(`architecture ${JSON.stringify(name)}`);
  const result = library.addArch(context, token);
  if (result < 0 && result !== EEXIST) throw refused(`seccomp filter: add architecture ${name}`, result);
}

function addCall(
  library: Libseccomp,
  context: Context,
  action: number,
  name: string,
  sets: readonly BigUint64Array[],
): void {
  const call = library.resolveCall(name);
  if (call === UNKNOWN_CALL) return;
  for (const set of sets) {
    const result = library.addRule(context, action, call, set.length / 3, set);
    if (result < 0) throw refused(`seccomp filter: add a rule of ${name}`, result);
  }
}

/** libseccomp writes to a descriptor: a file in memory, on libuv's pool since the generation takes milliseconds. */
async function exported(library: Libseccomp, context: Context): Promise<Buffer> {
  const fd = check(memfdCreate('crisp-seccomp', MFD_CLOEXEC), 'make a file in memory for a seccomp filter');
  try {
    const { result } = await asynchronous(library.exportBpf, context, fd);
    if (result < 0) throw refused('seccomp filter: export', result);
    const program = Buffer.alloc(fstatSync(fd).size);
    readSync(fd, program, 0, program.length, 0);
    return program;
  } finally {
    closeSync(fd);
  }
}
