import type { HandlerFacts } from '#cri/services.ts';
import type { Handlers } from '#runtime-service/index.ts';

/** From memory: the features that the OCI runtimes reported last. The empty name is the default's second entry. */
export function handlerFacts(handlers: Handlers, idMapping: boolean): HandlerFacts[] {
  return ['', ...handlers.offered].map((name) => {
    const features = handlers.get(name).knownFeatures;
    return {
      name,
      recursiveReadOnlyMounts: features?.recursiveReadOnly ?? false,
      userNamespaces: idMapping && (features?.idMappedMounts ?? false),
    };
  });
}
