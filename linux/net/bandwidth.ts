/** Limits of a pod's bandwidth, in the way of the CNI plugin `bandwidth`. Synchronous; for the namespace worker. */
import type { LimitRequest } from '../ports/kernel.ts';
import type { Removable } from './link-removal.ts';
import { NETLINK_ROUTE, openNetlink } from './netlink.ts';
import { mustFind } from './pod-end.ts';
import { RtnetlinkSocket } from './rtnetlink.ts';
import { TrafficSocket } from './traffic-control.ts';

/** Returns the address of the device for what leaves the pod; undefined without one. */
export function limitLink({ link, toPod, fromPod }: LimitRequest): string | undefined {
  using links = new RtnetlinkSocket();
  using traffic = new TrafficSocket();
  const port = mustFind(links, link);
  if (toPod) traffic.limit(port.index, toPod);
  if (!fromPod) return undefined;
  links.addIfb(fromPod.device, port.mtu);
  const device = mustFind(links, fromPod.device);
  traffic.redirect(port.index, device.index);
  traffic.limit(device.index, fromPod);
  return device.mac;
}

/** A link of the node that is to be removed; undefined where it is gone. */
export function findRemovable(name: string): Removable | undefined {
  using links = new RtnetlinkSocket();
  const found = links.find(name);
  return found && { index: found.index, socket: openNetlink(NETLINK_ROUTE) };
}

/** Whether the node has a link of that name. */
export function isThere(name: string): boolean {
  using links = new RtnetlinkSocket();
  return links.find(name) !== undefined;
}
