/**
 * OCI hooks that an operator puts into directories, in the format that podman and CRI-O read: oci-hooks(5), schemas 1.0.0
 * and 0.1.0. A file of a later directory replaces one of the same name. A file that cannot be used fails the creation of
 * the containers that it applies to: its hook may be what confines them. Where even its conditions cannot be read, it may
 * apply to any.
 */
import { CrispError } from '#core/errors.ts';
import { checkExecutableSync } from '#linux/fs/executable.ts';
import type { Labels } from '../config.ts';
import { addHooks } from '../spec/hooks.ts';
import { type HookStage, hookStages, isHookStage, type OciHook, type OciSpec } from '../spec/oci.ts';
import { DefinitionFiles } from './definition-files.ts';
import { Fields } from './fields.ts';

const MAX_TIMEOUT_S = 3600;

/** Whether it is found anywhere in a text. */
type Pattern = (text: string) => boolean;

interface Conditions {
  readonly always: boolean | undefined;
  readonly hasBindMounts: boolean | undefined;
  readonly annotations: readonly (readonly [key: Pattern, value: Pattern])[];
  readonly commands: readonly Pattern[];
  /** Of schema 0.1.0: one condition that holds is enough. */
  readonly any: boolean;
}

interface HookFile {
  readonly when: Conditions;
  /** What is added where the conditions hold, or why nothing can be. */
  readonly addition: { readonly hook: OciHook; readonly stages: readonly HookStage[] } | CrispError;
}

/** What the conditions of hooks are matched against. */
export interface HookSubject {
  readonly annotations: Labels;
  /** The container's program. */
  readonly command: string;
  /** Whether the client mounts anything of the host. */
  readonly hasBindMounts: boolean;
}

/** Throws FailedPrecondition naming the file and the field where its conditions cannot be read. */
export async function parseHook(file: string, text: string): Promise<HookFile> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new CrispError('FailedPrecondition', `hook ${file} is not JSON`, {
      cause: error,
      hint: 'fix the file, or remove it',
    });
  }
  const top = new Fields(`hook ${file}`, document);
  const former = top.matching('version', /^(1\.0\.0|0\.1\.0|)$/, '') !== '1.0.0';
  const compile = await patterns();
  return former
    ? { when: formerConditions(top, compile), addition: orError(() => formerAddition(top)) }
    : { when: conditions(top.object('when'), compile), addition: orError(() => addition(top)) };
}

function orError<T>(read: () => T): T | CrispError {
  try {
    return read();
  } catch (error) {
    if (error instanceof CrispError) return error;
    throw error;
  }
}

type Compile = (fields: Fields, field: string, text: unknown) => Pattern;

/** These files are written for Go's regular expressions, which are RE2's: JavaScript's are others, and have no bound. */
async function patterns(): Promise<Compile> {
  const { RE2JS } = await import('re2js'); // large, and few nodes have hooks
  return (fields, field, text) => {
    try {
      const pattern = RE2JS.compile(String(text));
      return (subject) => pattern.matcher(subject).find();
    } catch {
      throw fields.wrong(field, `has ${JSON.stringify(text)}, which is not a regular expression of RE2`);
    }
  };
}

function addition(top: Fields): { hook: OciHook; stages: HookStage[] } {
  const hook = top.object('hook');
  const timeout = hook.number('timeout', 1, MAX_TIMEOUT_S);
  const args = hook.texts('args');
  const env = hook.texts('env');
  return {
    stages: stagesOf(top, 'stages'),
    hook: {
      path: hook.path('path'),
      ...(args.length > 0 ? { args } : {}),
      ...(env.length > 0 ? { env } : {}),
      ...(timeout === undefined ? {} : { timeout }),
    },
  };
}

function formerAddition(top: Fields): { hook: OciHook; stages: HookStage[] } {
  const path = top.path('hook');
  const args = top.has('arguments') ? { args: [path, ...top.texts('arguments')] } : {};
  return { stages: stagesOf(top, top.has('stages') ? 'stages' : 'stage'), hook: { path, ...args } };
}

