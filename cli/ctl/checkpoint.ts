/** `crisp ctl checkpoint`. */
import { resolve } from 'node:path';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { type Command, UsageError } from '../command.ts';
import { type Ctl, forEachTarget, pick, TARGET_EXITS } from './context.ts';

export const checkpoint: Command<Ctl> = {
  name: 'checkpoint',
  usage: 'CONTAINER --export FILE',
  summary: 'Checkpoint a running container to an archive; it keeps running',
  flags: {
    export: { type: 'string', short: 'e', value: 'FILE', doc: 'The archive, on the node of the runtime' },
    limit: { type: 'string', value: 'SECONDS', doc: "Timeout; default: the runtime's own" },
  },
  arity: [1, 1],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const file = parsed.text('export');
    if (file === undefined)
      throw new UsageError('crisp ctl checkpoint: --export is missing', 'name the archive: --export FILE');
    const limit = parsed.text('limit') ?? '0';
    if (!/^\d{1,7}$/.test(limit)) throw new UsageError(`--limit must be whole seconds, not '${limit}'`);
    const location = resolve(file);
    const { containers } = await ctl.client.ListContainers({}, ctl.call());
    return forEachTarget(ctl, parsed.args, async (target) => {
      const { id: containerId } = pick(containers, target);
      await ctl.client.CheckpointContainer(
        { containerId, location, timeout: fromBigInt(BigInt(limit)) },
        ctl.call(),
      );
      return target;
    });
  },
};
