/** The node's programs that crisp runs. */
import { describeError, hasCode } from '#core/errors.ts';
import {
  type Distribution,
  distributionOf,
  installing,
  monitorRemedy,
  packages,
  runtimeRemedy,
} from '#daemon/preflight/distribution.ts';
import type { Node } from '#daemon/preflight/node.ts';
import { type Check, failure, ok, type Result, warning } from './result.ts';

/** Of what this node is, for the names of packages. */
export const distribution = (node: { text(path: string): string | undefined }): Distribution | undefined =>
  distributionOf(node.text('/etc/os-release') ?? '');

export const programChecks: readonly Check[] = [
  {
    id: 'oci-runtime',
    async run(node, signal) {
      const all = await node.runtimes(signal);
      const texts = all.map(({ handler, found }) =>
        'error' in found
          ? `${handler}: ${found.error}`
          : `${handler} (${found.path}, ${found.features.version}${found.features.idMappedMounts ? '' : ', no user namespaces'})`,
      );
      const works = all.filter(({ found }) => !('error' in found));
      const broken = all.filter(({ isConfigured, found }) => isConfigured && 'error' in found);
      if (works.length === 0 || broken.length > 0)
        return failure(texts.join('; '), runtimeRemedy('crun', distribution(node)));
      const shown = texts.filter((_, index) => !('error' in (all[index]?.found ?? { error: '' })));
      return ok(shown.join(', '));
    },
  },
  {
    id: 'conmon',
    async run(node, signal) {
      const wanted = node.config.conmon.path;
      try {
        const { path, version } = await node.program(wanted, signal);
        return ok(`${path}, ${version}`);
      } catch (error) {
        return failure(describeError(error), monitorRemedy(wanted, distribution(node)));
      }
    },
  },
  {
    id: 'pause',
    run(node) {
      const path = node.pauseProgram;
      if (node.exists(path)) return ok(path);
      const remedy =
        node.config.pause.path === '' ? 'install crisp again' : 'correct pause.path, or leave it out';
      return failure(`${path} does not exist`, remedy);
    },
  },
  { id: 'apparmor', run: apparmor },
  {
    id: 'selinux',
    async run(node) {
      const { mode } = node.config.selinux;
      const found = await node.selinux();
      if (!found && mode === 'on')
        return failure('not enabled, and selinux.mode = "on"', 'enable it, or set selinux.mode = "auto"');
      if (!found) return ok('not enabled');
      const { enforcing, process = '', problem } = found;
      const state = enforcing ? 'enforcing' : 'permissive';
      if (mode === 'off') return ok(`${state}; pods get no labels (selinux.mode = "off")`);
      if (problem === undefined) return ok(`${state}, ${process} with two categories for each pod`);
      const text = `${state}, but pods get no labels: ${describeError(problem)}`;
      const remedy = `${installing(packages.selinux, distribution(node))}; or set selinux.mode = "off"`;
      return mode === 'on' ? failure(text, remedy) : warning(text, remedy);
    },
  },
];

async function apparmor(node: Node, signal: AbortSignal): Promise<Result> {
  const { isEnabled, wanted, missing } = node.apparmor();
  const options = wanted.map(({ option }) => option).join(' and ');
  if (!isEnabled && wanted.length > 0)
    return warning(
      `not enabled: ${options} has no effect`,
      `enable AppArmor in the kernel (apparmor=1 security=apparmor), or leave out ${options}`,
    );
  if (!isEnabled) return ok('not enabled');
  if (missing.length > 0)
    return failure(
      `enabled; not loaded: ${missing.map(({ option, profile }) => `${profile} (${option})`).join(', ')}`,
      'load it: apparmor_parser -r FILE; or correct the option: crisp does not start with it',
    );
  try {
    const { path } = await node.program('apparmor_parser', signal);
    return ok(`enabled, ${path}`);
  } catch (error) {
    if (!hasCode(error, 'NotFound')) return ok(`enabled; ${describeError(error)}`);
    return warning(
      'enabled, without apparmor_parser: containers run unconfined, and pods that request RuntimeDefault are refused',
      installing(packages.apparmor, distribution(node)),
    );
  }
}
