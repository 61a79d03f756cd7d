/** Reads the file of base_runtime_spec, which is applied with the daemon's rights, as hooks are. */
import { CrispError, describeError } from '#core/errors.ts';
import { MAX_RLIMIT } from '#core/model/rlimits.ts';
import type { ContainerDefaults, HandlerOptions } from '../options.ts';
import type { BaseSpec } from '../spec/base.ts';
import { knownCapability } from '../spec/capabilities.ts';
import { inContainer } from '../spec/mounts.ts';
import { hookStages, type OciHook, type OciMount, parseSpec } from '../spec/oci.ts';
import type { Rlimit } from '../spec/process.ts';
import { readDefinition } from './definition-files.ts';
import { Fields } from './fields.ts';

/** Of crisp itself or of the pod. /run is in the specs that `ctr oci spec` prints; containerd, too, leaves it out. */
const OWN = [
  '/proc',
  '/dev',
  '/dev/pts',
  '/dev/shm',
  '/dev/mqueue',
  '/sys',
  '/sys/fs/cgroup',
  '/run',
  '/etc/resolv.conf',
  '/etc/hostname',
];
const MAX_TIMEOUT_S = 3600;

/**
 * The base specs by path, of all handlers. Throws InvalidArgument, beginning with the option, for a file that cannot be
 * read, is writable by others than root, or has a field of another form.
 */
export async function readBaseSpecs(
  { baseRuntimeSpec }: Pick<ContainerDefaults, 'baseRuntimeSpec'>,
  handlers: Readonly<Record<string, HandlerOptions>>,
): Promise<Map<string, BaseSpec>> {
  const options: [option: string, path: string][] = [
    ['container.base_runtime_spec', baseRuntimeSpec],
    ...Object.entries(handlers).map(([name, handler]): [string, string] => [
      `runtime.handlers.${name}.base_runtime_spec`,
      handler.baseRuntimeSpec ?? '',
    ]),
  ];
  const specs = new Map<string, BaseSpec>();
  for (const [option, path] of options) {
    if (path === '' || specs.has(path)) continue;
    try {
      specs.set(path, parseBaseSpec(path, await readDefinition(path)));
    } catch (error) {
      throw new CrispError('InvalidArgument', `${option}: ${describeError(error)}`, {
        cause: error,
        hint: 'correct the file: the JSON of an OCI spec, of root with mode 0644',
      });
    }
  }
  return specs;
}

/** Throws FailedPrecondition naming file and field, or a SyntaxError. */
export function parseBaseSpec(file: string, text: string): BaseSpec {
  const top = new Fields(file, parseSpec(text));
  const process = top.object('process');
  const capabilities = process.object('capabilities');
  const hooks = top.object('hooks');
  return {
    env: Object.fromEntries(process.texts('env').map((entry) => variable(process, entry))),
    rlimits: process.objects('rlimits').map(rlimit),
    capabilities: capabilities.has('bounding')
      ? capabilities.texts('bounding').map((name) => capability(capabilities, name))
      : undefined,
    mounts: top
      .objects('mounts')
      .map(mount)
      .filter(({ destination }) => !OWN.includes(destination)),
    hooks: Object.fromEntries(
      hookStages.filter((stage) => hooks.has(stage)).map((stage) => [stage, hooks.objects(stage).map(hook)]),
    ),
  };
}

function variable(process: Fields, entry: string): [string, string] {
  const at = entry.indexOf('=');
  if (at < 1) throw process.wrong('env', `has ${JSON.stringify(entry)}, not NAME=value`);
  return [entry.slice(0, at), entry.slice(at + 1)];
}

function capability(fields: Fields, name: string): string {
  const known = knownCapability(name);
  if (known === undefined)
    throw fields.wrong('bounding', `has ${JSON.stringify(name)}, which is no capability`);
  return known;
}

function rlimit(fields: Fields): Rlimit {
  const value = (field: string): bigint => {
    const given = fields.get(field);
    const number = typeof given === 'number' && Number.isInteger(given) ? BigInt(given) : given;
    if (typeof number === 'bigint' && number >= 0n && number <= MAX_RLIMIT) return number;
    throw fields.wrong(field, 'is not a whole number from 0 to 2^64-1');
  };
  const [type, soft, hard] = [fields.matching('type', /^RLIMIT_[A-Z]+$/), value('soft'), value('hard')];
  if (soft > hard) throw fields.wrong('soft', 'is above hard');
  return { type, soft, hard };
}

function mount(fields: Fields): OciMount {
  const destination = inContainer(fields.path('destination'));
  if (destination === '/') throw fields.wrong('destination', 'is the root of the container');
  const [type, source] = [
    fields.matching('type', /^[\w.-]*$/, ''),
    fields.matching('source', /^[^\0]*$/, ''),
  ];
  return {
    destination,
    ...(type === '' ? {} : { type }),
    ...(source === '' ? {} : { source }),
    options: fields.texts('options'),
  };
}

function hook(fields: Fields): OciHook {
  const timeout = fields.number('timeout', 1, MAX_TIMEOUT_S);
  return {
    path: fields.path('path'),
    ...(fields.has('args') ? { args: fields.texts('args') } : {}),
    ...(fields.has('env') ? { env: fields.texts('env') } : {}),
    ...(timeout === undefined ? {} : { timeout }),
  };
}
