/**
 * ARP (RFC 826): who has an address of the link. The state of each neighbour is kept by net/core/neighbour.ts; here is
 * what asks, what answers, and what of others' packets is believed.
 *
 * ```
 *   0        2        4    5    6        8             14          18             24          28
 *   | hrd    | pro    | hln| pln| op     | sha (6)     | sip (4)   | tha (6)     | tip (4)   |
 * ```
 */

import { PACKET_HOST, PACKET_LOOPBACK, PACKET_OTHERHOST } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { dv, u8 } from "../../mm/mem.ts";
import { skbLen, skbNetworkHeader, skbPktType, skbResetNetworkHeader, skbSetProtocol } from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_HDR_TRUNC,
  SKB_DROP_REASON_NEIGH_FAILED,
  SKB_DROP_REASON_NOT_SPECIFIED,
} from "../../uapi/dropreason.ts";
import { EINVAL, ENOBUFS } from "../../uapi/errno.ts";
import {
  ARPHRD_ETHER,
  ARPHRD_IEEE802,
  ARPOP_REPLY,
  ARPOP_REQUEST,
  IFF_LOOPBACK,
  IFF_NOARP,
  IFF_POINTOPOINT,
} from "../../uapi/if.ts";
import { ETH_P_ARP, ETH_P_IP } from "../../uapi/if_ether.ts";
import { IPV4_DEVCONF_DROP_GRATUITOUS_ARP } from "../../uapi/ip.ts";
import { LINUX_MIB_ARPFILTER } from "../../uapi/linux_mib.ts";
import { NFPROTO_ARP } from "../../uapi/netfilter.ts";
import {
  NUD_FAILED,
  NUD_NOARP,
  NUD_REACHABLE,
  NUD_STALE,
  NUD_VALID,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
} from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { NetDevice, PacketType } from "../core/dev.ts";
import { devAddPack, devQueueXmit, netifCarrierOk, registerNetdeviceNotifier } from "../core/dev.ts";
import { NETDEV_CHANGE, NETDEV_CHANGEADDR } from "../core/dev_api.ts";
import type { DstEntry } from "../core/dst.ts";
import type { Neighbour, NeighOps, NeighTable } from "../core/neighbour.ts";
import {
  NEIGH_UPDATE_F_ADMIN,
  NEIGH_UPDATE_F_OVERRIDE,
  NeighTableState,
  neighCarrierDown,
  neighChangeaddr,
  neighConnectedOutput,
  neighCreate,
  neighDirectOutput,
  neighEventNs,
  neighIfdown,
  neighInit,
  neighLookup,
  neighRemoveOne,
  neighResolveOutput,
  neighSysctlRegister,
  neighTableClear,
  neighUpdate,
  pneighEnqueue,
  pneighLookup,
} from "../core/neighbour.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import {
  allocSkb,
  consumeSkb,
  kfreeSkb,
  kfreeSkbReason,
  pskbMayPull,
  skbClone,
  skbDev,
  skbPut,
  skbReserve,
  skbSetDev,
  skbShared,
} from "../core/skbuff.ts";
import { nfHook } from "../netfilter/core.ts";
import type { InDevice } from "./devinet.ts";
import {
  inDevArpAccept,
  inDevArpAnnounce,
  inDevArpEvictNocarrier,
  inDevArpfilter,
  inDevArpIgnore,
  inDevForward,
  inDevGet,
  inDevMediumId,
  inDevOrconf,
  inDevProxyArp,
  inDevProxyArpPvlan,
  inDevRouteLocalnet,
  inetAddrOnlink,
  inetConfirmAddr,
  inetSelectAddr,
} from "./devinet.ts";
import { inetAddrTypeDevTable } from "./fib_frontend.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { ipEthMcMap } from "./igmp.ts";
import { ipv4IsLoopback, ipv4IsMulticast } from "./inet_addr.ts";
import { ipHdr, ipHdrSaddr } from "./ip.ts";
import { netnsIpv4Init } from "./netns.ts";
import type { Rtable } from "./route.ts";
import { ipRouteInput, ipRouteOutputKey, rtCacheFlush, skbRtable } from "./route.ts";

declare module "./netns.ts" {
  interface NetnsIpv4 {
    arpState: NeighTableState;
  }
}

// linux/netfilter_arp.h.
const NF_ARP_IN = 0;
const NF_ARP_OUT = 1;

