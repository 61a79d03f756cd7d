/** The seccomp policy in the place of the container's own. */
import type { AdjustedSeccomp } from '#core/model/adjustment.ts';
import type { OciSeccomp } from '../spec/oci.ts';
import { ACTIONS } from '../spec/seccomp.ts';
import { notifies, withListener } from '../spec/seccomp-listener.ts';
import { PROGRAM_ANNOTATION } from '../spec/seccomp-programs.ts';
import { type Adjusting, refusal } from './adjusting.ts';

const OPERATORS = /^SCMP_CMP_(NE|LT|LE|EQ|GE|GT|MASKED_EQ)$/;

export async function adjustSeccomp(adjusting: Adjusting): Promise<void> {
  const { seccompPolicy } = adjusting.adjustment;
  if (!seccompPolicy) return;
  const refuse = (why: string): never => {
    throw refusal(adjusting, ['seccompPolicy'], `is refused: ${why}`, 'correct the policy of the plugin');
  };
  const { spec, oci, context } = adjusting;
  const rules = withListener(ociSeccomp(seccompPolicy, refuse), seccompPolicy, refuse);
  spec.linux.seccomp = rules;
  // crun takes the compiled filter before the rules.
  delete spec.annotations[PROGRAM_ANNOTATION];
  if (!oci.isCrun || notifies(rules)) return;
  const program = await context.host.seccompPrograms.program(rules);
  if (program !== undefined) spec.annotations[PROGRAM_ANNOTATION] = program;
}

function ociSeccomp(policy: AdjustedSeccomp, refuse: (why: string) => never): OciSeccomp {
  const { defaultAction, defaultErrnoRet, architectures, flags, syscalls } = policy;
  for (const { action } of [{ action: defaultAction }, ...syscalls])
    if (!ACTIONS.test(action)) refuse(`${JSON.stringify(action)} is not an action`);
  for (const { names, args } of syscalls) {
    if (names.length === 0) refuse('a rule names no system call');
    const wrong = args.find(({ index, op }) => !(index >= 0 && index <= 5) || !OPERATORS.test(op));
    if (wrong)
      refuse(`a rule of ${names[0]} compares argument ${wrong.index} by ${JSON.stringify(wrong.op)}`);
  }
  return {
    defaultAction,
    ...(defaultErrnoRet === undefined ? {} : { defaultErrnoRet }),
    ...(architectures.length > 0 ? { architectures: [...architectures] } : {}),
    ...(flags.length > 0 ? { flags: [...flags] } : {}),
    syscalls: syscalls.map(({ names, action, errnoRet, args }) => ({
      names: [...names],
      action,
      ...(errnoRet === undefined ? {} : { errnoRet }),
      ...(args.length > 0 ? { args: args.map((arg) => ({ ...arg })) } : {}),
    })),
  };
}
