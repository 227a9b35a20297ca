/**
 * Routing decisions: struct rtable, which is a dst, and how one is found for a packet that this host sends
 * (ip_route_output_flow) or has received (ip_route_input).
 *
 * There is no cache of flows. A decision is made from the FIB and kept at the next hop that it leads to, so that the
 * next lookup that ends there finds it ready: one rtable for all destinations behind a gateway, and one for each
 * destination on a link (each has its own neighbour, to which its dst is bound as in Linux 2.6). What was learnt about a
 * single destination (path MTU, redirect) is an exception of the next hop. Whatever may make a decision wrong bumps
 * `net.ipv4.rtGenid`; holders of a dst ask dst_check.
 */

import { IPCB_FLAGS, SKB_MARK } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { ipIncStats } from "../../kernel/mib.ts";
import { KERN_WARNING, netRatelimit, printk } from "../../kernel/printk.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import { skbProtocol } from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_IP_INADDRERRORS,
  SKB_DROP_REASON_IP_INNOROUTES,
  SKB_DROP_REASON_NOT_SPECIFIED,
} from "../../uapi/dropreason.ts";
import { EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV } from "../../uapi/errno.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_HOST_UNREACH,
  ICMP_NET_UNREACH,
  ICMP_PKT_FILTERED,
  ICMP_REDIR_HOST,
  ICMP_REDIRECT,
} from "../../uapi/icmp.ts";
import { IFF_LOOPBACK, IFF_POINTOPOINT, IFF_UP } from "../../uapi/if.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { IPPROTO_IGMP } from "../../uapi/in.ts";
import { IPV4_DEVCONF_BC_FORWARDING } from "../../uapi/ip.ts";
import { IPSTATS_MIB_INADDRERRORS, IPSTATS_MIB_INNOROUTES } from "../../uapi/linux_mib.ts";
import {
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RTAX_HOPLIMIT,
  RTAX_MTU,
  RTCF_BROADCAST,
  RTCF_LOCAL,
  RTCF_MULTICAST,
  RTCF_REDIRECTED,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
  RTN_UNICAST,
  RTN_UNREACHABLE,
} from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { NetDevice } from "../core/dev.ts";
import type { DstOps } from "../core/dst.ts";
import { DstEntry, RTAX_SLOTS } from "../core/dst.ts";
import type { Neighbour } from "../core/neighbour.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { rtnetlinkInit } from "../core/rtnetlink.ts";
import { kfreeSkb, kfreeSkbReason, pskbMayPull, skbDev, skbDst, skbDstDrop, skbDstSet } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { ErrBox, skDstReset } from "../core/sock.ts";
import { registerSysctl } from "../core/sysctl_net.ts";
import { arpBindNeighbour, arpInit } from "./arp.ts";
import type { InDevice } from "./devinet.ts";
import {
  devinetDevicesNetOps,
  devinetInit,
  inDevBforward,
  inDevForward,
  inDevGet,
  inDevLogMartians,
  inDevProxyArpPvlan,
  inDevRouteLocalnet,
  inDevSharedMedia,
  inDevTxRedirects,
  inetAddrOnlink,
  inetSelectAddr,
  ipDevFind,
  ipv4DevconfAll,
} from "./devinet.ts";
import { fibValidateSource, ipFibInit, LOOPBACK_IFINDEX } from "./fib_frontend.ts";
import { fibLookup } from "./fib_rules.ts";
import type { FibInfo, FibNh } from "./fib_semantics.ts";
import { fibSelectPath } from "./fib_semantics.ts";
import { FLOWI_FLAG_ANYSRC, FLOWI_FLAG_KNOWN_NH, FlowI4, flowi4InitOutput } from "./flow.ts";
import { icmpSend } from "./icmp.ts";
import { ipCheckMc } from "./igmp.ts";
import {
  INADDR_LOOPBACK,
  inetNtoa,
  ipv4IsLbcast,
  ipv4IsLocalMulticast,
  ipv4IsLoopback,
  ipv4IsMulticast,
  ipv4IsZeronet,
} from "./inet_addr.ts";
import type { InetSock } from "./inet_sock.ts";
import { inetGetpeerV4 } from "./inetpeer.ts";
import { IPSKB_DOREDIRECT, ipHdr, ipHdrDaddr, ipHdrProtocol, ipHdrSaddr } from "./ip.ts";
import { FibResult } from "./ip_fib.ts";
import { ipForward } from "./ip_forward.ts";
import { ipLocalDeliver } from "./ip_input.ts";
import { ipMcOutput, ipOutput } from "./ip_output.ts";
import { netnsIpv4Init } from "./netns.ts";
import { ipDoRedirect, ipRtUpdatePmtu } from "./route.pmtu.ts";

const IP_MAX_MTU = 0xffff;
/** Destinations on a link whose decision is kept. */
const ONLINK_MAX = 2048;

export { inetRtmGetroute, type RouteAnswer } from "./route.getroute.ts";
export {
  ipDoRedirect,
  ipRtUpdatePmtu,
  ipv4Redirect,
  ipv4SkRedirect,
  ipv4SkUpdatePmtu,
  ipv4UpdatePmtu,
} from "./route.pmtu.ts";

// dst->obsolete.
export const DST_OBSOLETE_NONE = 0;
/** dst_dev_put: the dst leads nowhere any more. */
export const DST_OBSOLETE_DEAD = 2;
/** Always ask dst_ops.check. IPv4's state for a dst that is fine. */
export const DST_OBSOLETE_FORCE_CHK = -1;
/** Look the route up again. */
export const DST_OBSOLETE_KILL = -2;

declare module "./netns.ts" {
  interface NetnsIpv4 {
    rtCacheStat: RtCacheStat;
    /** Decisions that belong to no next hop: by error (unreachable), limited broadcast, multicast (not ours, ours). */
    rthUnreach: Map<number, Rtable>;
    rthBrdInput: Rtable | null;
    rthMcInput: Rtable | null;
  }
}

/** struct rt_cache_stat: /proc/net/stat/rt_cache. */
export class RtCacheStat {
  inSlowTot = 0;
  inSlowMc = 0;
  inNoRoute = 0;
  inBrd = 0;
  inMartianDst = 0;
  inMartianSrc = 0;
  outSlowTot = 0;
  outSlowMc = 0;
  /** Martians that log_martians wanted in the log. */
  martiansLogged = 0;
}