/** sizeof(struct arphdr). */
const ARPHDR_SIZE = 8;

/** arp_hdr_len: an ARP packet with the device's addresses. */
function arpHdrLen(dev: NetDevice): number {
  return ARPHDR_SIZE + (dev.addrLen + 4) * 2;
}

// ---- neigh_ops -----------------------------------------------------------------------------------------------------------------

/** Devices whose header can't be cached. */
const arpGenericOps: NeighOps = {
  symbol: "arp_generic_ops",
  family: AF_INET,
  solicit: arpSolicit,
  errorReport: arpErrorReport,
  output: neighResolveOutput,
  connectedOutput: neighConnectedOutput,
  hhOutput: devQueueXmit,
  queueXmit: devQueueXmit,
};

/** Ethernet. While connected, packets take hh->hh_output, and those without it neigh_resolve_output, which builds it. */
const arpHhOps: NeighOps = {
  symbol: "arp_hh_ops",
  family: AF_INET,
  solicit: arpSolicit,
  errorReport: arpErrorReport,
  output: neighResolveOutput,
  connectedOutput: neighResolveOutput,
  hhOutput: devQueueXmit,
  queueXmit: devQueueXmit,
};

/** Devices without link headers. */
const arpDirectOps: NeighOps = {
  symbol: "arp_direct_ops",
  family: AF_INET,
  solicit: arpSolicit,
  errorReport: arpErrorReport,
  output: neighDirectOutput,
  connectedOutput: neighDirectOutput,
  hhOutput: devQueueXmit,
  queueXmit: devQueueXmit,
};

/** arp_constructor: what kind of neighbour is this, and how are packets sent to it? */
function arpConstructor(neigh: Neighbour): number {
  const dev = neigh.dev;
  const inDev = inDevGet(dev);
  if (inDev === null) return -EINVAL;
  const addr = neigh.primaryKey;
  neigh.type = inetAddrTypeDevTable(dev.net, dev, addr);
  neigh.parms = inDev.arpParms;
  neigh.outputSetBy = "arp_constructor";
  if (dev.headerOps === null) {
    neigh.nudState = NUD_NOARP;
    neigh.ops = arpDirectOps;
    neigh.output = neighDirectOutput;
    return 0;
  }
  if (neigh.type === RTN_MULTICAST) {
    neigh.nudState = NUD_NOARP;
    arpMcMap(addr, neigh.ha, dev);
  } else if ((dev.flags & (IFF_NOARP | IFF_LOOPBACK)) !== 0) {
    neigh.nudState = NUD_NOARP;
    neigh.ha.set(dev.devAddr);
  } else if (neigh.type === RTN_BROADCAST || (dev.flags & IFF_POINTOPOINT) !== 0) {
    neigh.nudState = NUD_NOARP;
    neigh.ha.set(dev.broadcast);
  }
  neigh.ops = dev.headerOps.cache !== undefined ? arpHhOps : arpGenericOps;
  neigh.output = (neigh.nudState & NUD_VALID) !== 0 ? neigh.ops.connectedOutput : neigh.ops.output;
  return 0;
}

/** arp_mc_map. */
function arpMcMap(addr: number, haddr: Uint8Array, dev: NetDevice): void {
  if (dev.type === ARPHRD_ETHER || dev.type === ARPHRD_IEEE802) ipEthMcMap(addr, haddr);
  else haddr.set(dev.broadcast);
}

/** arp_error_report: the neighbour did not answer. Consumes the packet that waited for it. */
function arpErrorReport(_neigh: Neighbour, skb: number): void {
  const rt = skbRtable(skb);
  if (rt !== null) rt.ops.linkFailure(skb);
  kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_FAILED);
}

