/**
 * The IPv4 output path: from a transport's segment to the neighbour.
 *
 * ```
 *   ip_queue_xmit (TCP)      ip_append_data/ip_make_skb -> ip_send_skb (UDP, raw, ICMP)
 *          |                      |
 *          +----> ip_local_out <--+     length, checksum, LOCAL_OUT
 *                     | dst_output = dst->output
 *                ip_output / ip_mc_output        POST_ROUTING
 *                     |
 *               ip_finish_output                 MTU: one packet, a GSO super-packet, or ip_fragment
 *                     |
 *               ip_finish_output2                dst->hh: neigh_hh_output, else neighbour->output
 * ```
 *
 * Every function here consumes the skb, whatever it returns. Results: 0, NET_XMIT_* (positive), or a negative errno.
 */

import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  IPCB_FLAGS,
  IPCB_OPTLEN,
  MAX_SKB_FRAGS,
  PACKET_LOOPBACK,
  SHINFO_FRAG_LIST,
  SKB_DATA_LEN,
  SKB_DESTRUCTOR,
  SKB_DESTRUCTOR_NONE,
  SKB_DESTRUCTOR_WFREE,
  SKB_FLAG_DST_PENDING_CONFIRM,
  SKB_FLAGS,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_SK,
  SKB_TRUESIZE,
} from "../../../assembly/layout.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { kernel } from "../../kernel/kernel.ts";
import { ipIncStats, ipUpdPoStats } from "../../kernel/mib.ts";
import { getRandomU32, getRandomU32Below } from "../../kernel/random.ts";
import { siphash_3u32 } from "../../kernel/siphash.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import {
  skbCloned,
  skbCsum,
  skbData,
  skbFragList,
  skbFragSize,
  skbFragSizeAdd,
  skbGsoSegs,
  skbHash,
  skbHeadlen,
  skbHeadroom,
  skbIgnoreDf,
  skbIpSummed,
  skbIsGso,
  skbLen,
  skbMark,
  skbNetworkHeader,
  skbNetworkHeaderLen,
  skbNetworkOffset,
  skbNext,
  skbNrFrags,
  skbPktType,
  skbPriority,
  skbProtocol,
  skbResetMacHeader,
  skbResetNetworkHeader,
  skbSetCsum,
  skbSetFlag,
  skbSetHash,
  skbSetIgnoreDf,
  skbSetIpSummed,
  skbSetMark,
  skbSetNetworkHeader,
  skbSetNext,
  skbSetPktType,
  skbSetPriority,
  skbSetProtocol,
  skbSetTransportHeader,
  skbShared,
  skbShinfo,
  skbTailroom,
  skbTransportHeader,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_IP_OUTNOROUTES,
  SKB_DROP_REASON_NEIGH_CREATEFAIL,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PKT_TOO_BIG,
  SKB_DROP_REASON_SKB_GSO_SEG,
} from "../../uapi/dropreason.ts";
import { EFAULT, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS, ENOMEM } from "../../uapi/errno.ts";
import { ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED } from "../../uapi/icmp.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { IP_PMTUDISC_DO, IP_PMTUDISC_PROBE, IPPROTO_ICMP, IPPROTO_TCP } from "../../uapi/in.ts";
import { IP_DF, IP_MF, IP_OFFSET } from "../../uapi/ip.ts";
import {
  IPSTATS_MIB_FRAGCREATES,
  IPSTATS_MIB_FRAGFAILS,
  IPSTATS_MIB_FRAGOKS,
  IPSTATS_MIB_OUTBCASTPKTS,
  IPSTATS_MIB_OUTDISCARDS,
  IPSTATS_MIB_OUTMCASTPKTS,
  IPSTATS_MIB_OUTNOROUTES,
  IPSTATS_MIB_OUTPKTS,
  IPSTATS_MIB_OUTREQUESTS,
} from "../../uapi/linux_mib.ts";
import { NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING, NFPROTO_IPV4 } from "../../uapi/netfilter.ts";
import {
  RT_SCOPE_UNIVERSE,
  RTCF_BROADCAST,
  RTCF_MULTICAST,
  RTN_BROADCAST,
  RTN_MULTICAST,
} from "../../uapi/rtnetlink.ts";
import { MSG_CONFIRM, MSG_MORE, MSG_PROBE, MSG_ZEROCOPY, SOCK_RAW } from "../../uapi/socket.ts";
import type { NetDevice } from "../core/dev.ts";
import { NET_XMIT_CN, NETIF_F_CSUM_MASK, NETIF_F_SG, netifRx, netifSkbFeatures } from "../core/dev.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMtu, dstOutput } from "../core/dst.ts";
import { sockTxTimestamp } from "../core/errqueue.ts";
import { skbGsoSegment, skbGsoValidateNetworkLen } from "../core/gso.ts";
import { msgIterCopyTo } from "../core/iov_iter.ts";
import { dstNeighLookup, neighHhOutput, sockConfirmNeigh } from "../core/neighbour.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { NETIF_F_GSO_MASK } from "../core/netdev_features.ts";
import {
  __skbPull,
  __skbTrim,
  allocSkb,
  consumeSkb,
  csumBlockAdd,
  csumFold,
  csumPartial,
  csumSub,
  getPage,
  kfreeSkb,
  kfreeSkbList,
  kfreeSkbReason,
  pskbTrim,
  SkBuffHead,
  skbCanCoalesce,
  skbChecksumHelp,
  skbClone,
  skbCopyAndCsumBits,
  skbCopyBits,
  skbDequeue,
  skbDequeueTail,
  skbDev,
  skbDst,
  skbDstSet,
  skbExpandHead,
  skbFillPageDesc,
  skbLenAdd,
  skbPeekTail,
  skbPush,
  skbPut,
  skbQueueTail,
  skbReserve,
  skbSetDev,
  skbSetTstamp,
  skbSk,
  skbUarg,
} from "../core/skbuff.ts";
import { msgZerocopyRealloc, netZcopyPut, netZcopyPutAbort, skbZcopySet } from "../core/skbuff.zerocopy.ts";
import type { Msghdr, Sock } from "../core/sock.ts";
import {
  __skDstCheck,
  ErrBox,
  SOCK_ZEROCOPY,
  skbSetOwnerSkSafe,
  skbSetOwnerW,
  skPageFragRefill,
  skSetupCaps,
  sockAllocSendSkb,
  sockFlag,
} from "../core/sock.ts";
import { NF_HOOK, NF_HOOK_COND, nfHook } from "../netfilter/core.ts";
import { FLOWI_FLAG_ANYSRC, FlowI4, flowi4InitOutput } from "./flow.ts";
import { icmpOutCount, icmpSend } from "./icmp.ts";
import { igmpMcInit } from "./igmp_report.ts";
import type { InetSock } from "./inet_sock.ts";
import { inetInitpeers } from "./inetpeer.ts";
import type { IpcmCookie, IpReplyArg } from "./ip.ts";
import {
  INET_DSCP_MASK,
  InetCork,
  IP_REPLY_ARG_NOSRCCHECK,
  IPCORK_OPT,
  IPHDR_SIZE,
  IPSKB_FRAG_COMPLETE,
  IPSKB_FRAG_PMTU,
  IPSKB_REROUTED,
  IPV4_MAX_PMTU,
  IPV4_MIN_MTU,
  inetSkFlowiFlags,
  ipcbClear,
  ipcbFlags,
  ipcbFragMaxSize,
  ipcbSetFlags,
  ipDontFragment,
  ipHdr,
  ipHdrDaddr,
  ipHdrFragOff,
  ipHdrLen,
  ipHdrProtocol,
  ipHdrSaddr,
  ipHdrSetDaddr,
  ipHdrSetFragOff,
  ipHdrSetId,
  ipHdrSetProtocol,
  ipHdrSetSaddr,
  ipHdrSetTos,
  ipHdrSetTotLen,
  ipHdrSetTtl,
  ipHdrSetVersionIhl,
  ipHdrTtl,
  ipIsFragment,
  ipSelectTtl,
  ipSendCheck,
  ipSkbDstMtu,
  ipSkIgnoreDf,
  ipSkUsePmtu,
} from "./ip.ts";
import { IpOptions } from "./ip_opt.ts";
import { ipOptionsBuild, ipOptionsEcho, ipOptionsFragment } from "./ip_options.ts";
import { ipLocalError } from "./ip_sockglue.ts";
import { ipv4NetfilterInit } from "./netfilter.ts";
import type { Rtable } from "./route.ts";
import { ip4DstHoplimit, ipRouteOutputFlow } from "./route.ts";

