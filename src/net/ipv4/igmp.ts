/**
 * Multicast membership: which groups a host listens to on which device, and for which sockets. Joining sets the device's
 * filter; igmp_report.ts tells the routers.
 */

import { EADDRINUSE, EADDRNOTAVAIL, EINVAL, ENOBUFS, ENODEV } from "../../uapi/errno.ts";
import { ARPHRD_ETHER } from "../../uapi/if.ts";
import { IPPROTO_IGMP } from "../../uapi/in.ts";
import type { NetDevice } from "../core/dev.ts";
import { devMcAdd, devMcDel } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import type { Sock } from "../core/sock.ts";
import type { InDevice } from "./devinet.ts";
import { inDevGet, ipDevFind } from "./devinet.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { igmpDown, igmpIfcEvent, igmpUp } from "./igmp_report.ts";
import { INADDR_ALLHOSTS_GROUP, ipv4IsMulticast } from "./inet_addr.ts";
import type { InetSock } from "./inet_sock.ts";
import { ipRouteOutputKey, rtCacheFlush } from "./route.ts";

/** ip_eth_mc_map (RFC 1112 §6.4): 01:00:5e and the low 23 bits of the group. */
export function ipEthMcMap(addr: number, out: Uint8Array): void {
  out[0] = 0x01;
  out[1] = 0x00;
  out[2] = 0x5e;
  out[3] = (addr >>> 16) & 0x7f;
  out[4] = (addr >>> 8) & 0xff;
  out[5] = addr & 0xff;
}

/** ip_check_mc_rcu: does the host listen to `mcAddr` on the device? Everybody hears IGMP. */
export function ipCheckMc(inDev: InDevice, mcAddr: number, _srcAddr: number, proto: number): boolean {
  if (inDev.mcList.size === 0) return false;
  return inDev.mcList.has(mcAddr | 0) || proto === IPPROTO_IGMP;
}

const mcHw: Uint8Array = new Uint8Array(6);

function igmpGroupAdded(inDev: InDevice, addr: number): void {
  igmpIfcEvent(inDev, addr, true);
  if (inDev.dev.type !== ARPHRD_ETHER) return;
  ipEthMcMap(addr, mcHw);
  devMcAdd(inDev.dev, mcHw);
}

function igmpGroupDropped(inDev: InDevice, addr: number): void {
  igmpIfcEvent(inDev, addr, false);
  if (inDev.dev.type !== ARPHRD_ETHER) return;
  ipEthMcMap(addr, mcHw);
  devMcDel(inDev.dev, mcHw);
}

/** ip_mc_inc_group. */
export function ipMcIncGroup(inDev: InDevice, addr: number): void {
  const key = addr | 0;
  const users = inDev.mcList.get(key) ?? 0;
  inDev.mcList.set(key, users + 1);
  if (users !== 0) return;
  igmpGroupAdded(inDev, addr);
  // Whether what is sent to the group comes back up is part of cached routes.
  rtCacheFlush(inDev.dev.net);
}

/** ip_mc_dec_group. */
export function ipMcDecGroup(inDev: InDevice, addr: number): void {
  const key = addr | 0;
  const users = inDev.mcList.get(key) ?? 0;
  if (users > 1) {
    inDev.mcList.set(key, users - 1);
  } else if (users === 1) {
    inDev.mcList.delete(key);
    igmpGroupDropped(inDev, addr);
    rtCacheFlush(inDev.dev.net);
  }
}

/** ip_mc_up: the device is up: the host listens to all-hosts (RFC 1112 §7.2). */
export function ipMcUp(inDev: InDevice): void {
  if (!inDev.mcList.has(INADDR_ALLHOSTS_GROUP | 0)) ipMcIncGroup(inDev, INADDR_ALLHOSTS_GROUP);
  igmpUp(inDev);
}

/** ip_mc_down. */
export function ipMcDown(inDev: InDevice): void {
  igmpDown(inDev);
  if (inDev.mcList.has(INADDR_ALLHOSTS_GROUP | 0)) ipMcDecGroup(inDev, INADDR_ALLHOSTS_GROUP);
}