/** arp_solicit: asks for the neighbour: the address that was known first, then everybody. */
function arpSolicit(neigh: Neighbour, skb: number): void {
  const dev = neigh.dev;
  const inDev = inDevGet(dev);
  if (inDev === null) return;
  const target = neigh.primaryKey;
  let saddr = 0;
  switch (inDevArpAnnounce(inDev)) {
    case 1:
      // Only an address that the target should know as one of its link.
      if (skb !== 0) {
        saddr = ipHdrSaddr(ipHdr(skb));
        if (inetAddrTypeDevTable(dev.net, dev, saddr) !== RTN_LOCAL || !inetAddrOnlink(inDev, target, saddr)) saddr = 0;
      }
      break;
    case 2:
      break;
    default:
      if (skb !== 0 && inetAddrTypeDevTable(dev.net, dev, ipHdrSaddr(ipHdr(skb))) === RTN_LOCAL) {
        saddr = ipHdrSaddr(ipHdr(skb));
      }
      break;
  }
  if (saddr === 0) saddr = inetSelectAddr(dev, target, RT_SCOPE_LINK);

  let probes = neigh.probes - neigh.parms.ucastProbes;
  if (probes < 0) {
    arpSend(ARPOP_REQUEST, ETH_P_ARP, target, dev, saddr, neigh.ha, dev.devAddr, null);
    return;
  }
  probes -= neigh.parms.appProbes;
  // A resolver in user space would be asked (neigh_app_ns); there is none.
  if (probes < 0) return;
  arpSend(ARPOP_REQUEST, ETH_P_ARP, target, dev, saddr, null, dev.devAddr, null);
}

export const arpTbl: NeighTable = {
  id: "arp_cache",
  family: AF_INET,
  protocol: ETH_P_IP,
  constructor_: arpConstructor,
  proxyRedo: arpProcessDelayed,
  state: (net: Net): NeighTableState => net.ipv4.arpState,
};

/**
 * arp_bind_neighbour: binds a route to the neighbour of its next hop. Loopback and point-to-point devices have one
 * neighbour for all addresses, with the key 0. 0, or -ENOBUFS when there can be none.
 */
export function arpBindNeighbour(dst: DstEntry): number {
  const dev = dst.dev;
  if (dst.neighbour !== null && !dst.neighbour.dead) return 0;
  const key = (dev.flags & (IFF_LOOPBACK | IFF_POINTOPOINT)) !== 0 ? 0 : (dst as Rtable).rtGateway;
  const n = neighLookup(arpTbl, key, dev) ?? neighCreate(arpTbl, key, dev);
  dst.hh = null;
  dst.neighbour = n;
  return n === null ? -ENOBUFS : 0;
}

// ---- sending -----------------------------------------------------------------------------------------------------------------

/**
 * arp_create: an ARP packet with its link header; 0 if there is no memory. `destHw` null = broadcast, `srcHw` null = the
 * device's own address, `targetHw` null = zeros.
 */
export function arpCreate(
  type: number,
  ptype: number,
  destIp: number,
  dev: NetDevice,
  srcIp: number,
  destHw: Uint8Array | null,
  srcHw: Uint8Array | null,
  targetHw: Uint8Array | null,
): number {
  // Room for the link header, a multiple of 16 (LL_RESERVED_SPACE).
  const hlen = (dev.hardHeaderLen + dev.neededHeadroom + 16) & ~15;
  const len = arpHdrLen(dev);
  const skb = allocSkb(hlen + len + dev.neededTailroom);
  if (skb === 0) return 0;
  skbReserve(skb, hlen);
  skbResetNetworkHeader(skb);
  let p = skbPut(skb, len);
  skbSetDev(skb, dev);
  skbSetProtocol(skb, ETH_P_ARP);
  const src = srcHw ?? dev.devAddr;
  if (dev.headerOps !== null && dev.headerOps.create(skb, dev, ptype, destHw ?? dev.broadcast, src, skbLen(skb)) < 0) {
    kfreeSkb(skb);
    return 0;
  }
  dv.setUint16(p, dev.type);
  dv.setUint16(p + 2, ETH_P_IP);
  u8[p + 4] = dev.addrLen;
  u8[p + 5] = 4;
  dv.setUint16(p + 6, type);
  p += ARPHDR_SIZE;
  p = putHw(p, src, dev.addrLen);
  dv.setUint32(p, srcIp);
  p = putHw(p + 4, targetHw, dev.addrLen);
  dv.setUint32(p, destIp);
  return skb;
}

function putHw(at: number, hw: Uint8Array | null, len: number): number {
  for (let i = 0; i < len; i++) u8[at + i] = hw === null ? 0 : (hw[i] as number);
  return at + len;
}

/** arp_xmit. Consumes the skb. */
export function arpXmit(skb: number): void {
  const dev = skbDev(skb);
  if (nfHook(NFPROTO_ARP, NF_ARP_OUT, dev.net, null, skb, null, dev, arpXmitFinish) === 1) devQueueXmit(skb);
}