type Output = (net: Net, sk: Sock | null, skb: number) => number;

/** LL_RESERVED_SPACE: headroom that a packet needs for the device's header, in steps of the header cache's 16 bytes. */
/* notrace */
export function LL_RESERVED_SPACE(dev: NetDevice): number {
  return ((dev.hardHeaderLen + dev.neededHeadroom) & ~15) + 16;
}

/** net_xmit_errno: congestion notification is no error, a drop is -ENOBUFS. */
/* notrace */
export function netXmitErrno(e: number): number {
  return e !== NET_XMIT_CN ? -ENOBUFS : 0;
}

// ---- identification -------------------------------------------------------------------------------------------------

const IP_IDENTS = 2048;

/**
 * The generators of IP identifications (RFC 6864: unique per source, destination and protocol while packets of that
 * flow may live). A keyed hash picks one of many counters, and time that passed adds a random step, so that a stranger
 * can't count the host's packets. The counters are the machine's, the key is the namespace's, as in Linux.
 */
class IpIdents {
  readonly ids: Uint32Array = new Uint32Array(IP_IDENTS);
  readonly tstamps: Float64Array = new Float64Array(IP_IDENTS);
  seeded = false;
}

const identsOfKernel = new WeakMap<Kernel, IpIdents>();

/** IPv4 output's part of a namespace. */
export class NetnsIpOutput {
  readonly idents: IpIdents;
  readonly idKey: Uint32Array = new Uint32Array(4);
  keyed = false;

  constructor(idents: IpIdents) {
    this.idents = idents;
  }
}

declare module "../core/net_namespace.ts" {
  interface Net {
    ipOutput: NetnsIpOutput;
  }
}

function ipOutputNetInit(net: Net): number {
  let idents = identsOfKernel.get(net.kernel);
  if (idents === undefined) {
    idents = new IpIdents();
    identsOfKernel.set(net.kernel, idents);
  }
  net.ipOutput = new NetnsIpOutput(idents);
  return 0;
}

const ipOutputNetOps = { name: "ip_output", init: ipOutputNetInit, exit(_net: Net): void {} };

/** ip_init: run by inet_init; running it again does nothing. */
export function ipInit(): void {
  inetInitpeers();
  igmpMcInit();
  ipv4NetfilterInit();
  registerPernetSubsys(ipOutputNetOps);
}

/** __ip_select_ident: takes `segs` identifications of the flow's generator for the header at `iph`. */
export function __ipSelectIdent(net: Net, iph: number, segs: number): void {
  const ipOutput = net.ipOutput;
  if (!ipOutput.keyed) {
    ipOutput.keyed = true;
    for (let i = 0; i < 4; i++) ipOutput.idKey[i] = getRandomU32();
  }
  const ids = ipOutput.idents.ids;
  const tstamps = ipOutput.idents.tstamps;
  if (!ipOutput.idents.seeded) {
    ipOutput.idents.seeded = true;
    for (let i = 0; i < IP_IDENTS; i++) ids[i] = getRandomU32();
    tstamps.fill(kernel.jiffies);
  }
  const i = siphash_3u32(ipHdrDaddr(iph), ipHdrSaddr(iph), ipHdrProtocol(iph), ipOutput.idKey) & (IP_IDENTS - 1);
  const now = kernel.jiffies;
  let delta = 0;
  if (tstamps[i] !== now) {
    delta = getRandomU32Below(now - tstamps[i]);
    tstamps[i] = now;
  }
  ids[i] += segs + delta;
  ipHdrSetId(iph, (ids[i] - segs) & 0xffff);
}

/**
 * ip_select_ident_segs. A connected socket has a generator of its own, and counts one for each segment, for header compressors
 * and GRO. Else a packet with DF can't be fragmented, so its id says nothing (RFC 6864 §4).
 */
/* notrace */
export function ipSelectIdentSegs(net: Net, skb: number, sk: Sock | null, segs: number): void {
  const iph = ipHdr(skb);
  if (sk !== null && sk.skcDaddr !== 0) {
    const inet = sk as InetSock;
    const id = inet.inetId;
    inet.inetId = (id + segs) & 0xffff;
    ipHdrSetId(iph, id & 0xffff);
  } else if ((ipHdrFragOff(iph) & IP_DF) === 0 || skbIgnoreDf(skb)) __ipSelectIdent(net, iph, segs);
  else ipHdrSetId(iph, 0);
}

// ---- from the transport ---------------------------------------------------------------------------------------------

/** __ip_local_out: 1 = the caller goes on with dst_output; else the skb is gone. */
export function __ipLocalOut(net: Net, sk: Sock | null, skb: number): number {
  const iph = ipHdr(skb);
  ipIncStats(net, IPSTATS_MIB_OUTREQUESTS);
  // A super-packet longer than the field counts (BIG TCP) says 0; segmentation writes the real ones.
  const len = skbLen(skb);
  ipHdrSetTotLen(iph, len <= 0xffff ? len : 0);
  ipSendCheck(iph);
  skbSetProtocol(skb, ETH_P_IP);
  const dst = skbDst(skb) as DstEntry;
  return nfHook(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, sk, skb, null, dst.dev, dstOutput);
}

/** ip_local_out. */
export function ipLocalOut(net: Net, sk: Sock | null, skb: number): number {
  const err = __ipLocalOut(net, sk, skb);
  return err === 1 ? dstOutput(net, sk, skb) : err;
}

