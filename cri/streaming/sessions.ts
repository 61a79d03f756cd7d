/** The session that a token opens. */
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { RequestedStreams } from './remote-command.ts';

export type StreamingSession =
  | {
      readonly kind: 'exec';
      readonly container: ContainerId;
      readonly command: readonly string[];
      /** Another than the container's: `user[:group]`. */
      readonly user?: string | undefined;
      readonly requested: RequestedStreams;
    }
  | { readonly kind: 'attach'; readonly container: ContainerId; readonly requested: RequestedStreams }
  | { readonly kind: 'portforward'; readonly sandbox: SandboxId; readonly ports: readonly number[] };
