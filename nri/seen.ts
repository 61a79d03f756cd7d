import type { nri } from '#api/nri/index.ts';
import type { PluginContainer } from '#runtime-service/index.ts';
import { containerMessage, type Known } from './messages/index.ts';

/** A container as plugins are told of it, with what its service knows beside record and spec. */
export const seen = (container: PluginContainer): nri.ContainerInit =>
  containerMessage(container, container as PluginContainer & Known);
