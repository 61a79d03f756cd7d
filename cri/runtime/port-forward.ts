import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { CriServices } from '../services.ts';
import { knownSandbox } from './wire/ids.ts';

const MAX_PORT = 65_535;
/** Maximum of the WebSocket channel protocol. */
const MAX_PORTS = 127;

/** PortForward: a URL for the ports of a pod, valid once, for a minute. */
export const portForward =
  (services: CriServices) =>
  async ({ podSandboxId, port }: cri.PortForwardRequest): Promise<cri.PortForwardResponseInit> => {
    const sandbox = knownSandbox(services, podSandboxId);
    const invalid = port.find((one) => one < 1 || one > MAX_PORT);
    if (invalid !== undefined || port.length > MAX_PORTS) {
      const what = invalid === undefined ? `${port.length} ports` : `port ${invalid}`;
      throw new CrispError('InvalidArgument', `PortForward: ${what} cannot be forwarded`, {
        hint: `name at most ${MAX_PORTS} ports, each from 1 to ${MAX_PORT}`,
      });
    }
    if (services.pods.get(sandbox)?.state !== 'ready') {
      throw new CrispError('FailedPrecondition', `pod sandbox ${sandbox} is not ready`, {
        hint: 'forward to a running pod',
      });
    }
    return { url: await services.streaming.url({ kind: 'portforward', sandbox, ports: port }) };
  };