/** ip_mc_destroy_dev. */
export function ipMcDestroyDev(inDev: InDevice): void {
  for (const key of inDev.mcList.keys()) igmpGroupDropped(inDev, key >>> 0);
  inDev.mcList.clear();
  igmpDown(inDev);
}

const findFl: FlowI4 = new FlowI4();

/** ip_mc_find_dev: by ifindex, by the device's address, or by the route to the group. */
function ipMcFindDev(net: Net, multiaddr: number, address: number, ifindex: number): NetDevice | null {
  if (ifindex !== 0) return net.devByIndex.get(ifindex) ?? null;
  if (address !== 0) return ipDevFind(net, address);
  flowi4InitOutput(findFl, 0, 0, 0, 0, 0, 0, multiaddr, 0, 0, 0);
  const rt = ipRouteOutputKey(net, findFl);
  return rt === null ? null : rt.dev;
}

/**
 * IP_ADD_MEMBERSHIP: `address` (of a device) and `ifindex` 0 = the route decides. 0, -EINVAL (no multicast address),
 * -ENODEV, -EADDRINUSE (the socket is a member already) or -ENOBUFS (igmp_max_memberships).
 */
export function ipMcJoinGroup(sk: Sock, multiaddr: number, address: number, ifindex: number): number {
  if (!ipv4IsMulticast(multiaddr)) return -EINVAL;
  const { net } = sk;
  const dev = ipMcFindDev(net, multiaddr, address, ifindex);
  const inDev = dev === null ? null : inDevGet(dev);
  if (dev === null || inDev === null) return -ENODEV;
  const list = (sk as InetSock).mcList;
  for (const m of list) if (m.multiaddr === multiaddr && m.ifindex === dev.ifindex) return -EADDRINUSE;
  if (list.length >= net.ipv4.sysctlIgmpMaxMemberships) return -ENOBUFS;
  list.push({ multiaddr, ifindex: dev.ifindex });
  ipMcIncGroup(inDev, multiaddr);
  return 0;
}

/** IP_DROP_MEMBERSHIP. 0, -ENODEV or -EADDRNOTAVAIL. */
export function ipMcLeaveGroup(sk: Sock, multiaddr: number, address: number, ifindex: number): number {
  const { net } = sk;
  const list = (sk as InetSock).mcList;
  const dev = ipMcFindDev(net, multiaddr, address, ifindex);
  if (dev === null && ifindex === 0 && address === 0) return -ENODEV;
  for (let i = 0; i < list.length; i++) {
    const m = list[i] as { multiaddr: number; ifindex: number };
    if (m.multiaddr !== multiaddr || (dev !== null && m.ifindex !== dev.ifindex)) continue;
    list.splice(i, 1);
    leave(net, m);
    return 0;
  }
  return -EADDRNOTAVAIL;
}

function leave(net: Net, m: { multiaddr: number; ifindex: number }): void {
  const dev = net.devByIndex.get(m.ifindex);
  const inDev = dev === undefined ? null : inDevGet(dev);
  if (inDev !== null) ipMcDecGroup(inDev, m.multiaddr);
}

/** ip_mc_drop_socket: the socket closes. */
export function ipMcDropSocket(sk: Sock): void {
  const list = (sk as InetSock).mcList;
  if (list === undefined) return;
  while (list.length > 0) leave(sk.net, list.pop() as { multiaddr: number; ifindex: number });
}

/**
 * ip_mc_sf_allow: may a datagram to `locAddr` that came in on `dif` go to the socket? A socket that has not joined the
 * group there gets it all the same while IP_MULTICAST_ALL is set, which it is unless the program cleared it.
 */
export function ipMcSfAllow(sk: Sock, locAddr: number, _rmtAddr: number, dif: number): boolean {
  if (!ipv4IsMulticast(locAddr)) return true;
  const inet = sk as InetSock & { mcAll?: boolean };
  for (const m of inet.mcList) if (m.multiaddr === locAddr && m.ifindex === dif) return true;
  return inet.mcAll !== false;
}