function arpXmitFinish(_net: Net, _sk: unknown, skb: number): number {
  return devQueueXmit(skb);
}

/** arp_send: makes a packet and sends it, unless the device does without ARP. See arpCreate. */
export function arpSend(
  type: number,
  ptype: number,
  destIp: number,
  dev: NetDevice,
  srcIp: number,
  destHw: Uint8Array | null,
  srcHw: Uint8Array | null,
  targetHw: Uint8Array | null,
): void {
  if ((dev.flags & IFF_NOARP) !== 0) return;
  const skb = arpCreate(type, ptype, destIp, dev, srcIp, destHw, srcHw, targetHw);
  if (skb !== 0) arpXmit(skb);
}

// ---- receiving ---------------------------------------------------------------------------------------------------------------

/** arp_rcv: the packet handler of ETH_P_ARP. Consumes the skb. */
export function arpRcv(skb0: number, dev: NetDevice, _pt: PacketType, _origDev: NetDevice): number {
  let skb = skb0;
  const type = skbPktType(skb);
  if ((dev.flags & IFF_NOARP) !== 0 || type === PACKET_OTHERHOST || type === PACKET_LOOPBACK) {
    consumeSkb(skb);
    return 0;
  }
  if (skbShared(skb)) {
    const own = skbClone(skb);
    consumeSkb(skb);
    if (own === 0) return 0;
    skb = own;
  }
  if (!pskbMayPull(skb, arpHdrLen(dev))) {
    kfreeSkbReason(skb, SKB_DROP_REASON_HDR_TRUNC);
    return 0;
  }
  const arp = skbNetworkHeader(skb);
  if (u8[arp + 4] !== dev.addrLen || u8[arp + 5] !== 4) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
    return 0;
  }
  const net = dev.net;
  if (nfHook(NFPROTO_ARP, NF_ARP_IN, net, null, skb, dev, null, arpProcess) !== 1) return 0;
  return arpProcess(net, null, skb);
}

/** A request for somebody else's address has waited long enough for the owner to answer. */
function arpProcessDelayed(skb: number): void {
  locallyEnqueued = true;
  arpProcess(skbDev(skb).net, null, skb);
  locallyEnqueued = false;
}

let locallyEnqueued = false;
const sha: Uint8Array = new Uint8Array(8);

/** arp_process: answers what is asked of this host, and learns from what is told. Consumes the skb. */
function arpProcess(net: Net, _sk: unknown, skb: number): number {
  const dev = skbDev(skb);
  const inDev = inDevGet(dev);
  const arp = skbNetworkHeader(skb);
  if (inDev === null) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
    return 0;
  }
  const hrd = dv.getUint16(arp);
  const op = dv.getUint16(arp + 6);
  // Ethernet takes the hardware type of IEEE 802 as well.
  const goodHrd = hrd === dev.type || (dev.type === ARPHRD_ETHER && hrd === ARPHRD_IEEE802);
  if (!goodHrd || dv.getUint16(arp + 2) !== ETH_P_IP || (op !== ARPOP_REPLY && op !== ARPOP_REQUEST)) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
    return 0;
  }
  let p = arp + ARPHDR_SIZE;
  for (let i = 0; i < dev.addrLen; i++) sha[i] = u8[p + i];
  p += dev.addrLen;
  const sip = dv.getUint32(p);
  const thaAt = p + 4;
  const tip = dv.getUint32(thaAt + dev.addrLen);
  // Nobody asks for multicast addresses, or for those that never leave a host.
  if (ipv4IsMulticast(tip) || (ipv4IsLoopback(tip) && !inDevRouteLocalnet(inDev))) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
    return 0;
  }
  if (sip === tip && inDevOrconf(inDev, IPV4_DEVCONF_DROP_GRATUITOUS_ARP)) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
    return 0;
  }
  if (sip === 0) {
    // Duplicate address detection (RFC 5227 §2.1.1): the address is taken; nothing is learnt.
    if (op === ARPOP_REQUEST && inetAddrTypeDevTable(net, dev, tip) === RTN_LOCAL && !arpIgnore(inDev, sip, tip)) {
      arpSend(ARPOP_REPLY, ETH_P_ARP, sip, dev, tip, sha, dev.devAddr, sha);
    }
    consumeSkb(skb);
    return 0;
  }
  if (op === ARPOP_REQUEST && ipRouteInput(skb, tip, sip, 0, dev) === 0) {
    const done = arpProcessRequest(net, dev, inDev, skb, sip, tip);
    if (done === TAKEN) return 0;
    if (done === ANSWERED) {
      consumeSkb(skb);
      return 0;
    }
  }
  arpLearn(net, dev, inDev, skb, op, sip, tip, thaAt);
  consumeSkb(skb);
  return 0;
}

