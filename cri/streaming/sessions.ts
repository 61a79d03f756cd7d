/** What a token stands for. */
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { Wanted } from './remote-command.ts';

export type StreamingSession =
  | {
      readonly kind: 'exec';
      readonly container: ContainerId;
      readonly command: readonly string[];
      readonly wanted: Wanted;
    }
  | { readonly kind: 'attach'; readonly container: ContainerId; readonly wanted: Wanted }
  | { readonly kind: 'portforward'; readonly sandbox: SandboxId; readonly ports: readonly number[] };