/** ip_build_and_send_pkt: a packet from a listening socket (SYN-ACK), which has its dst and no connected socket. */
export function ipBuildAndSendPkt(
  skb: number,
  sk: Sock,
  saddr: number,
  daddr: number,
  opt: IpOptions | null,
  tos: number,
): number {
  const inet = sk as InetSock;
  const rt = skbDst(skb) as Rtable;
  const net = sk.net;
  const optlen = opt !== null ? opt.optlen : 0;
  const iph = skbPush(skb, IPHDR_SIZE + optlen);
  skbResetNetworkHeader(skb);
  ipHdrSetVersionIhl(iph, (IPHDR_SIZE + optlen) >>> 2);
  ipHdrSetTos(iph, tos);
  ipHdrSetTtl(iph, ipSelectTtl(inet, rt));
  ipHdrSetProtocol(iph, sk.skProtocol);
  ipHdrSetSaddr(iph, saddr);
  ipHdrSetDaddr(iph, opt !== null && opt.srr !== 0 ? opt.faddr : daddr);
  if (skbLen(skb) <= IPV4_MIN_MTU || ipDontFragment(sk, rt)) {
    // No router may fragment so small a packet, so it needs no identification.
    ipHdrSetFragOff(iph, IP_DF);
    ipHdrSetId(iph, 0);
  } else {
    ipHdrSetFragOff(iph, 0);
    if (sk.skProtocol === IPPROTO_TCP) ipHdrSetId(iph, getRandomU32() & 0xffff);
    else __ipSelectIdent(net, iph, 1);
  }
  if (optlen !== 0) ipOptionsBuild(skb, opt as IpOptions, daddr, rt);
  skbSetPriority(skb, sk.skPriority);
  if (skbMark(skb) === 0) skbSetMark(skb, sk.skMark);
  return ipLocalOut(net, skbSk(skb), skb);
}

/** __ip_queue_xmit: a segment of a connected socket. `fl` holds the connection's addresses; the route comes from it. */
/* notrace */
export function __ipQueueXmit(sk: Sock, skb: number, fl: FlowI4, tos: number): number {
  const inet = sk as InetSock;
  const net = sk.net;
  const inetOpt = inet.inetOpt;

  // Someone (a tunnel, SCTP) may have routed it already.
  let rt = skbDst(skb) as Rtable | null;
  if (rt === null) {
    rt = __skDstCheck(sk, 0) as Rtable | null;
    if (rt === null) {
      const daddr = inetOpt !== null && inetOpt.srr !== 0 ? inetOpt.faddr : inet.skcDaddr;
      flowi4InitOutput(
        fl,
        sk.skcBoundDevIf,
        sk.skMark,
        tos & INET_DSCP_MASK,
        RT_SCOPE_UNIVERSE,
        sk.skProtocol,
        inetSkFlowiFlags(sk),
        daddr,
        inet.inetSaddr,
        inet.skcDport,
        inet.inetSport,
      );
      // When this fails the transport's own retransmission tries again.
      rt = ipRouteOutputFlow(net, fl, sk);
      if (rt === null) return ipQueueXmitNoRoute(net, skb);
      skSetupCaps(sk, rt);
    }
    skbDstSet(skb, rt);
  }
  if (inetOpt !== null && inetOpt.isStrictroute && rt.rtUsesGateway) return ipQueueXmitNoRoute(net, skb);

  const optlen = inetOpt !== null ? inetOpt.optlen : 0;
  const iph = skbPush(skb, IPHDR_SIZE + optlen);
  skbResetNetworkHeader(skb);
  dv.setUint16(iph, ((0x40 | ((IPHDR_SIZE + optlen) >>> 2)) << 8) | (tos & 0xff));
  ipHdrSetFragOff(iph, ipDontFragment(sk, rt) && !skbIgnoreDf(skb) ? IP_DF : 0);
  ipHdrSetTtl(iph, ipSelectTtl(inet, rt));
  ipHdrSetProtocol(iph, sk.skProtocol);
  ipHdrSetSaddr(iph, fl.saddr);
  ipHdrSetDaddr(iph, fl.daddr);
  if (optlen !== 0) ipOptionsBuild(skb, inetOpt as IpOptions, inet.skcDaddr, rt);

  const segs = skbGsoSegs(skb);
  ipSelectIdentSegs(net, skb, sk, segs !== 0 ? segs : 1);
  skbSetPriority(skb, sk.skPriority);
  skbSetMark(skb, sk.skMark);
  return ipLocalOut(net, sk, skb);
}

/* notrace */
function ipQueueXmitNoRoute(net: Net, skb: number): number {
  ipIncStats(net, IPSTATS_MIB_OUTNOROUTES);
  kfreeSkbReason(skb, SKB_DROP_REASON_IP_OUTNOROUTES);
  return -EHOSTUNREACH;
}

/** ip_queue_xmit: the queue_xmit of ipv4_specific. */
export function ipQueueXmit(sk: Sock, skb: number, fl: FlowI4): number {
  return __ipQueueXmit(sk, skb, fl, (sk as InetSock).tos);
}

// ---- behind the route -----------------------------------------------------------------------------------------------

/** ip_output: dst->output of unicast routes. */
export function ipOutput(net: Net, sk: Sock | null, skb: number): number {
  const dev = (skbDst(skb) as DstEntry).dev;
  const indev = skbDev(skb) as NetDevice | null;
  skbSetDev(skb, dev);
  skbSetProtocol(skb, ETH_P_IP);
  const cond = (u16[(skb + IPCB_FLAGS) >>> 1] & IPSKB_REROUTED) === 0;
  return NF_HOOK_COND(NFPROTO_IPV4, NF_INET_POST_ROUTING, net, sk, skb, indev, dev, ipFinishOutput, cond);
}

/** ip_mc_output: dst->output of multicasts and broadcasts that this host wants to hear as well. */
export function ipMcOutput(net: Net, sk: Sock | null, skb: number): number {
  const rt = skbDst(skb) as Rtable;
  const dev = rt.dev;
  skbSetDev(skb, dev);
  skbSetProtocol(skb, ETH_P_IP);
  if ((rt.rtFlags & RTCF_MULTICAST) !== 0) {
    if (sk === null || (sk as InetSock).mcLoop) ipMcLoopback(net, sk, skb, dev);
    // RFC 1112 §6.1: a ttl of 0 stays on this host.
    if (ipHdrTtl(ipHdr(skb)) === 0) {
      consumeSkb(skb);
      return 0;
    }
  }
  if ((rt.rtFlags & RTCF_BROADCAST) !== 0) ipMcLoopback(net, sk, skb, dev);
  const cond = (u16[(skb + IPCB_FLAGS) >>> 1] & IPSKB_REROUTED) === 0;
  return NF_HOOK_COND(NFPROTO_IPV4, NF_INET_POST_ROUTING, net, sk, skb, null, dev, ipFinishOutput, cond);
}

/* notrace */
function ipMcLoopback(net: Net, sk: Sock | null, skb: number, dev: NetDevice): void {
  const newskb = skbClone(skb);
  if (newskb !== 0) NF_HOOK(NFPROTO_IPV4, NF_INET_POST_ROUTING, net, sk, newskb, null, dev, ipMcFinishOutput);
}