const GO_ON = 0;
const ANSWERED = 1;
/** The skb waits in the proxy queue. */
const TAKEN = 2;

/** A request that has a route: for one of our addresses, or for one that we answer for. */
function arpProcessRequest(net: Net, dev: NetDevice, inDev: InDevice, skb: number, sip: number, tip: number): number {
  const rt = skbRtable(skb) as Rtable;
  if (rt.rtType === RTN_LOCAL) {
    if (arpIgnore(inDev, sip, tip) || (inDevArpfilter(inDev) && arpFilter(net, sip, tip, dev))) return ANSWERED;
    // RFC 826: who asks for us will be answered, so its own address is worth knowing.
    if (neighEventNs(arpTbl, sha, sip, dev) !== null) {
      arpSend(ARPOP_REPLY, ETH_P_ARP, sip, dev, tip, sha, dev.devAddr, sha);
    }
    return ANSWERED;
  }
  if (!inDevForward(inDev) || rt.rtType !== RTN_UNICAST) return GO_ON;
  const proxied =
    arpFwdProxy(inDev, dev, rt) ||
    (rt.dev === dev && sip !== tip && inDevProxyArpPvlan(inDev)) ||
    (rt.dev !== dev && pneighLookup(arpTbl, tip, dev) !== null);
  if (!proxied) return GO_ON;
  neighEventNs(arpTbl, sha, sip, dev);
  if (!locallyEnqueued && skbPktType(skb) !== PACKET_HOST && inDev.arpParms.proxyDelay !== 0) {
    pneighEnqueue(arpTbl, net, inDev.arpParms, skb);
    return TAKEN;
  }
  arpSend(ARPOP_REPLY, ETH_P_ARP, sip, dev, tip, sha, dev.devAddr, sha);
  return ANSWERED;
}

/** Updates what is known of the sender, if anything is; arp_accept makes the unknown known. */
function arpLearn(
  net: Net,
  dev: NetDevice,
  inDev: InDevice,
  skb: number,
  op: number,
  sip: number,
  tip: number,
  thaAt: number,
): void {
  let n = neighLookup(arpTbl, sip, dev);
  const accept = arpAccept(net, inDev, sip);
  if (n === null && !accept) return;
  let addrType = -1;
  let isGarp = sip === tip;
  // A gratuitous reply names its own link address as the target's.
  if (isGarp && op === ARPOP_REPLY) for (let i = 0; i < dev.addrLen; i++) if (u8[thaAt + i] !== sha[i]) isGarp = false;
  if (isGarp) {
    addrType = inetAddrTypeDevTable(net, dev, sip);
    if (addrType !== RTN_UNICAST) isGarp = false;
  }
  if (accept && n === null) {
    if (addrType < 0 && op === ARPOP_REPLY) addrType = inetAddrTypeDevTable(net, dev, sip);
    if (isGarp || (op === ARPOP_REPLY && addrType === RTN_UNICAST)) n = neighCreate(arpTbl, sip, dev);
  }
  if (n === null) return;
  // Of several replies that follow each other closely the first one counts: it came by the fastest way.
  const override = isGarp || kernel.now > n.updated + n.parms.locktime;
  // Only a reply to us proves that the neighbour hears us.
  const state = op !== ARPOP_REPLY || skbPktType(skb) !== PACKET_HOST ? NUD_STALE : NUD_REACHABLE;
  neighUpdate(n, sha, state, override ? NEIGH_UPDATE_F_OVERRIDE : 0);
}

/** arp_accept: are senders learnt that nobody asked for? */
function arpAccept(net: Net, inDev: InDevice, sip: number): boolean {
  switch (inDevArpAccept(inDev)) {
    case 1:
      return true;
    case 2:
      return inetConfirmAddr(net, inDev, sip, 0, RT_SCOPE_LINK) !== 0;
    default:
      return false;
  }
}

