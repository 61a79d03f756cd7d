/** `crisp ctl` on containers: create, start, stop, rm, inspect. */
import { cri } from '#api/cri/v1/index.ts';
import { type Command, UsageError } from '../command.ts';
import { readMessage, renderDocument } from '../documents.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from '../output.ts';
import { type Ctl, DOCUMENT_FORMATS, forEachTarget, pick, secondsOf, TARGET_EXITS } from './context.ts';
import { authOf, credentialFlags, pullImage } from './pull.ts';
import { statusDocument } from './status-document.ts';

export const create: Command<Ctl> = {
  name: 'create',
  usage: 'POD CONTAINER-FILE POD-FILE',
  summary: 'Create a container in a pod; prints its id',
  flags: {
    'with-pull': { type: 'boolean', doc: 'Pull the image first' },
    ...credentialFlags,
    ...outputFlag(TEXT_OR_JSON),
  },
  arity: [3, 3],
  async run(ctl, parsed) {
    const format = outputOf(parsed, TEXT_OR_JSON);
    const [podSandboxId = '', containerFile = '', podFile = ''] = parsed.args;
    const config = await readMessage('ContainerConfig', containerFile);
    const sandboxConfig = await readMessage('PodSandboxConfig', podFile);
    if (parsed.has('with-pull'))
      await pullImage(ctl, { image: config.image, auth: authOf(parsed), sandboxConfig });
    const { containerId } = await ctl.client.CreateContainer(
      { podSandboxId, config, sandboxConfig },
      ctl.call(),
    );
    ctl.terminal.out(format === 'json' ? jsonText({ containerId }) : `${containerId}\n`);
    return 0;
  },
};

export const start: Command<Ctl> = {
  name: 'start',
  usage: 'CONTAINER [CONTAINER...]',
  summary: 'Start containers',
  flags: {},
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  run: (ctl, parsed) =>
    forEachTarget(ctl, parsed.args, async (containerId) => {
      await ctl.client.StartContainer({ containerId }, ctl.call());
      return containerId;
    }),
};

export const stop: Command<Ctl> = {
  name: 'stop',
  usage: 'CONTAINER [CONTAINER...]',
  summary: 'Stop containers',
  flags: {
    timeout: {
      type: 'string',
      short: 't',
      value: 'SECONDS',
      doc: 'Grace period before SIGKILL; default 0',
    },
  },
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const timeout = secondsOf(parsed, 'timeout', 0);
    const { containers } = await ctl.client.ListContainers({}, ctl.call());
    return forEachTarget(ctl, parsed.args, async (target) => {
      const { id: containerId } = pick(containers, target);
      await ctl.client.StopContainer(
        cri.StopContainerRequest.fromObject({ containerId, timeout }),
        ctl.call(timeout * 1000),
      );
      return target;
    });
  },
};

export const rm: Command<Ctl> = {
  name: 'rm',
  usage: '[CONTAINER...]',
  summary: 'Remove containers',
  flags: {
    all: { type: 'boolean', short: 'a', doc: 'All containers' },
    force: { type: 'boolean', short: 'f', doc: 'Kill running containers' },
  },
  arity: [0, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const { containers } = await ctl.client.ListContainers({}, ctl.call());
    if (!parsed.has('all') && parsed.args.length === 0)
      throw new UsageError('crisp ctl rm: name a container, or --all');
    const targets = parsed.has('all') ? containers.map(({ id }) => id) : parsed.args;
    return forEachTarget(ctl, targets, async (target) => {
      const { id: containerId, state } = pick(containers, target);
      if (state === cri.ContainerState.CONTAINER_RUNNING && !parsed.has('force')) {
        throw new UsageError('the container is running: stop it first, or use --force');
      }
      await ctl.client.RemoveContainer({ containerId }, ctl.call());
      return target;
    });
  },
};

export const inspect: Command<Ctl> = {
  name: 'inspect',
  usage: 'CONTAINER [CONTAINER...]',
  summary: 'Show the status of containers',
  flags: { ...outputFlag(DOCUMENT_FORMATS) },
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const format = outputOf(parsed, DOCUMENT_FORMATS);
    return forEachTarget(ctl, parsed.args, async (containerId) => {
      const { status, info } = await ctl.client.ContainerStatus({ containerId, verbose: true }, ctl.call());
      if (!status) return undefined;
      return renderDocument(statusDocument('ContainerStatus', status, info), format).trimEnd();
    });
  },
};
