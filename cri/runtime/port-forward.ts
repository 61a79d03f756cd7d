import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { CriServices } from '../services.ts';
import { knownSandbox } from './wire/ids.ts';

const MAX_PORT = 65_535;
/** What the channel form of the protocol can name. */
const MOST_PORTS = 127;

/** PortForward: a URL on which a client finds the ports of a pod, once, within a minute. */
export const portForward =
  (services: CriServices) =>
  async ({ podSandboxId, port }: cri.PortForwardRequest): Promise<cri.PortForwardResponseInit> => {
    const sandbox = knownSandbox(services, podSandboxId);
    const wrong = port.find((one) => one < 1 || one > MAX_PORT);
    if (wrong !== undefined || port.length > MOST_PORTS) {
      const what = wrong === undefined ? `${port.length} ports` : `port ${wrong}`;
      throw new CrispError('InvalidArgument', `PortForward: ${what} cannot be forwarded`, {
        hint: `name at most ${MOST_PORTS} ports, each from 1 to ${MAX_PORT}`,
      });
    }
    if (services.pods.get(sandbox)?.state !== 'ready') {
      throw new CrispError('FailedPrecondition', `pod sandbox ${sandbox} is not ready: it has no ports`, {
        hint: 'forward to a pod that runs',
      });
    }
    return { url: await services.streaming.url({ kind: 'portforward', sandbox, ports: port }) };
  };