/** arp_ignore: true if the request is not to be answered. */
function arpIgnore(inDev: InDevice, sip: number, tip: number): boolean {
  switch (inDevArpIgnore(inDev)) {
    case 1:
      // Only for addresses of the device that the question came in on.
      return inetConfirmAddr(inDev.dev.net, inDev, 0, tip, RT_SCOPE_HOST) === 0;
    case 2:
      // ... and asked from their subnet.
      return inetConfirmAddr(inDev.dev.net, inDev, sip, tip, RT_SCOPE_HOST) === 0;
    case 3:
      // Not for addresses of scope host.
      return inetConfirmAddr(inDev.dev.net, null, 0, tip, RT_SCOPE_LINK) === 0;
    case 8:
      return true;
    default:
      return false;
  }
}

const filterFl: FlowI4 = new FlowI4();

/** arp_filter: true if packets to the asker would leave over another device: that one shall answer. */
function arpFilter(net: Net, sip: number, tip: number, dev: NetDevice): boolean {
  flowi4InitOutput(filterFl, 0, 0, 0, 0, 0, 0, sip, tip, 0, 0);
  const rt = ipRouteOutputKey(net, filterFl);
  if (rt === null) return true;
  if (rt.dev === dev) return false;
  netIncStats(net, LINUX_MIB_ARPFILTER);
  return true;
}

/** arp_fwd_proxy: proxy_arp, unless both sides are one medium. */
function arpFwdProxy(inDev: InDevice, dev: NetDevice, rt: Rtable): boolean {
  if (rt.dev === dev || !inDevProxyArp(inDev)) return false;
  const imi = inDevMediumId(inDev);
  if (imi === 0) return true;
  if (imi === -1) return false;
  const outDev = inDevGet(rt.dev);
  const omi = outDev === null ? -1 : inDevMediumId(outDev);
  return omi !== imi && omi !== -1;
}

// ---- devices -----------------------------------------------------------------------------------------------------------------

/** arp_invalidate: forgets an entry that an address has made wrong; `force`: a valid one too. 0 or a negative errno. */
export function arpInvalidate(dev: NetDevice, ip: number, force: boolean): number {
  const neigh = neighLookup(arpTbl, ip, dev);
  if (neigh === null) return 0;
  if ((neigh.nudState & NUD_VALID) !== 0 && !force) return 0;
  let err = 0;
  if ((neigh.nudState & ~NUD_NOARP) !== 0) {
    err = neighUpdate(neigh, null, NUD_FAILED, NEIGH_UPDATE_F_OVERRIDE | NEIGH_UPDATE_F_ADMIN);
  }
  neighRemoveOne(neigh);
  return err;
}

/** arp_ifdown. */
export function arpIfdown(dev: NetDevice): void {
  neighIfdown(arpTbl, dev);
}

/** arp_netdev_event. */
function arpNetdevEvent(event: number, dev: NetDevice): void {
  if (dev.net.ipv4 === undefined || dev.net.ipv4.arpState === undefined) return;
  if (event === NETDEV_CHANGEADDR) {
    neighChangeaddr(arpTbl, dev);
    rtCacheFlush(dev.net);
  } else if (event === NETDEV_CHANGE) {
    const inDev = inDevGet(dev);
    if ((dev.flags & IFF_NOARP) !== 0) neighChangeaddr(arpTbl, dev);
    else if (!netifCarrierOk(dev) && (inDev === null || inDevArpEvictNocarrier(inDev))) neighCarrierDown(arpTbl, dev);
  }
}

// ---- setup -----------------------------------------------------------------------------------------------------------------------

const arpPacketType: PacketType = {
  symbol: "arp_packet_type",
  type: ETH_P_ARP,
  func: arpRcv,
};

export const arpNetOps: PernetOperations = {
  name: "arp",
  init(net: Net): number {
    const state = new NeighTableState(arpTbl, net);
    net.ipv4.arpState = state;
    neighSysctlRegister(net, "ipv4", "default", state.parms, state);
    return 0;
  },
  exit(net: Net): void {
    neighTableClear(net.ipv4.arpState);
  },
};

/** arp_init. */
export function arpInit(): void {
  netnsIpv4Init();
  registerPernetSubsys(arpNetOps);
  neighInit(arpTbl);
  devAddPack(arpPacketType);
  registerNetdeviceNotifier(arpNetdevEvent);
}
