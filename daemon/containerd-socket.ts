import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { CriServer, type CriServerOptions } from '#cri/server.ts';
import type { CriServices } from '#cri/services.ts';
import { clearSocket } from './socket.ts';

/**
 * Answers cAdvisor at containerd's path where that is free. Where another daemon serves it, or it cannot be bound, pods lose
 * nothing but the labels of their metrics: that is logged, and is no reason not to start.
 */
export async function listenAsContainerd(
  services: CriServices,
  options: CriServerOptions & { readonly log: Log },
): Promise<CriServer | undefined> {
  try {
    await mkdir(dirname(options.socket), { recursive: true, mode: 0o711 });
    await clearSocket(options.socket, 'containerd_socket');
    return await CriServer.listenContainerd(services, options);
  } catch (error) {
    const hint =
      'stop what serves it, or leave containerd_socket empty and start the kubelet with --containerd=<socket of crisp>';
    options.log.warn(
      { socket: options.socket, error: describeError(error), hint },
      "cAdvisor's calls to containerd are not answered there",
    );
    return undefined;
  }
}
