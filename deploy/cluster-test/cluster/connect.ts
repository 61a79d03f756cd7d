/** Which cluster: the kubeconfig and its context. */
import { KubeConfig } from '@kubernetes/client-node';
import { CrispError } from '#core/errors.ts';
import { Rest } from './rest.ts';

/** Opens nothing. Throws InvalidArgument for a file that cannot be read, a context that it does not have, or no cluster at all. */
export function connect(file: string | undefined, context: string | undefined): Rest {
  const config = new KubeConfig();
  try {
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
  } catch (cause) {
    throw new CrispError('InvalidArgument', `cannot read the kubeconfig ${file ?? 'of this user'}`, {
      cause,
      hint: 'name another one by --kubeconfig',
    });
  }
  const names = config.getContexts().map(({ name }) => name);
  if (context !== undefined && !names.includes(context))
    throw new CrispError('InvalidArgument', `the kubeconfig has no context '${context}'`, {
      hint: `it has: ${names.join(', ') || 'none'}`,
    });
  if (context !== undefined) config.setCurrentContext(context);
  if (!config.getCurrentCluster())
    throw new CrispError('InvalidArgument', 'the kubeconfig has no current context with a cluster', {
      hint: `choose one by --context: ${names.join(', ') || 'there is none'}`,
    });
  return new Rest(config);
}