/** ip_mc_finish_output: the copy goes back up. Its dst stays on it, whose input is ip_local_deliver. */
export function ipMcFinishOutput(_net: Net, _sk: Sock | null, skb: number): number {
  // dev_loopback_xmit.
  skbResetMacHeader(skb);
  const off = skbNetworkOffset(skb);
  if (off > 0) __skbPull(skb, off);
  skbSetPktType(skb, PACKET_LOOPBACK);
  if (skbIpSummed(skb) === CHECKSUM_NONE) skbSetIpSummed(skb, CHECKSUM_UNNECESSARY);
  netifRx(skb);
  return 0;
}

/** ip_finish_output: behind POST_ROUTING. */
export function ipFinishOutput(net: Net, sk: Sock | null, skb: number): number {
  return __ipFinishOutput(net, sk, skb);
}

/* notrace */
export function __ipFinishOutput(net: Net, sk: Sock | null, skb: number): number {
  const mtu = ipSkbDstMtu(sk, skb);
  if (skbIsGso(skb)) return ipFinishOutputGso(net, sk, skb, mtu);
  if (skbLen(skb) > mtu || ipcbFragMaxSize(skb) !== 0) return ipFragment(net, sk, skb, mtu, ipFinishOutput2);
  return ipFinishOutput2(net, sk, skb);
}

/**
 * ip_finish_output_gso: a super-packet is measured by its segments. They exceed the MTU only where a router forwards
 * what GRO put together, or the path MTU fell: it is cut up here then, and its segments are fragmented (or refused).
 */
function ipFinishOutputGso(net: Net, sk: Sock | null, skb: number, mtu: number): number {
  if (skbGsoValidateNetworkLen(skb, mtu)) return ipFinishOutput2(net, sk, skb);
  let segs = skbGsoSegment(skb, netifSkbFeatures(skb) & ~NETIF_F_GSO_MASK);
  if (segs === 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_SKB_GSO_SEG);
    return -ENOMEM;
  }
  consumeSkb(skb);
  let ret = 0;
  while (segs !== 0) {
    const next = skbNext(segs);
    skbSetNext(segs, 0);
    const err = ipFragment(net, sk, segs, mtu, ipFinishOutput2);
    if (err !== 0 && ret === 0) ret = err;
    segs = next;
  }
  return ret;
}

/** ip_finish_output2: one packet of at most the MTU meets its neighbour. */
export function ipFinishOutput2(net: Net, _sk: Sock | null, skb: number): number {
  const dst = skbDst(skb) as Rtable;
  const dev = dst.dev;
  const len = skbLen(skb);
  if (dst.rtType === RTN_MULTICAST) ipUpdPoStats(net, IPSTATS_MIB_OUTMCASTPKTS, len);
  else if (dst.rtType === RTN_BROADCAST) ipUpdPoStats(net, IPSTATS_MIB_OUTBCASTPKTS, len);
  ipUpdPoStats(net, IPSTATS_MIB_OUTPKTS, len);

  const hhLen = LL_RESERVED_SPACE(dev);
  if (skbHeadroom(skb) < hhLen && dev.headerOps !== null) {
    skb = skbExpandHead(skb, hhLen);
    if (skb === 0) return -ENOMEM;
  }

  let neigh = dst.neighbour;
  if (neigh === null || neigh.dead) {
    neigh = dstNeighLookup(dst, skb);
    if (neigh === null) {
      kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_CREATEFAIL);
      return -EINVAL;
    }
  }
  if ((u8[skb + SKB_FLAGS] & SKB_FLAG_DST_PENDING_CONFIRM) !== 0) sockConfirmNeigh(skb, neigh);
  const hh = dst.hh;
  if (hh !== null) return neighHhOutput(hh, skb);
  return neigh.output(neigh, skb);
}

// ---- fragmentation (RFC 791 §2.3, §3.2) -----------------------------------------------------------------------------

/**
 * ip_fragment: too long for the MTU. DF and not allowed to fragment: ICMP to the sender (RFC 1191 §4) and -EMSGSIZE.
 */
function ipFragment(net: Net, sk: Sock | null, skb: number, mtu: number, output: Output): number {
  const iph = ipHdr(skb);
  if ((ipHdrFragOff(iph) & IP_DF) === 0) return ipDoFragment(net, sk, skb, output);
  const fragMaxSize = ipcbFragMaxSize(skb);
  // What came in fragments that fit leaves in fragments, DF or not: the sender can send such.
  if (!skbIgnoreDf(skb) || (fragMaxSize !== 0 && fragMaxSize > mtu)) {
    ipIncStats(net, IPSTATS_MIB_FRAGFAILS);
    icmpSend(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu);
    kfreeSkbReason(skb, SKB_DROP_REASON_PKT_TOO_BIG);
    return -EMSGSIZE;
  }
  return ipDoFragment(net, sk, skb, output);
}

/** Bytes of head and frags, without the frag list (skb_pagelen). */
/* notrace */
function skbPagelen(skb: number): number {
  let len = skbHeadlen(skb);
  const nr = skbNrFrags(skb);
  for (let i = 0; i < nr; i++) len += skbFragSize(skb, i);
  return len;
}

/** ip_copy_metadata. */
/* notrace */
function ipCopyMetadata(to: number, from: number): void {
  skbSetPktType(to, skbPktType(from));
  skbSetPriority(to, skbPriority(from));
  skbSetProtocol(to, skbProtocol(from));
  skbDstSet(to, skbDst(from));
  skbSetDev(to, skbDev(from));
  skbSetMark(to, skbMark(from));
  skbSetHash(to, skbHash(from));
  ipcbClear(to);
}

/** True if the frag list of `skb` is cut just right for `mtu` bytes of data a fragment, and may be taken apart. */
/* notrace */
function ipFraglistFits(skb: number, hlen: number, mtu: number, llRs: number): boolean {
  const firstLen = skbPagelen(skb) - hlen;
  if (firstLen > mtu || (firstLen & 7) !== 0 || ipIsFragment(ipHdr(skb))) return false;
  if (skbCloned(skb) || skbHeadroom(skb) < llRs) return false;
  for (let frag = skbFragList(skb); frag !== 0; frag = skbNext(frag)) {
    const len = skbLen(frag);
    if (len > mtu || ((len & 7) !== 0 && skbNext(frag) !== 0)) return false;
    if (skbHeadroom(frag) < hlen + llRs || skbShared(frag) || skbCloned(frag)) return false;
  }
  return true;
}

/**
 * ip_do_fragment: sends the packet in fragments of at most the MTU. The frag list that ip_append_data or reassembly
 * made is taken apart where it fits; otherwise the data is copied.
 */
