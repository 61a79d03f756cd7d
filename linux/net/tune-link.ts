/**
 * Settings of a link inside a pod, in the order of the CNI plugin `tuning` 1.1.1. Synchronous; for the namespace worker.
 */
import { writeFileSync } from 'node:fs';
import { namingSync } from '../libc/errno.ts';
import type { NamespaceThread } from '../namespace/setns.ts';
import type { TuneRequest } from '../ports/kernel.ts';
import { mustFind } from './pod-end.ts';
import { RtnetlinkSocket } from './rtnetlink.ts';
import { IFF_ALLMULTI, IFF_PROMISC } from './rtnetlink-message.ts';

/** What it leaves at a failure goes with the link; sysctls that are not the link's with the namespace. */
export const tuneLink = (thread: NamespaceThread, request: TuneRequest): void =>
  thread.inNetwork(request.netns, () => {
    const { interfaceName, sysctls, mac, mtu, promiscuous, allMulticast } = request;
    for (const { key, value } of sysctls) write(key, value);
    using links = new RtnetlinkSocket();
    const { index } = mustFind(links, interfaceName);
    if (mac !== undefined) links.setMac(index, mac);
    if (promiscuous) links.setFlag(index, IFF_PROMISC, true);
    if (mtu !== undefined) links.setMtu(index, mtu);
    if (allMulticast !== undefined) links.setFlag(index, IFF_ALLMULTI, allMulticast);
  });

/** Some can only be written. */
const write = (key: string, value: string): void =>
  namingSync(`set sysctl ${key} to ${value}`, () => writeFileSync(`/proc/sys/net/${key}`, value));