function stagesOf(top: Fields, field: string): HookStage[] {
  const stages = top.texts(field);
  const unknown = stages.find((stage) => !isHookStage(stage));
  if (unknown !== undefined || stages.length === 0) {
    throw top.wrong(field, `has ${unknown ?? 'none'}; known are ${hookStages.join(', ')}`);
  }
  return stages as HookStage[];
}

function conditions(when: Fields, compile: Compile): Conditions {
  when.only(['always', 'annotations', 'commands', 'hasBindMounts']);
  return {
    any: false,
    always: when.flag('always'),
    hasBindMounts: when.flag('hasBindMounts'),
    annotations: when
      .entries('annotations')
      .map(
        ([key, value]) => [compile(when, 'annotations', key), compile(when, 'annotations', value)] as const,
      ),
    commands: when.texts('commands').map((text) => compile(when, 'commands', text)),
  };
}

function formerConditions(top: Fields, compile: Compile): Conditions {
  const list = (field: string): Pattern[] => {
    const known = top.has(`${field}s`) ? `${field}s` : field;
    return top.texts(known).map((text) => compile(top, known, text));
  };
  return {
    any: true,
    always: undefined,
    hasBindMounts: top.flag('hasbindmounts'),
    annotations: list('annotation').map((value) => [() => true, value] as const),
    commands: list('cmd'),
  };
}

/** All conditions that are given must hold, of schema 0.1.0 one of them. A hook without conditions is for none. */
export function appliesTo({ when }: HookFile, { annotations, command, hasBindMounts }: HookSubject): boolean {
  const met = [
    ...(when.always === undefined ? [] : [when.always]),
    ...(when.hasBindMounts === undefined ? [] : [when.hasBindMounts && hasBindMounts]),
    ...when.annotations.map(([key, value]) =>
      Object.entries(annotations).some(([name, text]) => key(name) && value(text)),
    ),
    ...(when.commands.length === 0 ? [] : [when.commands.some((pattern) => pattern(command))]),
  ];
  return met.length > 0 && (when.any ? met.some(Boolean) : met.every(Boolean));
}

export class OciHooks {
  readonly #files: DefinitionFiles<HookFile>;

  constructor(directories: readonly string[]) {
    this.#files = new DefinitionFiles(directories, ['.json'], parseHook);
  }

  /**
   * Adds the hooks that apply, by file name in lower case. Throws FailedPrecondition for an invalid file, unless its
   * conditions show that it does not apply.
   */
  async addTo(spec: OciSpec, subject: HookSubject): Promise<void> {
    const inForce = new Map((await this.#files.read()).map((definition) => [definition.name, definition]));
    for (const { file, value } of [...inForce.values()].sort(byLowerCase)) {
      if (value instanceof CrispError) throw value;
      if (!appliesTo(value, subject)) continue;
      if (value.addition instanceof CrispError) throw value.addition;
      const { hook, stages } = value.addition;
      needProgram(file, hook.path);
      for (const stage of stages) addHooks(spec, stage, [hook]);
    }
  }
}

/** oci-hooks(5): by Unicode code points after a conversion to lower case; then, so that it is always the same, as written. */
function byLowerCase(a: { readonly name: string }, b: { readonly name: string }): number {
  const lower = (text: string) => Buffer.from(text.toLowerCase());
  return Buffer.compare(lower(a.name), lower(b.name)) || (a.name < b.name ? -1 : 1);
}

/** Checked each time: it may be installed, or removed, without a change of the file that names it. */
function needProgram(file: string, path: string): void {
  try {
    checkExecutableSync(path);
  } catch (error) {
    throw new CrispError('FailedPrecondition', `hook ${file}: path is ${path}, which cannot be executed`, {
      cause: error,
      hint: 'install the program, or remove the file',
    });
  }
}