export function ipDoFragment(net: Net, sk: Sock | null, skb: number, output: Output): number {
  const rt = skbDst(skb) as Rtable;
  if (skbIpSummed(skb) === CHECKSUM_PARTIAL) {
    const err = skbChecksumHelp(skb);
    if (err !== 0) return ipFragFail(net, skb, err);
  }
  let mtu = ipSkbDstMtu(sk, skb);
  const fragMaxSize = ipcbFragMaxSize(skb);
  if (fragMaxSize !== 0 && fragMaxSize < mtu) mtu = fragMaxSize;
  const hlen = ipHdrLen(ipHdr(skb));
  mtu -= hlen;
  // Each fragment but the last carries a multiple of 8 bytes, so at least 8.
  if (mtu < 8) return ipFragFail(net, skb, -EMSGSIZE);
  ipcbSetFlags(skb, ipcbFlags(skb) | IPSKB_FRAG_COMPLETE);
  const llRs = LL_RESERVED_SPACE(rt.dev);
  if (skbFragList(skb) !== 0 && ipFraglistFits(skb, hlen, mtu, llRs)) {
    return ipFraglistXmit(net, sk, skb, hlen, output);
  }
  return ipFragSlow(net, sk, skb, hlen, mtu, llRs, output);
}

/* notrace */
function ipFragFail(net: Net, skb: number, err: number): number {
  kfreeSkbReason(skb, err === -ENOMEM ? SKB_DROP_REASON_NOMEM : SKB_DROP_REASON_NOT_SPECIFIED);
  ipIncStats(net, IPSTATS_MIB_FRAGFAILS);
  return err;
}