/** The negative errno of the last ipRouteOutput… that returned null. */
export const routeErr: ErrBox = new ErrBox();

/** struct rtable. */
export class Rtable extends DstEntry {
  rtGenid = 0;
  /** RTCF_* bits (unsigned). */
  rtFlags = 0;
  /** RTN_*. */
  rtType = 0;
  rtIsInput = false;
  /** The next hop is a gateway (and not the destination itself). */
  rtUsesGateway = false;
  /** ifindex that local delivery takes for the input device; 0 = skb->skb_iif. */
  rtIif = 0;
  /** The next hop: the gateway, or the destination. Host order. */
  rtGateway = 0;
  /** A path MTU that was learnt (0 = none), and whether it is below the minimum and so locks out discovery. */
  rtPmtu = 0;
  rtMtuLocked = false;
  /** When what was learnt is forgotten, microseconds; 0 = nothing was learnt (dst->expires). */
  expires = 0;
  /** The destination that the decision was made for, and the chain of RthCache. */
  rtDst = 0;
  rtNext: Rtable | null = null;

  constructor(dev: NetDevice, ops: DstOps, metrics: Float64Array) {
    super(dev, ops, metrics);
  }
}

/** The decisions of a link, one a destination and direction: chained through `rtNext`. */
export class RthCache {
  #buckets: (Rtable | null)[] = new Array<Rtable | null>(8).fill(null);
  #count = 0;

  find(daddr: number, isInput: boolean, type: number): Rtable | null {
    let rt = this.#buckets[hashAddr(daddr) & (this.#buckets.length - 1)] as Rtable | null;
    while (rt !== null && (rt.rtDst !== daddr || rt.rtIsInput !== isInput || rt.rtType !== type)) rt = rt.rtNext;
    return rt;
  }

