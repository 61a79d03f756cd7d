import { containerd } from './containerd/index.ts';
import { crio } from './crio/index.ts';
import type { Peer } from './peer.ts';

/** By the name on the command line. */
export const peers: Readonly<Record<string, Peer>> = Object.assign(Object.create(null), { crio, containerd });