/** The fast path: every skb of the frag list becomes a fragment. */
/* notrace */
function ipFraglistXmit(net: Net, sk: Sock | null, skb: number, hlen: number, output: Output): number {
  const owned = u8[skb + SKB_DESTRUCTOR] === SKB_DESTRUCTOR_WFREE;
  let frag = skbFragList(skb);
  for (let f = frag; f !== 0; f = skbNext(f)) {
    if (owned) {
      // The first one was charged for all of them.
      u32[(f + SKB_SK) >>> 2] = u32[(skb + SKB_SK) >>> 2];
      u8[f + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_WFREE;
    }
    u32[(skb + SKB_TRUESIZE) >>> 2] -= u32[(f + SKB_TRUESIZE) >>> 2];
  }
  const flags = ipcbFlags(skb);
  const optlen = u8[skb + IPCB_OPTLEN];
  const shinfo = skbShinfo(skb);
  u32[(shinfo + SHINFO_FRAG_LIST) >>> 2] = 0;
  const firstLen = skbPagelen(skb);
  u32[(skb + SKB_DATA_LEN) >>> 2] = firstLen - skbHeadlen(skb);
  u32[(skb + SKB_LEN) >>> 2] = firstLen;
  let iph = ipHdr(skb);
  ipHdrSetTotLen(iph, firstLen);
  ipHdrSetFragOff(iph, IP_MF);
  ipSendCheck(iph);

  let offset = 0;
  let err: number;
  while (true) {
    // The next header is copied from this packet before that goes down.
    if (frag !== 0) {
      const first = offset === 0;
      offset += skbLen(skb) - hlen;
      skbSetIpSummed(frag, CHECKSUM_NONE);
      // The data pointer is where the transport header would be, also for a fragment without one.
      skbSetTransportHeader(frag, 0);
      const niph = skbPush(frag, hlen);
      skbResetNetworkHeader(frag);
      u8.copyWithin(niph, iph, iph + hlen);
      ipHdrSetTotLen(niph, skbLen(frag));
      ipCopyMetadata(frag, skb);
      ipcbSetFlags(frag, flags);
      if (optlen !== 0) {
        u8[frag + IPCB_OPTLEN] = optlen;
        if (first) ipOptionsFragment(frag);
      }
      ipHdrSetFragOff(niph, (offset >>> 3) | (skbNext(frag) !== 0 ? IP_MF : 0));
      ipSendCheck(niph);
      iph = niph;
    }
    err = output(net, sk, skb);
    if (err === 0) ipIncStats(net, IPSTATS_MIB_FRAGCREATES);
    if (err !== 0 || frag === 0) break;
    skb = frag;
    frag = skbNext(frag);
    skbSetNext(skb, 0);
  }
  if (err === 0) {
    ipIncStats(net, IPSTATS_MIB_FRAGOKS);
    return 0;
  }
  if (frag !== 0) kfreeSkbList(frag);
  ipIncStats(net, IPSTATS_MIB_FRAGFAILS);
  return err;
}

/** The slow path: the data is copied into new packets. */
/* notrace */
function ipFragSlow(
  net: Net,
  sk: Sock | null,
  skb: number,
  hlen: number,
  mtu: number,
  llRs: number,
  output: Output,
): number {
  const fragOff = ipHdrFragOff(ipHdr(skb));
  const flags = ipcbFlags(skb);
  const optlen = u8[skb + IPCB_OPTLEN];
  const base = skbNetworkOffset(skb) + hlen;
  // A fragment that is fragmented again, and isn't the last of its datagram, has MF on each piece.
  const notLastFrag = fragOff & IP_MF;
  // A datagram that was reassembled here keeps its sender's path MTU discovery going.
  const df = (flags & IPSKB_FRAG_PMTU) !== 0 ? IP_DF : 0;
  let offset = (fragOff & IP_OFFSET) << 3;
  let left = skbLen(skb) - base;
  let ptr = 0;
  while (left > 0) {
    let len = left > mtu ? mtu : left;
    if (len < left) len &= ~7;
    const skb2 = allocSkb(len + hlen + llRs);
    if (skb2 === 0) return ipFragFail(net, skb, -ENOMEM);
    ipCopyMetadata(skb2, skb);
    skbReserve(skb2, llRs);
    const niph = skbPut(skb2, len + hlen);
    skbResetNetworkHeader(skb2);
    skbSetTransportHeader(skb2, hlen);
    if (u8[skb + SKB_DESTRUCTOR] === SKB_DESTRUCTOR_WFREE) skbSetOwnerW(skb2, skbSk(skb) as Sock);
    const iph = ipHdr(skb);
    u8.copyWithin(niph, iph, iph + hlen);
    if (skbCopyBits(skb, base + ptr, niph + hlen, len) !== 0) {
      kfreeSkb(skb2);
      return ipFragFail(net, skb, -EFAULT);
    }
    left -= len;
    ipcbSetFlags(skb2, flags);
    if (optlen !== 0) {
      u8[skb2 + IPCB_OPTLEN] = optlen;
      if (offset !== 0) ipOptionsFragment(skb2);
    }
    ipHdrSetFragOff(niph, (offset >>> 3) | df | (left > 0 || notLastFrag !== 0 ? IP_MF : 0));
    ipHdrSetTotLen(niph, len + hlen);
    ipSendCheck(niph);
    ptr += len;
    offset += len;
    const err = output(net, sk, skb2);
    if (err !== 0) return ipFragFail(net, skb, err);
    ipIncStats(net, IPSTATS_MIB_FRAGCREATES);
  }
  consumeSkb(skb);
  ipIncStats(net, IPSTATS_MIB_FRAGOKS);
  return 0;
}

// ---- datagrams from user memory -------------------------------------------------------------------------------------

/**
 * Copies `len` bytes at `offset` of what is sent to memory at `to`. Unless the skb is CHECKSUM_PARTIAL it adds their
 * sum to skb->csum; `odd`: how many summed bytes stand before. 0 or a negative errno.
 */
export type GetFrag = (from: unknown, to: number, offset: number, len: number, odd: number, skb: number) => number;

/** ip_generic_getfrag: from the iterator of a Msghdr. */
export function ipGenericGetfrag(
  from: unknown,
  to: number,
  _offset: number,
  len: number,
  odd: number,
  skb: number,
): number {
  const err = msgIterCopyTo(to, from as Msghdr, len);
  if (err < 0) return err;
  if (u8[skb + SKB_IP_SUMMED] !== CHECKSUM_PARTIAL) {
    skbSetCsum(skb, csumBlockAdd(skbCsum(skb), csumPartial(to, len, 0), odd));
  }
  return 0;
}

/** Larger linear buffers are costly to come by: the rest of the data goes into page frags. */
const SKB_MAX_ALLOC = 16000;
/** A linear buffer can't be larger than this at all. */
const SKB_MAX_LINEAR = 60000;

const appendErr = new ErrBox();

/* notrace */
function ipLocalEmsgsize(sk: Sock, fl4: FlowI4, mtu: number): number {
  ipLocalError(sk, EMSGSIZE, fl4.daddr, (sk as InetSock).skcDport, mtu);
  return -EMSGSIZE;
}

/**
 * __ip_append_data: puts `length` bytes (`transhdrlen` of them the transport's header, left for it to fill in) behind
 * what `queue` holds, in skbs that are fragments already. 0 or a negative errno; what was queued stays queued.
 */
function __ipAppendData(
  sk: Sock,
  fl4: FlowI4,
  queue: SkBuffHead,
  cork: InetCork,
  getfrag: GetFrag,
  from: unknown,
  length: number,
  transhdrlen: number,
  flags: number,
): number {
  const rt = cork.dst as Rtable;
  const dev = rt.dev;
  const opt = cork.opt;
  let skb = skbPeekTail(queue);
  const mtu = cork.gsoSize !== 0 ? IPV4_MAX_PMTU : cork.fragsize;
  const hhLen = LL_RESERVED_SPACE(dev);
  const fragheaderlen = IPHDR_SIZE + (opt !== null ? opt.optlen : 0);
  const maxfraglen = ((mtu - fragheaderlen) & ~7) + fragheaderlen;
  const maxnonfragsize = ipSkIgnoreDf(sk) ? IPV4_MAX_PMTU : mtu;
  if (cork.length + length > maxnonfragsize - fragheaderlen) {
    return ipLocalEmsgsize(sk, fl4, mtu - (opt !== null ? opt.optlen : 0));
  }

  // One packet that leaves whole: its sum can be left to the device.
  let csummode = CHECKSUM_NONE;
  if (
    transhdrlen !== 0 &&
    length + fragheaderlen <= mtu &&
    (dev.features & NETIF_F_CSUM_MASK) !== 0 &&
    ((flags & MSG_MORE) === 0 || cork.gsoSize !== 0)
  ) {
    csummode = CHECKSUM_PARTIAL;
  }

  // MSG_ZEROCOPY: bytes are copied, but their sender is told when the datagram is gone.
  let uarg = 0;
  let newUarg = false;
  if ((flags & MSG_ZEROCOPY) !== 0 && length > 0 && sockFlag(sk, SOCK_ZEROCOPY)) {
    const prev = skb !== 0 ? skbUarg(skb) : 0;
    uarg = msgZerocopyRealloc(sk, length, prev);
    if (uarg === 0) return -ENOBUFS;
    newUarg = uarg !== prev;
    if (skb !== 0) skbZcopySet(skb, uarg);
  }

  cork.length += length;
  let offset = 0;
  let err = 0;
  while (length > 0) {
    let copy = 0;
    if (skb !== 0) {
      copy = mtu - skbLen(skb);
      // Another fragment will follow, so this one ends on a multiple of 8.
      if (copy < length) copy = maxfraglen - skbLen(skb);
    }
    if (copy <= 0) {
      const prev = skb;
      // What stands in the last one beyond the multiple of 8 moves on into the next.
      const fraggap = prev !== 0 ? Math.max(0, skbLen(prev) - maxfraglen) : 0;
      let datalen = length + fraggap;
      if (datalen > mtu - fragheaderlen) datalen = maxfraglen - fragheaderlen;
      const fraglen = datalen + fragheaderlen;
      // User memory tends to be 8-aligned, and copies between memories that agree modulo 8 are several times faster.
      const pad = (transhdrlen & 3) === 0 ? -(hhLen + fragheaderlen + transhdrlen) & 7 : 0;
      const allocExtra = hhLen + pad + rt.trailerLen;
      const sg = (dev.features & NETIF_F_SG) !== 0;
      let alloclen = fraglen;
      let pagedlen = 0;
      if ((flags & MSG_MORE) !== 0 && !sg && mtu <= SKB_MAX_LINEAR) alloclen = mtu;
      else if (fraglen + allocExtra > SKB_MAX_LINEAR || (fraglen + allocExtra > SKB_MAX_ALLOC && sg)) {
        alloclen = fragheaderlen + transhdrlen + fraggap;
        pagedlen = datalen - transhdrlen - fraggap;
      }
      alloclen += allocExtra;
      if (transhdrlen !== 0) {
        skb = sockAllocSendSkb(sk, alloclen, appendErr);
        err = appendErr.value;
      } else {
        skb = 0;
        err = -ENOBUFS;
        if (sk.skWmemAlloc - 1 <= 2 * sk.skSndbuf) {
          skb = allocSkb(alloclen);
          if (skb !== 0) skbSetOwnerW(skb, sk);
        }
      }
      if (skb === 0) break;
      err = 0;
      skbSetIpSummed(skb, csummode);
      skbSetCsum(skb, 0);
      ipcbClear(skb);
      skbReserve(skb, hhLen + pad);
      let data = skbPut(skb, fraglen - pagedlen);
      skbSetNetworkHeader(skb, 0);
      skbSetTransportHeader(skb, fragheaderlen);
      data += fragheaderlen;
      if (fraggap > 0) {
        const moved = skbCopyAndCsumBits(prev, maxfraglen, data + transhdrlen, fraggap);
        skbSetCsum(skb, moved);
        skbSetCsum(prev, csumSub(skbCsum(prev), moved));
        data += fraggap;
        pskbTrim(prev, maxfraglen);
      }
      copy = datalen - transhdrlen - fraggap - pagedlen;
      if (copy > 0) {
        err = getfrag(from, data + transhdrlen, offset, copy, fraggap, skb);
        if (err < 0) {
          kfreeSkb(skb);
          break;
        }
        offset += copy;
      } else copy = 0;
      length -= copy + transhdrlen;
      transhdrlen = 0;
      csummode = CHECKSUM_NONE;
      if ((flags & MSG_CONFIRM) !== 0 && prev === 0) skbSetFlag(skb, SKB_FLAG_DST_PENDING_CONFIRM);
      if (uarg !== 0) skbZcopySet(skb, uarg);
      if (prev === 0 && cork.tsflags !== 0) sockTxTimestamp(skb, sk, cork.tsflags, cork.tsOptId);
      skbQueueTail(queue, skb);
      continue;
    }

    if (copy > length) copy = length;
    if ((dev.features & NETIF_F_SG) === 0 && skbNrFrags(skb) === 0 && skbTailroom(skb) >= copy) {
      const off = skbLen(skb);
      err = getfrag(from, skbPut(skb, copy), offset, copy, off, skb);
      if (err < 0) {
        __skbTrim(skb, off);
        break;
      }
    } else {
      const i = skbNrFrags(skb);
      if (!skPageFragRefill(sk)) {
        err = -ENOMEM;
        break;
      }
      const pfrag = sk.pageFrag;
      const grow = skbCanCoalesce(skb, i, pfrag.page, pfrag.offset);
      if (!grow && i === MAX_SKB_FRAGS) {
        err = -EMSGSIZE;
        break;
      }
      const room = pfrag.size - pfrag.offset;
      if (copy > room) copy = room;
      err = getfrag(from, pfrag.page + pfrag.offset, offset, copy, skbLen(skb), skb);
      if (err < 0) break;
      if (grow) skbFragSizeAdd(skb, i - 1, copy);
      else {
        skbFillPageDesc(skb, i, pfrag.page, pfrag.offset, copy);
        getPage(pfrag.page);
      }
      pfrag.offset += copy;
      skbLenAdd(skb, copy);
      sk.skWmemAlloc += copy;
    }
    offset += copy;
    length -= copy;
  }
  if (err < 0) {
    cork.length -= length;
    ipIncStats(sk.net, IPSTATS_MIB_OUTDISCARDS);
    if (uarg !== 0) netZcopyPutAbort(uarg, newUarg);
  } else if (newUarg) netZcopyPut(uarg);
  return err;
}

/**
 * ip_setup_cork: what the first call fixes for the whole datagram. 0, or -ENETUNREACH for an MTU that IPv4 can't use.
 */
/* notrace */
function ipSetupCork(sk: Sock, cork: InetCork, ipc: IpcmCookie, rt: DstEntry): number {
  cork.fragsize = ipSkUsePmtu(sk) ? dstMtu(rt) : Math.min(rt.dev.mtu, IPV4_MAX_PMTU);
  if (cork.fragsize < IPV4_MIN_MTU) return -ENETUNREACH;
  cork.opt = ipc.opt;
  if (ipc.opt !== null) {
    cork.flags |= IPCORK_OPT;
    cork.addr = ipc.addr;
  }
  cork.gsoSize = ipc.gsoSize;
  cork.dst = rt;
  cork.length = 0;
  cork.ttl = ipc.ttl;
  cork.tos = ipc.tos;
  cork.mark = ipc.mark;
  cork.priority = ipc.priority;
  cork.transmitTime = ipc.transmitTime;
  cork.tsflags = ipc.tsflags;
  cork.tsOptId = ipc.tsOptId;
  return 0;
}

/* notrace */
function ipCorkRelease(cork: InetCork): void {
  cork.flags &= ~IPCORK_OPT;
  cork.opt = null;
  cork.dst = null;
}

/** &inet_sk(sk)->cork. */
/* notrace */
export function inetCork(inet: InetSock): InetCork {
  let cork = inet.cork;
  if (cork === null) {
    cork = new InetCork();
    inet.cork = cork;
  }
  return cork;
}

/**
 * ip_append_data: adds to the datagram that the socket is corked on, or begins one. `rt` counts for the first call
 * only. 0, or a negative errno (-EMSGSIZE: longer than a datagram, or than the path of a socket that does not
 * fragment; -EAGAIN: the send buffer is full); the caller then drops the whole with ipFlushPendingFrames.
 */
export function ipAppendData(
  sk: Sock,
  fl4: FlowI4,
  getfrag: GetFrag,
  from: unknown,
  length: number,
  transhdrlen: number,
  ipc: IpcmCookie,
  rt: DstEntry,
  flags: number,
): number {
  if ((flags & MSG_PROBE) !== 0) return 0;
  const cork = inetCork(sk as InetSock);
  if (skbPeekTail(sk.skWriteQueue) === 0) {
    const err = ipSetupCork(sk, cork, ipc, rt);
    if (err < 0) return err;
  } else transhdrlen = 0;
  return __ipAppendData(sk, fl4, sk.skWriteQueue, cork, getfrag, from, length, transhdrlen, flags);
}

/** __ip_make_skb: the queued fragments as one datagram (the first one, with the others as its frag list). 0 = none. */
function __ipMakeSkb(sk: Sock, fl4: FlowI4, queue: SkBuffHead, cork: InetCork): number {
  const skb = skbDequeue(queue);
  if (skb === 0) {
    ipCorkRelease(cork);
    return 0;
  }
  const inet = sk as InetSock;
  const net = sk.net;
  const rt = cork.dst as Rtable;
  if (skbData(skb) < skbNetworkHeader(skb)) __skbPull(skb, skbNetworkOffset(skb));

  const hlen = skbNetworkHeaderLen(skb);
  let tail = 0;
  for (let tmp = skbDequeue(queue); tmp !== 0; tmp = skbDequeue(queue)) {
    __skbPull(tmp, hlen);
    skbSetNext(tmp, 0);
    if (tail === 0) u32[(skbShinfo(skb) + SHINFO_FRAG_LIST) >>> 2] = tmp;
    else skbSetNext(tail, tmp);
    tail = tmp;
    const len = skbLen(tmp);
    u32[(skb + SKB_LEN) >>> 2] += len;
    u32[(skb + SKB_DATA_LEN) >>> 2] += len;
    // The first one carries the charge of all.
    u32[(skb + SKB_TRUESIZE) >>> 2] += u32[(tmp + SKB_TRUESIZE) >>> 2];
    u8[tmp + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_NONE;
    u32[(tmp + SKB_SK) >>> 2] = 0;
  }

  // Unless the user demanded path MTU discovery, this host may fragment what comes out longer than the path.
  skbSetIgnoreDf(skb, ipSkIgnoreDf(sk));
  const pmtudisc = inet.pmtudisc;
  const df =
    pmtudisc === IP_PMTUDISC_DO ||
    pmtudisc === IP_PMTUDISC_PROBE ||
    (skbLen(skb) <= dstMtu(rt) && ipDontFragment(sk, rt))
      ? IP_DF
      : 0;
  const opt = (cork.flags & IPCORK_OPT) !== 0 ? cork.opt : null;
  const ttl = cork.ttl !== 0 ? cork.ttl : rt.rtType === RTN_MULTICAST ? inet.mcTtl : ipSelectTtl(inet, rt);

  const iph = ipHdr(skb);
  ipHdrSetVersionIhl(iph, (IPHDR_SIZE + (opt !== null ? opt.optlen : 0)) >>> 2);
  ipHdrSetTos(iph, cork.tos !== -1 ? cork.tos : inet.tos);
  ipHdrSetFragOff(iph, df);
  ipHdrSetTtl(iph, ttl);
  ipHdrSetProtocol(iph, sk.skProtocol);
  ipHdrSetSaddr(iph, fl4.saddr);
  ipHdrSetDaddr(iph, fl4.daddr);
  ipSelectIdentSegs(net, skb, sk, 1);
  if (opt !== null) ipOptionsBuild(skb, opt, cork.addr, rt);

  skbSetPriority(skb, cork.priority);
  skbSetMark(skb, cork.mark);
  // SCM_TXTIME: a qdisc that knows times (fq) keeps the packet until then.
  if (cork.transmitTime !== 0) skbSetTstamp(skb, cork.transmitTime);
  skbDstSet(skb, rt);
  if (sk.skProtocol === IPPROTO_ICMP) {
    icmpOutCount(net, sk.skType === SOCK_RAW && !inet.hdrincl ? fl4.fl4IcmpType : u8[skbTransportHeader(skb)]);
  }
  ipCorkRelease(cork);
  return skb;
}

/** ip_finish_skb: takes the corked datagram, complete; 0 = there is none. */
export function ipFinishSkb(sk: Sock, fl4: FlowI4): number {
  return __ipMakeSkb(sk, fl4, sk.skWriteQueue, inetCork(sk as InetSock));
}

/** ip_send_skb. 0 or a negative errno; congestion notification counts as success. */
export function ipSendSkb(net: Net, skb: number): number {
  let err = ipLocalOut(net, skbSk(skb), skb);
  if (err !== 0) {
    if (err > 0) err = netXmitErrno(err);
    if (err !== 0) ipIncStats(net, IPSTATS_MIB_OUTDISCARDS);
  }
  return err;
}

/** ip_push_pending_frames: sends the corked datagram. */
export function ipPushPendingFrames(sk: Sock, fl4: FlowI4): number {
  const skb = ipFinishSkb(sk, fl4);
  return skb !== 0 ? ipSendSkb(sk.net, skb) : 0;
}

function __ipFlushPendingFrames(queue: SkBuffHead, cork: InetCork): void {
  for (let skb = skbDequeueTail(queue); skb !== 0; skb = skbDequeueTail(queue)) kfreeSkb(skb);
  ipCorkRelease(cork);
}

/** ip_flush_pending_frames: throws the corked datagram away. */
export function ipFlushPendingFrames(sk: Sock): void {
  __ipFlushPendingFrames(sk.skWriteQueue, inetCork(sk as InetSock));
}

/** The queue of ip_make_skb; nothing that runs meanwhile makes another datagram. */
const makeSkbQueue = new SkBuffHead();

/** ip_make_skb: one datagram from one send. The skb, 0 (nothing to send, MSG_PROBE), or a negative errno. */
export function ipMakeSkb(
  sk: Sock,
  fl4: FlowI4,
  getfrag: GetFrag,
  from: unknown,
  length: number,
  transhdrlen: number,
  ipc: IpcmCookie,
  rt: DstEntry,
  cork: InetCork,
  flags: number,
): number {
  if ((flags & MSG_PROBE) !== 0) return 0;
  cork.flags = 0;
  cork.addr = 0;
  cork.opt = null;
  let err = ipSetupCork(sk, cork, ipc, rt);
  if (err < 0) return err;
  err = __ipAppendData(sk, fl4, makeSkbQueue, cork, getfrag, from, length, transhdrlen, flags);
  if (err < 0) {
    __ipFlushPendingFrames(makeSkbQueue, cork);
    return err;
  }
  return __ipMakeSkb(sk, fl4, makeSkbQueue, cork);
}

// ---- answers without a socket ---------------------------------------------------------------------------------------

const replyOpts = new IpOptions();
const replyFl4 = new FlowI4();

/** The mark of an answer to `skb` (IP4_REPLY_MARK). */
/* notrace */
export function ipReplyMark(net: Net, skb: number): number {
  return net.ipv4.sysctlFwmarkReflect !== 0 ? skbMark(skb) : 0;
}

/**
 * ip_send_unicast_reply: answers the received `skb` from `saddr` to `daddr` with the segment in `arg` (RST, ACK), its
 * options turned around. DF, and no identification (the socket that would count them isn't there). Keeps `skb`.
 * `origSk`: the socket on whose behalf, or null.
 */
export function ipSendUnicastReply(
  net: Net,
  origSk: Sock | null,
  skb: number,
  daddr: number,
  saddr: number,
  arg: IpReplyArg,
): void {
  if (ipOptionsEcho(net, replyOpts, skb) < 0) return;
  const optlen = replyOpts.optlen;
  const finalDaddr = daddr;
  if (optlen !== 0 && replyOpts.srr !== 0) daddr = replyOpts.faddr;

  const protocol = ipHdrProtocol(ipHdr(skb));
  const th = skbTransportHeader(skb);
  const mark = ipReplyMark(net, skb);
  flowi4InitOutput(
    replyFl4,
    arg.boundDevIf,
    mark !== 0 ? mark : arg.mark,
    arg.tos & INET_DSCP_MASK,
    RT_SCOPE_UNIVERSE,
    protocol,
    (arg.flags & IP_REPLY_ARG_NOSRCCHECK) !== 0 ? FLOWI_FLAG_ANYSRC : 0,
    daddr,
    saddr,
    dv.getUint16(th),
    dv.getUint16(th + 2),
  );
  const rt = ipRouteOutputFlow(net, replyFl4, origSk);
  if (rt === null) {
    ipIncStats(net, IPSTATS_MIB_OUTNOROUTES);
    return;
  }

  const hlen = IPHDR_SIZE + optlen;
  const reserve = LL_RESERVED_SPACE(rt.dev);
  const nskb = allocSkb(reserve + hlen + arg.len);
  if (nskb === 0) return;
  ipcbClear(nskb);
  skbReserve(nskb, reserve);
  const iph = skbPut(nskb, hlen + arg.len);
  skbResetNetworkHeader(nskb);
  skbSetTransportHeader(nskb, hlen);
  const to = iph + hlen;
  for (let i = 0; i < arg.len; i++) u8[to + i] = arg.iov[i];
  if (arg.csumoffset >= 0) dv.setUint16(to + arg.csumoffset, csumFold(csumPartial(to, arg.len, arg.csum)));
  skbSetIpSummed(nskb, CHECKSUM_NONE);

  ipHdrSetVersionIhl(iph, hlen >>> 2);
  ipHdrSetTos(iph, arg.tos);
  ipHdrSetFragOff(iph, IP_DF);
  ipHdrSetId(iph, 0);
  ipHdrSetTtl(iph, arg.ttl !== 0 ? arg.ttl : ip4DstHoplimit(rt));
  ipHdrSetProtocol(iph, protocol);
  ipHdrSetSaddr(iph, replyFl4.saddr);
  ipHdrSetDaddr(iph, replyFl4.daddr);
  if (optlen !== 0) ipOptionsBuild(nskb, replyOpts, finalDaddr, rt);

  skbSetPriority(nskb, arg.priority);
  skbSetMark(nskb, replyFl4.flowi4Mark);
  skbSetHash(nskb, arg.txhash);
  skbDstSet(nskb, rt);
  if (origSk !== null) skbSetOwnerSkSafe(nskb, origSk);
  ipSendSkb(net, nskb);
}
