/**
 * OCI hooks that an operator puts into directories, in the format that podman and CRI-O read (oci-hooks(5), version
 * 1.0.0). A file of a later directory replaces one of the same name. A file that cannot be used stops creation: what it
 * should have done to a container may be what keeps that container in bounds.
 */
import { accessSync, constants } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import type { Labels } from './config.ts';
import { DefinitionFiles } from './definition-files.ts';
import { Fields } from './fields.ts';
import { addHooks } from './spec/hooks.ts';
import { type HookStage, hookStages, isHookStage, type OciHook, type OciSpec } from './spec/oci.ts';

const MAX_TIMEOUT_S = 3600;

interface HookFile {
  readonly hook: OciHook;
  readonly stages: readonly HookStage[];
  readonly when: {
    readonly always: boolean | undefined;
    readonly hasBindMounts: boolean | undefined;
    readonly annotations: readonly (readonly [key: RegExp, value: RegExp])[];
    readonly commands: readonly RegExp[];
  };
}

/** What the conditions of hooks look at. */
export interface HookSubject {
  readonly annotations: Labels;
  /** The container's program. */
  readonly command: string;
  /** Whether the client mounts anything of the host. */
  readonly hasBindMounts: boolean;
}

/** Throws FailedPrecondition naming the file and the field. */
export function parseHook(file: string, text: string): HookFile {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new CrispError('FailedPrecondition', `hook ${file} is no JSON`, {
      cause: error,
      hint: 'mend the file, or remove it',
    });
  }
  const top = new Fields(`hook ${file}`, document);
  top.matching('version', /^1\.0\.0$/);
  top.only(['version', 'hook', 'when', 'stages']);
  const stages = top.texts('stages');
  const unknown = stages.find((stage) => !isHookStage(stage));
  if (unknown !== undefined || stages.length === 0) {
    throw top.wrong('stages', `has ${unknown ?? 'none'}; known are ${hookStages.join(', ')}`);
  }
  return {
    hook: program(top.object('hook')),
    stages: stages as HookStage[],
    when: conditions(top.object('when')),
  };
}

function program(hook: Fields): OciHook {
  hook.only(['path', 'args', 'env', 'timeout']);
  const path = hook.path('path');
  try {
    accessSync(path, constants.X_OK);
  } catch {
    throw hook.wrong('path', `is ${path}, which cannot be executed`);
  }
  const timeout = hook.number('timeout', 1, MAX_TIMEOUT_S);
  const args = hook.texts('args');
  const env = hook.texts('env');
  return {
    path,
    ...(args.length > 0 ? { args } : {}),
    ...(env.length > 0 ? { env } : {}),
    ...(timeout === undefined ? {} : { timeout }),
  };
}

function conditions(when: Fields): HookFile['when'] {
  when.only(['always', 'annotations', 'commands', 'hasBindMounts']);
  const pattern = (field: string, text: unknown): RegExp => {
    try {
      return new RegExp(String(text), 'u');
    } catch {
      throw when.wrong(field, `has ${JSON.stringify(text)}, which is no regular expression`);
    }
  };
  const always = when.flag('always');
  const hasBindMounts = when.flag('hasBindMounts');
  const annotations = when
    .entries('annotations')
    .map(([key, value]) => [pattern('annotations', key), pattern('annotations', value)] as const);
  const commands = when.texts('commands').map((text) => pattern('commands', text));
  if (always === undefined && hasBindMounts === undefined && annotations.length + commands.length === 0) {
    throw when.wrong('always', 'and all other conditions are missing');
  }
  return { always, hasBindMounts, annotations, commands };
}

/** All conditions that are given must hold. */
export function appliesTo({ when }: HookFile, { annotations, command, hasBindMounts }: HookSubject): boolean {
  const met = [
    ...(when.always === undefined ? [] : [when.always]),
    ...(when.hasBindMounts === undefined ? [] : [when.hasBindMounts && hasBindMounts]),
    ...when.annotations.map(([key, value]) =>
      Object.entries(annotations).some(([name, text]) => key.test(name) && value.test(text)),
    ),
    ...(when.commands.length === 0 ? [] : [when.commands.some((pattern) => pattern.test(command))]),
  ];
  return met.length > 0 && met.every(Boolean);
}

export class OciHooks {
  readonly #files: DefinitionFiles<HookFile>;

  constructor(directories: readonly string[]) {
    this.#files = new DefinitionFiles(directories, ['.json'], parseHook);
  }

  /** Adds the hooks that apply, by file name. Throws what is wrong with a file that is in force. */
  async addTo(spec: OciSpec, subject: HookSubject): Promise<void> {
    const inForce = new Map((await this.#files.read()).map((definition) => [definition.name, definition]));
    for (const name of [...inForce.keys()].sort()) {
      const value = inForce.get(name)?.value;
      if (value instanceof CrispError) throw value;
      if (!value || !appliesTo(value, subject)) continue;
      for (const stage of value.stages) addHooks(spec, stage, [value.hook]);
    }
  }
}