  /** Puts `rt` in the place of the one for the same destination, if there is one. */
  put(rt: Rtable): void {
    const slot = hashAddr(rt.rtDst) & (this.#buckets.length - 1);
    let prev: Rtable | null = null;
    for (let p = this.#buckets[slot] as Rtable | null; p !== null; p = p.rtNext) {
      if (p.rtDst === rt.rtDst && p.rtIsInput === rt.rtIsInput && p.rtType === rt.rtType) {
        rt.rtNext = p.rtNext;
        if (prev === null) this.#buckets[slot] = rt;
        else prev.rtNext = rt;
        p.rtNext = null;
        return;
      }
      prev = p;
    }
    if (this.#count >= ONLINK_MAX) {
      // A scan of the subnet: forget all of it. Whoever still holds a dst goes on using it.
      this.#buckets.fill(null);
      this.#count = 0;
    } else if (this.#count >= this.#buckets.length) {
      this.#grow();
    }
    const at = hashAddr(rt.rtDst) & (this.#buckets.length - 1);
    rt.rtNext = this.#buckets[at] as Rtable | null;
    this.#buckets[at] = rt;
    this.#count++;
  }

  /** Something changed for one destination: whoever holds its decision asks again. */
  kill(daddr: number): void {
    let rt = this.#buckets[hashAddr(daddr) & (this.#buckets.length - 1)] as Rtable | null;
    for (; rt !== null; rt = rt.rtNext) if (rt.rtDst === daddr) rt.obsolete = DST_OBSOLETE_KILL;
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Array<Rtable | null>(old.length * 4).fill(null);
    for (let i = 0; i < old.length; i++) {
      let rt = old[i] as Rtable | null;
      while (rt !== null) {
        const next: Rtable | null = rt.rtNext;
        const at = hashAddr(rt.rtDst) & (this.#buckets.length - 1);
        rt.rtNext = this.#buckets[at] as Rtable | null;
        this.#buckets[at] = rt;
        rt = next;
      }
    }
  }
}

function hashAddr(addr: number): number {
  const h = Math.imul(addr, 0x9e3779b1);
  return h ^ (h >>> 15);
}

/** struct fib_nh_exception: what was learnt about one destination. */
export class FibNhException {
  readonly fnheDaddr: number;
  fnheGenid = 0;
  /** From a redirect; 0 = none. */
  fnheGw = 0;
  fnhePmtu = 0;
  fnheMtuLocked = false;
  /** Microseconds. */
  fnheExpires = 0;
  fnheStamp = 0;
  fnheRthInput: Rtable | null = null;
  fnheRthOutput: Rtable | null = null;

  constructor(daddr: number) {
    this.fnheDaddr = daddr;
  }
}

// ---- validity ----------------------------------------------------------------------------------------------------------------

/** rt_cache_flush (rt_genid_bump_ipv4): every decision is made again when it is next needed. */
export function rtCacheFlush(net: Net): void {
  net.ipv4.rtGenid++;
}
/** rt_flush_dev: decisions that lead over a device which goes away. */
export function rtFlushDev(dev: NetDevice): void {
  rtCacheFlush(dev.net);
}

function rtIsExpired(rt: Rtable): boolean {
  return rt.rtGenid !== rt.dev.net.ipv4.rtGenid;
}
function rtCacheValid(rt: Rtable | null): rt is Rtable {
  return rt !== null && rt.obsolete === DST_OBSOLETE_FORCE_CHK && !rtIsExpired(rt);
}

// ---- dst_ops -----------------------------------------------------------------------------------------------------------------

/** ipv4_dst_check. */
export function ipv4DstCheck(dst: DstEntry, _cookie: number): DstEntry | null {
  return dst.obsolete !== DST_OBSOLETE_FORCE_CHK || rtIsExpired(dst as Rtable) ? null : dst;
}

/** ipv4_default_advmss: the MTU without headers, but not below min_adv_mss. */
export function ipv4DefaultAdvmss(dst: DstEntry): number {
  const advmss = Math.max(ipv4Mtu(dst) - 40, dst.dev.net.ipv4.ipRtMinAdvmss);
  return Math.min(advmss, IP_MAX_MTU - 40);
}

/** ipv4_mtu: what was learnt of the path, what the route says, what the device takes. */
export function ipv4Mtu(dst: DstEntry): number {
  const rt = dst as Rtable;
  if (rt.rtPmtu !== 0 && kernel.now < rt.expires) return Math.min(rt.rtPmtu, IP_MAX_MTU);
  let mtu = dst.metrics[RTAX_MTU];
  if (mtu === 0) {
    mtu = dst.dev.mtu;
    // RFC 1122 §3.3.3: a path whose MTU must not be learnt is taken for the least that everybody has to accept.
    if (rt.rtMtuLocked && rt.rtUsesGateway && mtu > 576) mtu = 576;
  }
  return mtu < IP_MAX_MTU ? mtu : IP_MAX_MTU;
}

/** ip4_dst_hoplimit. */
export function ip4DstHoplimit(dst: DstEntry): number {
  const hoplimit = dst.metrics[RTAX_HOPLIMIT];
  return hoplimit !== 0 ? hoplimit : dst.dev.net.ipv4.sysctlIpDefaultTtl;
}

/** ipv4_negative_advice: a path that was learnt, and failed, is forgotten by the socket. */
export function ipv4NegativeAdvice(sk: Sock, dst: DstEntry): void {
  const rt = dst as Rtable;
  if (dst.obsolete > 0 || (rt.rtFlags & RTCF_REDIRECTED) !== 0 || rt.expires !== 0) skDstReset(sk);
}

/** ipv4_link_failure: the neighbour does not answer: the sender of `skb` is told (EHOSTUNREACH). Does not consume it. */
export function ipv4LinkFailure(skb: number): void {
  if (pskbMayPull(skb, 20)) {
    const iph = ipHdr(skb);
    if (u8[iph] >>> 4 === 4 && (u8[iph] & 15) >= 5) icmpSend(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
  }
  const rt = skbRtable(skb);
  if (rt !== null && (rt.expires === 0 || kernel.now < rt.expires)) rt.expires = kernel.now;
}

/** ipv4_neigh_lookup: binds the route to its neighbour again. */
function ipv4NeighLookup(dst: DstEntry, _skb: number): Neighbour | null {
  return arpBindNeighbour(dst) < 0 ? null : dst.neighbour;
}

export const ipv4DstOps: DstOps = {
  family: AF_INET,
  check: ipv4DstCheck,
  defaultAdvmss: ipv4DefaultAdvmss,
  mtu: ipv4Mtu,
  negativeAdvice: ipv4NegativeAdvice,
  linkFailure: ipv4LinkFailure,
  updatePmtu: ipRtUpdatePmtu,
  redirect: ipDoRedirect,
  neighLookup: ipv4NeighLookup,
};

// ---- accessors ---------------------------------------------------------------------------------------------------------------

export function rtIsInputRoute(rt: Rtable): boolean {
  return rt.rtIsInput;
}
export function rtIsOutputRoute(rt: Rtable): boolean {
  return !rt.rtIsInput;
}
/** rt_nexthop: the gateway, or `daddr` on a link. */
export function rtNexthop(rt: Rtable, daddr: number): number {
  return rt.rtUsesGateway ? rt.rtGateway : daddr;
}
/** skb_rtable. */
export function skbRtable(skb: number): Rtable | null {
  return skbDst(skb) as Rtable | null;
}

// ---- making an rtable -----------------------------------------------------------------------------------------------------------

/** No metrics are set. Shared; nobody writes a dst's metrics in place. */
const dstDefaultMetrics: Float64Array = new Float64Array(RTAX_SLOTS);

function dstDiscard(skb: number): number {
  kfreeSkb(skb);
  return 0;
}

/** ip_rt_bug: output of a route that is for input only. */
export function ipRtBug(_net: Net, _sk: Sock | null, skb: number): number {
  kfreeSkb(skb);
  return 0;
}

/** rt_dst_alloc. */
function rtDstAlloc(dev: NetDevice, flags: number, type: number): Rtable {
  const rt = new Rtable(dev, ipv4DstOps, dstDefaultMetrics);
  rt.obsolete = DST_OBSOLETE_FORCE_CHK;
  rt.rtGenid = dev.net.ipv4.rtGenid;
  rt.rtFlags = flags >>> 0;
  rt.rtType = type;
  rt.lastuse = kernel.now;
  rt.input = dstDiscard;
  rt.inputSetBy = "rt_dst_alloc";
  rt.output = ipOutput;
  rt.outputSetBy = "rt_dst_alloc";
  if ((flags & RTCF_LOCAL) !== 0) rt.input = ipLocalDeliver;
  return rt;
}

/** Whether every destination of the next hop has its own neighbour, and so needs its own dst. */
function perDestination(nh: FibNh, dev: NetDevice): boolean {
  return (
    !(nh.fibNhHasGw && nh.fibNhScope === RT_SCOPE_LINK) &&
    (dev.flags & (IFF_LOOPBACK | IFF_POINTOPOINT)) === 0 &&
    dev.headerOps !== null
  );
}

/** find_exception: null if nothing was learnt about `daddr`, or it is too long ago. */
function findException(nh: FibNh, daddr: number): FibNhException | null {
  if (nh.nhcExceptions === null) return null;
  const fnhe = nh.nhcExceptions.get(daddr | 0);
  if (fnhe === undefined) return null;
  if (fnhe.fnheExpires !== 0 && kernel.now > fnhe.fnheExpires) {
    ipDelFnhe(nh, fnhe);
    return null;
  }
  return fnhe;
}

export function ipDelFnhe(nh: FibNh, fnhe: FibNhException): void {
  nh.nhcExceptions?.delete(fnhe.fnheDaddr | 0);
  if (fnhe.fnheRthInput !== null) fnhe.fnheRthInput.obsolete = DST_OBSOLETE_KILL;
  if (fnhe.fnheRthOutput !== null) fnhe.fnheRthOutput.obsolete = DST_OBSOLETE_KILL;
}

export function fillRouteFromFnhe(rt: Rtable, fnhe: FibNhException): void {
  rt.rtPmtu = fnhe.fnhePmtu;
  rt.rtMtuLocked = fnhe.fnheMtuLocked;
  if (fnhe.fnheMtuLocked) rt.metricsLock |= 1 << RTAX_MTU;
  rt.expires = fnhe.fnheExpires;
  if (fnhe.fnheGw !== 0) {
    rt.rtFlags = (rt.rtFlags | RTCF_REDIRECTED) >>> 0;
    rt.rtUsesGateway = true;
    rt.rtGateway = fnhe.fnheGw;
    rt.neighbour = null;
    rt.hh = null;
  }
}

/** rt_set_nexthop: where the route leads, with which metrics; and keeps it where the next lookup will find it. */
function rtSetNexthop(
  rt: Rtable,
  daddr: number,
  res: FibResult,
  fnhe: FibNhException | null,
  fi: FibInfo | null,
  doCache: boolean,
): void {
  rt.rtDst = daddr;
  rt.rtGateway = daddr;
  if (fi === null) return;
  const nh = res.nhc as FibNh;
  if (nh.fibNhHasGw && nh.fibNhScope === RT_SCOPE_LINK) {
    rt.rtUsesGateway = true;
    rt.rtGateway = nh.fibNhGw;
  }
  rt.metrics = fi.fibMetrics;
  rt.metricsLock = fi.fibMetricsLock;
  if (fnhe !== null) {
    const genid = rt.dev.net.ipv4.rtGenid;
    if (fnhe.fnheGenid !== genid) {
      // Routes have changed since: what was learnt may be about another path.
      fnhe.fnheGenid = genid;
      fnhe.fnheGw = 0;
      fnhe.fnhePmtu = 0;
      fnhe.fnheMtuLocked = false;
      fnhe.fnheExpires = 0;
      fnhe.fnheRthInput = null;
      fnhe.fnheRthOutput = null;
    }
    fillRouteFromFnhe(rt, fnhe);
    if (doCache) {
      if (rt.rtIsInput) fnhe.fnheRthInput = rt;
      else fnhe.fnheRthOutput = rt;
    }
    fnhe.fnheStamp = kernel.now;
  } else if (doCache) {
    rtCacheRoute(nh, rt);
  }
}

/** rt_cache_route. */
function rtCacheRoute(nh: FibNh, rt: Rtable): void {
  if (perDestination(nh, rt.dev)) {
    nh.nhcRthOnlink ??= new RthCache();
    nh.nhcRthOnlink.put(rt);
  } else if (rt.rtIsInput) {
    nh.nhcRthInput = rt;
  } else {
    nh.nhcRthOutput = rt;
  }
}

/** The decision that is kept for `daddr` over a next hop; it may be out of date. */
function rtCached(nh: FibNh, dev: NetDevice, daddr: number, isInput: boolean, type: number): Rtable | null {
  if (perDestination(nh, dev)) return nh.nhcRthOnlink === null ? null : nh.nhcRthOnlink.find(daddr, isInput, type);
  return isInput ? nh.nhcRthInput : nh.nhcRthOutput;
}

// ---- output ------------------------------------------------------------------------------------------------------------------

/**
 * ip_route_output_flow: the route of a packet that this host sends. Fills in fl4.saddr (and daddr, if it is 0). null with
 * the negative errno in `routeErr`: -ENETUNREACH, -EHOSTUNREACH, -EACCES, -EINVAL, -ENODEV.
 */
export function ipRouteOutputFlow(net: Net, fl4: FlowI4, _sk: Sock | null): Rtable | null {
  return __ipRouteOutputKey(net, fl4);
}

/** ip_route_output_key. */
export function ipRouteOutputKey(net: Net, fl4: FlowI4): Rtable | null {
  return ipRouteOutputFlow(net, fl4, null);
}

/** __ip_route_output_key. Up to Linux 3.6 it asked the cache of flows first; now every lookup is a slow one. */
export function __ipRouteOutputKey(net: Net, fl4: FlowI4): Rtable | null {
  fl4.flowi4Iif = LOOPBACK_IFINDEX;
  return ipRouteOutputSlow(net, fl4);
}

function outputFailed(err: number): null {
  routeErr.value = err;
  return null;
}

/** Where the last ip_route_output_slow looked. */
export const outRes: FibResult = new FibResult();

/** ip_route_output_slow (ip_route_output_key_hash_rcu): which device, which source, and what the FIB says. */
export function ipRouteOutputSlow(net: Net, fl4: FlowI4): Rtable | null {
  const res = outRes;
  const origOif = fl4.flowi4Oif;
  let devOut: NetDevice | null = null;
  res.type = 0;
  res.fi = null;
  res.nhc = null;
  res.table = null;

  if (fl4.saddr !== 0) {
    if (ipv4IsMulticast(fl4.saddr) || ipv4IsLbcast(fl4.saddr)) return outputFailed(-EINVAL);
    if (fl4.flowi4Oif === 0 && (ipv4IsMulticast(fl4.daddr) || ipv4IsLbcast(fl4.daddr))) {
      // Multicasts and limited broadcasts leave over the device that has their source address.
      devOut = ipDevFind(net, fl4.saddr);
      if (devOut === null) return outputFailed(-ENETUNREACH);
      fl4.flowi4Oif = devOut.ifindex;
      return ipMkrouteOutput(net, res, fl4, origOif, devOut, 0);
    }
    if ((fl4.flowi4Flags & FLOWI_FLAG_ANYSRC) === 0 && ipDevFind(net, fl4.saddr) === null) {
      return outputFailed(-ENETUNREACH);
    }
  }

  if (fl4.flowi4Oif !== 0) {
    devOut = net.devByIndex.get(fl4.flowi4Oif) ?? null;
    if (devOut === null) return outputFailed(-ENODEV);
    if ((devOut.flags & IFF_UP) === 0 || inDevGet(devOut) === null) return outputFailed(-ENETUNREACH);
    if (ipv4IsLocalMulticast(fl4.daddr) || ipv4IsLbcast(fl4.daddr) || fl4.flowi4Proto === IPPROTO_IGMP) {
      if (fl4.saddr === 0) fl4.saddr = inetSelectAddr(devOut, 0, RT_SCOPE_LINK);
      return ipMkrouteOutput(net, res, fl4, origOif, devOut, 0);
    }
    if (fl4.saddr === 0) {
      if (ipv4IsMulticast(fl4.daddr)) fl4.saddr = inetSelectAddr(devOut, 0, fl4.flowi4Scope);
      else if (fl4.daddr === 0) fl4.saddr = inetSelectAddr(devOut, 0, RT_SCOPE_HOST);
    }
  }

  if (fl4.daddr === 0) {
    fl4.daddr = fl4.saddr;
    if (fl4.daddr === 0) {
      fl4.daddr = INADDR_LOOPBACK;
      fl4.saddr = INADDR_LOOPBACK;
    }
    fl4.flowi4Oif = LOOPBACK_IFINDEX;
    res.type = RTN_LOCAL;
    return ipMkrouteOutput(net, res, fl4, origOif, net.loopbackDev as NetDevice, RTCF_LOCAL);
  }

  const err = fibLookup(net, fl4, res, 0);
  if (err !== 0) {
    res.fi = null;
    res.nhc = null;
    res.table = null;
    if (fl4.flowi4Oif === 0 || devOut === null) return outputFailed(err);
    // Who names the device knows better than the tables: the destination is taken to be on its link.
    if (fl4.saddr === 0) fl4.saddr = inetSelectAddr(devOut, 0, RT_SCOPE_LINK);
    res.type = RTN_UNICAST;
    return ipMkrouteOutput(net, res, fl4, origOif, devOut, 0);
  }

  if (res.type === RTN_LOCAL) {
    const fi = res.fi as unknown as FibInfo;
    if (fl4.saddr === 0) fl4.saddr = fi.fibPrefsrc !== 0 ? fi.fibPrefsrc : fl4.daddr;
    const iif = (res.nhc as unknown as FibNh).fibNhOif;
    devOut = net.loopbackDev as NetDevice;
    fl4.flowi4Oif = devOut.ifindex;
    return ipMkrouteOutput(net, res, fl4, iif, devOut, RTCF_LOCAL);
  }
  fibSelectPath(net, res, fl4);
  devOut = (res.nhc as unknown as FibNh).fibNhDev as NetDevice;
  return ipMkrouteOutput(net, res, fl4, origOif, devOut, 0);
}

/** ip_mkroute_output: the decision that is kept at the next hop, or a new one. */
function ipMkrouteOutput(
  net: Net,
  res: FibResult,
  fl4: FlowI4,
  origOif: number,
  devOut: NetDevice,
  flags0: number,
): Rtable | null {
  const inDev = inDevGet(devOut);
  if (inDev === null) return outputFailed(-EINVAL);
  // RFC 1122 §3.2.1.3 (g): 127/8 must not appear outside of a host.
  if (ipv4IsLoopback(fl4.saddr) && (devOut.flags & IFF_LOOPBACK) === 0 && !inDevRouteLocalnet(inDev)) {
    return outputFailed(-EINVAL);
  }
  let type = res.type;
  if (ipv4IsLbcast(fl4.daddr)) type = RTN_BROADCAST;
  else if (ipv4IsMulticast(fl4.daddr)) type = RTN_MULTICAST;
  else if (ipv4IsZeronet(fl4.daddr)) return outputFailed(-EINVAL);

  let flags = flags0;
  let fi = res.fi;
  if ((devOut.flags & IFF_LOOPBACK) !== 0) flags |= RTCF_LOCAL;
  if (type === RTN_BROADCAST) {
    flags |= RTCF_BROADCAST | RTCF_LOCAL;
    fi = null;
  } else if (type === RTN_MULTICAST) {
    flags |= RTCF_MULTICAST;
    if (ipCheckMc(inDev, fl4.daddr, fl4.saddr, fl4.flowi4Proto)) flags |= RTCF_LOCAL;
    else flags &= ~RTCF_LOCAL;
    // No route for multicasts, but a default one: it does not lead over its gateway.
    if (fi !== null && res.prefixlen < 4) fi = null;
  }

  let fnhe: FibNhException | null = null;
  let doCache = false;
  let rth: Rtable | null = null;
  if (fi !== null) {
    const nh = res.nhc as FibNh;
    fnhe = findException(nh, fl4.daddr);
    doCache =
      fnhe !== null ||
      (fl4.flowi4Flags & FLOWI_FLAG_KNOWN_NH) === 0 ||
      (nh.fibNhHasGw && nh.fibNhScope === RT_SCOPE_LINK);
    if (doCache) {
      rth = fnhe !== null ? fnhe.fnheRthOutput : rtCached(nh, devOut, fl4.daddr, false, type);
    }
  } else {
    // Broadcasts, multicasts, a link that the tables don't know: kept at the device.
    rth = inDev.rthMisc.find(fl4.daddr, false, type);
  }
  if (
    rtCacheValid(rth) &&
    rth.dev === devOut &&
    rth.rtFlags === (flags | (rth.rtFlags & RTCF_REDIRECTED)) >>> 0 &&
    // To one of our own addresses: packets are taken to come in over the device that has it.
    ((flags & RTCF_LOCAL) === 0 || rth.rtIif === origOif)
  ) {
    rth.lastuse = kernel.now;
    return rth;
  }
  return __mkrouteOutput(net, res, fl4, origOif, devOut, flags, type, fi, fnhe, doCache);
}

/** __mkroute_output: makes the rtable of a packet that this host sends. */
function __mkrouteOutput(
  net: Net,
  res: FibResult,
  fl4: FlowI4,
  origOif: number,
  devOut: NetDevice,
  flags: number,
  type: number,
  fi: FibInfo | null,
  fnhe: FibNhException | null,
  doCache: boolean,
): Rtable | null {
  const rth = rtDstAlloc(devOut, flags, type);
  const stat = net.ipv4.rtCacheStat;
  rth.rtIif = origOif;
  rth.output = ipOutput;
  rth.outputSetBy = "__mkroute_output";
  stat.outSlowTot++;
  if ((flags & RTCF_LOCAL) !== 0) rth.inputSetBy = "__mkroute_output";
  if (
    (flags & (RTCF_BROADCAST | RTCF_MULTICAST)) !== 0 &&
    (flags & RTCF_LOCAL) !== 0 &&
    (devOut.flags & IFF_LOOPBACK) === 0
  ) {
    // This host wants to hear it as well.
    rth.output = ipMcOutput;
    stat.outSlowMc++;
  }
  rtSetNexthop(rth, fl4.daddr, res, fnhe, fi, doCache);
  if (fi === null) (inDevGet(devOut) as InDevice).rthMisc.put(rth);
  if (arpBindNeighbour(rth) < 0) {
    // No neighbour can be had now (the table is full): ip_finish_output2 tries again.
    rth.neighbour = null;
  }
  return rth;
}

/**
 * ip_route_connect: fills `fl4` for a connection and finds its route. What of `src` and `dst` is 0 is chosen first, so
 * that the second lookup has the whole flow. null with routeErr.
 */
export function ipRouteConnect(
  fl4: FlowI4,
  dst: number,
  src: number,
  oif: number,
  protocol: number,
  sport: number,
  dport: number,
  sk: Sock,
): Rtable | null {
  const net = sk.net;
  ipRouteConnectInit(fl4, dst, src, oif, protocol, sport, dport, sk);
  if (dst === 0 || src === 0) {
    if (__ipRouteOutputKey(net, fl4) === null) return null;
    fl4.flowi4Oif = oif;
  }
  return ipRouteOutputFlow(net, fl4, sk);
}

function ipRouteConnectInit(
  fl4: FlowI4,
  dst: number,
  src: number,
  oif: number,
  protocol: number,
  sport: number,
  dport: number,
  sk: Sock,
): void {
  const inet = sk as InetSock;
  const flags = inet.transparent ? FLOWI_FLAG_ANYSRC : 0;
  flowi4InitOutput(fl4, oif, sk.skMark, inet.tos & 0xfc, 0, protocol, flags, dst, src, dport, sport);
}

/** ip_route_newports: the ports have become known: with policy routes they may matter. null with routeErr. */
export function ipRouteNewports(
  fl4: FlowI4,
  rt: Rtable,
  origSport: number,
  origDport: number,
  sport: number,
  dport: number,
  sk: Sock,
): Rtable | null {
  if (sport === origSport && dport === origDport) return rt;
  fl4.fl4Dport = dport;
  fl4.fl4Sport = sport;
  fl4.flowi4Oif = sk.skcBoundDevIf;
  return ipRouteOutputFlow(sk.net, fl4, sk);
}

// ---- input -------------------------------------------------------------------------------------------------------------------

/**
 * ip_route_input: routes a received packet and sets its dst. 0, or a negative errno: -EINVAL (martian), -EXDEV
 * (rp_filter). A packet for which there is no route gets a dst that answers with ICMP (ip_error).
 */
export function ipRouteInput(skb: number, daddr: number, saddr: number, tos: number, dev: NetDevice): number {
  if (ipv4IsMulticast(daddr)) {
    const inDev = inDevGet(dev);
    if (inDev === null) return -EINVAL;
    if (!ipCheckMc(inDev, daddr, saddr, ipHdrProtocol(ipHdr(skb)))) return -EINVAL;
    return ipRouteInputMc(skb, daddr, saddr, tos, dev, inDev);
  }
  return ipRouteInputSlow(skb, daddr, saddr, tos, dev);
}

/** ip_mc_validate_source. */
function ipMcValidateSource(
  skb: number,
  daddr: number,
  saddr: number,
  tos: number,
  dev: NetDevice,
  inDev: InDevice,
): number {
  if (ipv4IsMulticast(saddr) || ipv4IsLbcast(saddr)) return -EINVAL;
  if (skbProtocol(skb) !== ETH_P_IP) return -EINVAL;
  if (ipv4IsLoopback(saddr) && !inDevRouteLocalnet(inDev)) return -EINVAL;
  if (ipv4IsZeronet(saddr)) {
    return !ipv4IsLocalMulticast(daddr) && ipHdrProtocol(ipHdr(skb)) !== IPPROTO_IGMP ? -EINVAL : 0;
  }
  return fibValidateSource(skb, saddr, 0, tos, 0, dev, inDev);
}

/** ip_route_input_mc: a multicast of a group that this host listens to. */
function ipRouteInputMc(
  skb: number,
  daddr: number,
  saddr: number,
  tos: number,
  dev: NetDevice,
  inDev: InDevice,
): number {
  const net = dev.net;
  const err = ipMcValidateSource(skb, daddr, saddr, tos, dev, inDev);
  if (err < 0) return err;
  let rth = net.ipv4.rthMcInput;
  if (!rtCacheValid(rth)) {
    rth = rtDstAlloc(net.loopbackDev as NetDevice, RTCF_MULTICAST | RTCF_LOCAL, RTN_MULTICAST);
    rth.output = ipRtBug;
    rth.outputSetBy = "ip_route_input_mc";
    rth.inputSetBy = "ip_route_input_mc";
    rth.rtIsInput = true;
    net.ipv4.rthMcInput = rth;
  }
  net.ipv4.rtCacheStat.inSlowMc++;
  skbDstDrop(skb);
  skbDstSet(skb, rth);
  return 0;
}

/** Where the last ip_route_input_slow looked. */
export const inRes: FibResult = new FibResult();
const inFl: FlowI4 = new FlowI4();

/** ip_route_input_slow: is it for us, for somebody else, or for nobody? */
export function ipRouteInputSlow(skb: number, daddr: number, saddr: number, tos: number, dev: NetDevice): number {
  const inDev = inDevGet(dev);
  if (inDev === null) return -EINVAL;
  const net = dev.net;
  const res = inRes;
  skbDstDrop(skb);
  res.type = 0;
  res.fi = null;
  res.nhc = null;
  res.table = null;

  if (ipv4IsMulticast(saddr) || ipv4IsLbcast(saddr)) {
    return ipHandleMartianSource(dev, inDev, skb, daddr, saddr, -EINVAL);
  }
  if (ipv4IsLbcast(daddr) || (saddr === 0 && daddr === 0)) {
    return ipRouteInputBrd(skb, daddr, saddr, tos, dev, inDev, res, true);
  }
  if (ipv4IsZeronet(saddr)) return ipHandleMartianSource(dev, inDev, skb, daddr, saddr, -EINVAL);
  if (ipv4IsZeronet(daddr)) return ipHandleMartianDestination(dev, inDev, daddr, saddr);
  if (ipv4IsLoopback(daddr)) {
    if (!inDevRouteLocalnet(inDev)) return ipHandleMartianDestination(dev, inDev, daddr, saddr);
  } else if (ipv4IsLoopback(saddr) && !inDevRouteLocalnet(inDev)) {
    return ipHandleMartianSource(dev, inDev, skb, daddr, saddr, -EINVAL);
  }

  const fl4 = inFl;
  fl4.flowi4Oif = 0;
  fl4.flowi4Iif = dev.ifindex;
  fl4.flowi4Mark = u32[(skb + SKB_MARK) >>> 2];
  fl4.flowi4Tos = tos;
  fl4.flowi4Scope = RT_SCOPE_UNIVERSE;
  fl4.flowi4Flags = 0;
  fl4.flowi4Proto = 0;
  fl4.fl4Sport = 0;
  fl4.fl4Dport = 0;
  fl4.daddr = daddr;
  fl4.saddr = saddr;
  if (net.ipv4.fibHasCustomRules || net.ipv4.sysctlFibMultipathHashPolicy === 1) dissectPorts(skb, fl4);
  const err = fibLookup(net, fl4, res, 0);
  if (err !== 0) return ipRouteInputNone(skb, net, res, inDevForward(inDev) ? err : -EHOSTUNREACH);

  if (res.type === RTN_BROADCAST) {
    if (inDevBforward(inDev)) return ipMkrouteInput(skb, res, fl4, inDev, daddr, saddr, tos);
    const doCache = ipv4DevconfAll(net, IPV4_DEVCONF_BC_FORWARDING) === 0;
    return ipRouteInputBrd(skb, daddr, saddr, tos, dev, inDev, res, doCache);
  }
  if (res.type === RTN_LOCAL) {
    const bad = fibValidateSource(skb, saddr, daddr, tos, 0, dev, inDev);
    if (bad < 0) return ipHandleMartianSource(dev, inDev, skb, daddr, saddr, bad);
    return ipRouteInputLocal(skb, net, res, 0, true);
  }
  if (!inDevForward(inDev)) return ipRouteInputNone(skb, net, res, -EHOSTUNREACH);
  if (res.type !== RTN_UNICAST) return ipHandleMartianDestination(dev, inDev, daddr, saddr);
  return ipMkrouteInput(skb, res, fl4, inDev, daddr, saddr, tos);
}

/** fib4_rules_early_flow_dissect: rules and multipath hashes may ask for the ports. */
function dissectPorts(skb: number, fl4: FlowI4): void {
  if (skbProtocol(skb) !== ETH_P_IP) return;
  const iph = ipHdr(skb);
  const proto = ipHdrProtocol(iph);
  fl4.flowi4Proto = proto;
  if ((proto !== 6 && proto !== 17) || (dv.getUint16(iph + 6) & 0x1fff) !== 0) return;
  const ihl = (u8[iph] & 15) << 2;
  if (!pskbMayPull(skb, ihl + 4)) return;
  const th = ipHdr(skb) + ihl;
  fl4.fl4Sport = dv.getUint16(th);
  fl4.fl4Dport = dv.getUint16(th + 2);
}

/** A broadcast: directed, or limited. */
function ipRouteInputBrd(
  skb: number,
  daddr: number,
  saddr: number,
  tos: number,
  dev: NetDevice,
  inDev: InDevice,
  res: FibResult,
  doCache: boolean,
): number {
  if (skbProtocol(skb) !== ETH_P_IP) return -EINVAL;
  if (!ipv4IsZeronet(saddr)) {
    const err = fibValidateSource(skb, saddr, 0, tos, 0, dev, inDev);
    if (err < 0) return ipHandleMartianSource(dev, inDev, skb, daddr, saddr, err);
  }
  res.type = RTN_BROADCAST;
  dev.net.ipv4.rtCacheStat.inBrd++;
  return ipRouteInputLocal(skb, dev.net, res, RTCF_BROADCAST, doCache);
}

/** local_input: the packet is for this host. */
function ipRouteInputLocal(skb: number, net: Net, res: FibResult, flags: number, doCache: boolean): number {
  const nh = res.fi !== null && doCache ? res.nhc : null;
  let rth = nh !== null ? nh.nhcRthInput : flags === RTCF_BROADCAST && doCache ? net.ipv4.rthBrdInput : null;
  if (!rtCacheValid(rth) || rth.rtType !== res.type) {
    rth = rtDstAlloc(net.loopbackDev as NetDevice, flags | RTCF_LOCAL, res.type);
    rth.output = ipRtBug;
    rth.outputSetBy = "ip_route_input_slow";
    rth.inputSetBy = "ip_route_input_slow";
    rth.rtIsInput = true;
    net.ipv4.rtCacheStat.inSlowTot++;
    if (nh !== null) nh.nhcRthInput = rth;
    else if (flags === RTCF_BROADCAST && doCache) net.ipv4.rthBrdInput = rth;
  }
  skbDstSet(skb, rth);
  return 0;
}

/** no_route: the packet gets a dst whose input is ip_error. */
function ipRouteInputNone(skb: number, net: Net, res: FibResult, err: number): number {
  net.ipv4.rtCacheStat.inNoRoute++;
  res.type = RTN_UNREACHABLE;
  res.fi = null;
  let rth = net.ipv4.rthUnreach.get(err) ?? null;
  if (!rtCacheValid(rth)) {
    rth = rtDstAlloc(net.loopbackDev as NetDevice, 0, RTN_UNREACHABLE);
    rth.output = ipRtBug;
    rth.outputSetBy = "ip_route_input_slow";
    rth.input = ipError;
    rth.inputSetBy = "ip_route_input_slow";
    rth.rtIsInput = true;
    rth.error = err;
    net.ipv4.rthUnreach.set(err, rth);
  }
  skbDstSet(skb, rth);
  return 0;
}

/** ip_mkroute_input: chooses among next hops. */
function ipMkrouteInput(
  skb: number,
  res: FibResult,
  fl4: FlowI4,
  inDev: InDevice,
  daddr: number,
  saddr: number,
  tos: number,
): number {
  if ((res.fi as FibInfo).fibNh.length > 1) fibSelectPath(inDev.dev.net, res, fl4);
  return __mkrouteInput(skb, res, inDev, daddr, saddr, tos);
}

/** __mkroute_input: makes the rtable of a packet that this host forwards. */
function __mkrouteInput(
  skb: number,
  res: FibResult,
  inDev: InDevice,
  daddr: number,
  saddr: number,
  tos: number,
): number {
  const nh = res.nhc as FibNh;
  const dev = nh.fibNhDev as NetDevice;
  const outDev = inDevGet(dev);
  if (outDev === null) return -EINVAL;
  const fi = res.fi;
  const err = fibValidateSource(skb, saddr, daddr, tos, nh.fibNhOif, inDev.dev, inDev);
  if (err < 0) return ipHandleMartianSource(inDev.dev, inDev, skb, daddr, saddr, err);
  const isIp = skbProtocol(skb) === ETH_P_IP;
  if (outDev === inDev && err > 0 && isIp && inDevTxRedirects(outDev)) {
    const gw = nh.fibNhHasGw ? nh.fibNhGw : 0;
    if (inDevSharedMedia(outDev) || inetAddrOnlink(outDev, saddr, gw)) {
      u16[(skb + IPCB_FLAGS) >>> 1] |= IPSKB_DOREDIRECT;
    }
  }
  // Not IP, that is ARP: a route back over the same device is no business of a proxy.
  if (!isIp && outDev === inDev && !inDevProxyArpPvlan(inDev)) return -EINVAL;

  const fnhe = findException(nh, daddr);
  let rth = fnhe !== null ? fnhe.fnheRthInput : rtCached(nh, dev, daddr, true, res.type);
  if (!rtCacheValid(rth)) {
    rth = rtDstAlloc(dev, 0, res.type);
    rth.rtIsInput = true;
    rth.input = ipForward;
    rth.inputSetBy = "__mkroute_input";
    rth.output = ipOutput;
    rth.outputSetBy = "__mkroute_input";
    inDev.dev.net.ipv4.rtCacheStat.inSlowTot++;
    rtSetNexthop(rth, daddr, res, fnhe, fi, true);
    // Only packets need the neighbour; a lookup for ARP asks who is responsible.
    if (isIp && arpBindNeighbour(rth) < 0) rth.neighbour = null;
  }
  skbDstSet(skb, rth);
  return 0;
}

function ipHandleMartianDestination(dev: NetDevice, inDev: InDevice, daddr: number, saddr: number): number {
  const stat = dev.net.ipv4.rtCacheStat;
  stat.inMartianDst++;
  if (inDevLogMartians(inDev)) {
    stat.martiansLogged++;
    if (netRatelimit()) {
      printk(KERN_WARNING, `IPv4: martian destination ${inetNtoa(daddr)} from ${inetNtoa(saddr)}, dev ${dev.name}`);
    }
  }
  return -EINVAL;
}

/** ip_handle_martian_source: RFC 1812 §5.3.8 recommends to log them. Returns `err`. */
function ipHandleMartianSource(
  dev: NetDevice,
  inDev: InDevice,
  _skb: number,
  daddr: number,
  saddr: number,
  err: number,
): number {
  const stat = dev.net.ipv4.rtCacheStat;
  stat.inMartianSrc++;
  if (inDevLogMartians(inDev)) {
    stat.martiansLogged++;
    if (netRatelimit()) {
      printk(KERN_WARNING, `IPv4: martian source ${inetNtoa(daddr)} from ${inetNtoa(saddr)}, on dev ${dev.name}`);
    }
  }
  return err;
}

// ---- ICMP that routing sends ----------------------------------------------------------------------------------------------

/** ip_error: dst.input where there is no route: ICMP to a router's clients (rate limited), silence from a host. */
export function ipError(skb: number): number {
  const rt = skbRtable(skb) as Rtable;
  const inDev = inDevGet(skbDev(skb));
  let reason = SKB_DROP_REASON_NOT_SPECIFIED;
  if (inDev === null) {
    kfreeSkbReason(skb, reason);
    return 0;
  }
  const net = rt.dev.net;
  if (!inDevForward(inDev)) {
    if (rt.error === -EHOSTUNREACH) {
      reason = SKB_DROP_REASON_IP_INADDRERRORS;
      ipIncStats(net, IPSTATS_MIB_INADDRERRORS);
    } else if (rt.error === -ENETUNREACH) {
      reason = SKB_DROP_REASON_IP_INNOROUTES;
      ipIncStats(net, IPSTATS_MIB_INNOROUTES);
    }
    kfreeSkbReason(skb, reason);
    return 0;
  }
  let code = -1;
  if (rt.error === -EHOSTUNREACH) {
    code = ICMP_HOST_UNREACH;
  } else if (rt.error === -ENETUNREACH) {
    code = ICMP_NET_UNREACH;
    reason = SKB_DROP_REASON_IP_INNOROUTES;
    ipIncStats(net, IPSTATS_MIB_INNOROUTES);
  } else if (rt.error === -EACCES) {
    code = ICMP_PKT_FILTERED;
  }
  if (code >= 0) {
    const ipv4 = net.ipv4;
    const peer = inetGetpeerV4(net, ipHdrSaddr(ipHdr(skb)));
    const now = kernel.jiffies;
    peer.rateTokens = Math.min(peer.rateTokens + (now - peer.rateLast), ipv4.ipRtErrorBurst);
    peer.rateLast = now;
    if (peer.rateTokens >= ipv4.ipRtErrorCost) {
      peer.rateTokens -= ipv4.ipRtErrorCost;
      icmpSend(skb, ICMP_DEST_UNREACH, code, 0);
    }
  }
  kfreeSkbReason(skb, reason);
  return 0;
}

/**
 * ip_rt_send_redirect: tells the sender of `skb` of the better router on its own link (RFC 1812 §5.2.7.2). Each one that
 * is ignored doubles the time to the next, and after redirect_number of them there is silence. Does not consume `skb`.
 */
export function ipRtSendRedirect(skb: number): void {
  const rt = skbRtable(skb) as Rtable;
  const inDev = inDevGet(rt.dev);
  if (inDev === null || !inDevTxRedirects(inDev)) return;
  const net = rt.dev.net;
  const ipv4 = net.ipv4;
  const iph = ipHdr(skb);
  const peer = inetGetpeerV4(net, ipHdrSaddr(iph));
  const now = kernel.jiffies;
  if (now > peer.rateLast + ipv4.ipRtRedirectSilence) {
    peer.rateTokens = 0;
    peer.nRedirects = 0;
  }
  if (peer.nRedirects >= ipv4.ipRtRedirectNumber) {
    peer.rateLast = now;
    return;
  }
  if (peer.nRedirects === 0 || now > peer.rateLast + ipv4.ipRtRedirectLoad * 2 ** peer.nRedirects) {
    icmpSend(skb, ICMP_REDIRECT, ICMP_REDIR_HOST, rtNexthop(rt, ipHdrDaddr(iph)));
    peer.rateLast = now;
    peer.nRedirects++;
  }
}

// ---- setup -----------------------------------------------------------------------------------------------------------------------

export const rtNetOps: PernetOperations = {
  name: "route",
  init(net: Net): number {
    net.ipv4.rtCacheStat = new RtCacheStat();
    net.ipv4.rthUnreach = new Map();
    net.ipv4.rthBrdInput = null;
    net.ipv4.rthMcInput = null;
    registerSysctl(
      net,
      "net.ipv4.route.flush",
      () => "",
      () => {
        rtCacheFlush(net);
        return 0;
      },
    );
    // rt_genid_init: a random start, so that a dst of one namespace is never taken for valid in another.
    net.ipv4.rtGenid = net.kernel.random.u32() & 0x3fffffff;
    return 0;
  },
  exit(): void {},
};

/** ip_rt_init. */
export function ipRtInit(): void {
  netnsIpv4Init();
  rtnetlinkInit();
  arpInit();
  registerPernetSubsys(rtNetOps);
  devinetInit();
  ipFibInit();
  registerPernetSubsys(devinetDevicesNetOps);
}
