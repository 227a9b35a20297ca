/**
 * The part of route.c that learns: path MTUs (RFC 1191) and redirects (RFC 1122 §3.2.2.2), kept as exceptions of a next
 * hop.
 */

import { SKB_TRANSPORT_HEADER } from "../../../assembly/layout.ts";
import { BugError } from "../../kernel/bug.ts";
import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbData } from "../../mm/skb.ts";
import { ICMP_REDIR_HOSTTOS } from "../../uapi/icmp.ts";
import { NUD_VALID, RT_SCOPE_UNIVERSE, RTAX_MTU, RTN_UNICAST } from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import type { DstEntry } from "../core/dst.ts";
import { neighCreate, neighEventSend } from "../core/neighbour.ts";
import type { Net } from "../core/net_namespace.ts";
import { skbDev } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { skDstGet, skDstSet } from "../core/sock.ts";
import { arpTbl } from "./arp.ts";
import { inDevGet, inDevRxRedirects, inDevSecRedirects, inDevSharedMedia, inetAddrOnlink } from "./devinet.ts";
import { inetAddrType } from "./fib_frontend.ts";
import { fibLookup } from "./fib_rules.ts";
import type { FibInfo, FibNh } from "./fib_semantics.ts";
import { fibSelectPath } from "./fib_semantics.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { ipv4IsLbcast, ipv4IsMulticast, ipv4IsZeronet } from "./inet_addr.ts";
import type { InetSock } from "./inet_sock.ts";
import { inetSkFlowiFlags, ipHdr, ipHdrDaddr, ipHdrProtocol, ipHdrSaddr, ipHdrTos, ipSkAcceptPmtu } from "./ip.ts";
import { FibResult } from "./ip_fib.ts";
import type { Rtable } from "./route.ts";
import {
  __ipRouteOutputKey,
  DST_OBSOLETE_KILL,
  FibNhException,
  fillRouteFromFnhe,
  ipDelFnhe,
  ipRouteOutputFlow,
  ipv4DstCheck,
  ipv4Mtu,
} from "./route.ts";

/** The ICMP header's "gateway" field of a redirect. */
const ICMP_GATEWAY = 4;
/** ip_rt_gc_timeout: how long a redirect is followed, microseconds. */
const RT_GC_TIMEOUT = 300e6;
/** Exceptions of a next hop. */
const FNHE_MAX = 2048;

const pmtuFl: FlowI4 = new FlowI4();

/** ip_rt_update_pmtu (dst_ops.update_pmtu): a packet of `mtu` bytes at most goes this way. `skb` 0: for the socket's flow. */
export function ipRtUpdatePmtu(dst: DstEntry, sk: Sock | null, skb: number, mtu: number, _confirm: boolean): void {
  ipRtBuildFlowKey(pmtuFl, sk, skb);
  __ipRtUpdatePmtu(dst as Rtable, pmtuFl, mtu);
}

/** ip_do_redirect (dst_ops.redirect). */
export function ipDoRedirect(dst: DstEntry, sk: Sock | null, skb: number): void {
  buildQuotedFlowKey(pmtuFl, sk, skb, 0, ipHdrProtocol(skbData(skb)));
  __ipDoRedirect(dst as Rtable, skb, pmtuFl, true);
}

// ---- what is learnt (RFC 1191, RFC 1812 §5.2.7.2) ------------------------------------------------------------------------------

/** build_skb_flow_key, build_sk_flow_key. */
function ipRtBuildFlowKey(fl4: FlowI4, sk: Sock | null, skb: number): void {
  if (skb !== 0) {
    const iph = ipHdr(skb);
    const dev = skbDev(skb);
    buildFlowKey(fl4, sk, iph, dev === null ? 0 : dev.ifindex, ipHdrTos(iph), ipHdrProtocol(iph));
    return;
  }
  if (sk === null) throw new BugError("a flow key needs a packet or a socket");
  const inet = sk as InetSock;
  const flags = inetSkFlowiFlags(sk);
  const daddr = inet.inetOpt !== null && inet.corkFl.daddr !== 0 ? inet.corkFl.daddr : sk.skcDaddr;
  flowi4InitOutput(
    fl4,
    sk.skcBoundDevIf,
    sk.skMark,
    inet.tos & 0xfc,
    RT_SCOPE_UNIVERSE,
    sk.skProtocol,
    flags,
    daddr,
    inet.inetSaddr,
    0,
    0,
  );
}

/** __build_flow_key: the flow of the packet with the IP header at `iph`. */
function buildFlowKey(fl4: FlowI4, sk: Sock | null, iph: number, oif: number, tos: number, protocol: number): void {
  let mark = 0;
  let flags = 0;
  let dscp = tos;
  let dev = oif;
  let prot = protocol;
  if (sk !== null) {
    dev = sk.skcBoundDevIf;
    mark = sk.skMark;
    dscp = (sk as InetSock).tos;
    prot = sk.skProtocol;
    flags = inetSkFlowiFlags(sk);
  }
  flowi4InitOutput(fl4, dev, mark, dscp & 0xfc, RT_SCOPE_UNIVERSE, prot, flags, ipHdrDaddr(iph), ipHdrSaddr(iph), 0, 0);
}

/** The flow of the packet that an ICMP error quotes: skb->data is at the quoted IP header. */
function buildQuotedFlowKey(fl4: FlowI4, sk: Sock | null, skb: number, oif: number, protocol: number): void {
  const iph = skbData(skb);
  buildFlowKey(fl4, sk, iph, oif, ipHdrTos(iph), protocol);
}

const learnRes: FibResult = new FibResult();

/** __ip_rt_update_pmtu: makes an exception for the destination, for mtu_expires. */
function __ipRtUpdatePmtu(rt: Rtable, fl4: FlowI4, mtu0: number): void {
  const net = rt.dev.net;
  const ipv4 = net.ipv4;
  if (rt.rtMtuLocked || (rt.metricsLock & (1 << RTAX_MTU)) !== 0) return;
  const oldMtu = ipv4Mtu(rt);
  if (oldMtu < mtu0) return;
  let mtu = mtu0;
  let lock = false;
  if (mtu < ipv4.ipRtMinPmtu) {
    // Too small to be believed: packets are sent without DF from now on.
    lock = true;
    mtu = Math.min(oldMtu, ipv4.ipRtMinPmtu);
  }
  const lifetime = ipv4.ipRtMtuExpires * USEC_PER_JIFFY;
  if (rt.rtPmtu === mtu && !lock && kernel.now < rt.expires - lifetime / 2) return;
  const res = learnRes;
  if (fibLookup(net, fl4, res, 0) !== 0) return;
  const expires = kernel.now + lifetime;
  const nhs = (res.fi as FibInfo).fibNh;
  for (let i = 0; i < nhs.length; i++) {
    updateOrCreateFnhe(net, nhs[i] as FibNh, fl4.daddr, 0, mtu, lock, expires);
  }
}

/** update_or_create_fnhe. */
function updateOrCreateFnhe(
  net: Net,
  nh: FibNh,
  daddr: number,
  gw: number,
  pmtu: number,
  lock: boolean,
  expires: number,
): void {
  nh.nhcExceptions ??= new Map();
  const table = nh.nhcExceptions;
  let fnhe = table.get(daddr | 0);
  if (fnhe !== undefined) {
    fnhe.fnheGenid = net.ipv4.rtGenid;
    if (gw !== 0) fnhe.fnheGw = gw;
    if (pmtu !== 0) {
      fnhe.fnhePmtu = pmtu;
      fnhe.fnheMtuLocked = lock;
    }
    fnhe.fnheExpires = Math.max(1, expires);
    if (fnhe.fnheRthInput !== null) fillRouteFromFnhe(fnhe.fnheRthInput, fnhe);
    if (fnhe.fnheRthOutput !== null) fillRouteFromFnhe(fnhe.fnheRthOutput, fnhe);
  } else {
    if (table.size >= FNHE_MAX) fnheRemoveOldest(nh, table);
    fnhe = new FibNhException(daddr);
    fnhe.fnheGenid = net.ipv4.rtGenid;
    fnhe.fnheGw = gw;
    fnhe.fnhePmtu = pmtu;
    fnhe.fnheMtuLocked = lock;
    fnhe.fnheExpires = Math.max(1, expires);
    table.set(daddr | 0, fnhe);
    // Whoever holds a decision of this next hop asks again, to see whether the exception is about it.
    if (nh.nhcRthInput !== null) nh.nhcRthInput.obsolete = DST_OBSOLETE_KILL;
    if (nh.nhcRthOutput !== null) nh.nhcRthOutput.obsolete = DST_OBSOLETE_KILL;
    nh.nhcRthOnlink?.kill(daddr);
  }
  fnhe.fnheStamp = kernel.now;
}

function fnheRemoveOldest(nh: FibNh, table: Map<number, FibNhException>): void {
  let oldest: FibNhException | null = null;
  for (const fnhe of table.values()) if (oldest === null || fnhe.fnheStamp < oldest.fnheStamp) oldest = fnhe;
  if (oldest !== null) ipDelFnhe(nh, oldest);
}

/**
 * ipv4_update_pmtu: an ICMP_FRAG_NEEDED arrived for a packet of this host. skb->data is at the quoted IP header. Does not
 * consume the skb.
 */
export function ipv4UpdatePmtu(skb: number, net: Net, mtu: number, oif: number, protocol: number): void {
  buildQuotedFlowKey(pmtuFl, null, skb, oif, protocol);
  const rt = __ipRouteOutputKey(net, pmtuFl);
  if (rt !== null) __ipRtUpdatePmtu(rt, pmtuFl, mtu);
}

/** ipv4_sk_update_pmtu: the same for a socket, whose route follows. */
export function ipv4SkUpdatePmtu(skb: number, sk: Sock, mtu: number): void {
  if (!ipSkAcceptPmtu(sk)) return;
  const odst = skDstGet(sk);
  const fl4 = pmtuFl;
  buildQuotedFlowKey(fl4, sk, skb, 0, sk.skProtocol);
  if (odst === null) {
    const rt = __ipRouteOutputKey(sk.net, fl4);
    if (rt !== null) __ipRtUpdatePmtu(rt, fl4, mtu);
    return;
  }
  let rt: Rtable | null = odst as Rtable;
  if (odst.obsolete !== 0 && ipv4DstCheck(odst, 0) === null) rt = ipRouteOutputFlow(sk.net, fl4, sk);
  if (rt === null) return;
  __ipRtUpdatePmtu(rt, fl4, mtu);
  if (ipv4DstCheck(rt, 0) === null) {
    rt = ipRouteOutputFlow(sk.net, fl4, sk);
    if (rt === null) return;
  }
  if (rt !== odst) skDstSet(sk, rt);
}

/** ipv4_redirect: an ICMP_REDIRECT arrived; skb->data is at the quoted IP header. Does not consume the skb. */
export function ipv4Redirect(skb: number, net: Net, oif: number, protocol: number): void {
  buildQuotedFlowKey(pmtuFl, null, skb, oif, protocol);
  const rt = __ipRouteOutputKey(net, pmtuFl);
  if (rt !== null) __ipDoRedirect(rt, skb, pmtuFl, false);
}

/** ipv4_sk_redirect. */
export function ipv4SkRedirect(skb: number, sk: Sock): void {
  buildQuotedFlowKey(pmtuFl, sk, skb, 0, sk.skProtocol);
  const rt = __ipRouteOutputKey(sk.net, pmtuFl);
  if (rt !== null) __ipDoRedirect(rt, skb, pmtuFl, false);
}

/**
 * __ip_do_redirect: believes a redirect only from the gateway that the route leads over, and only to a router that can be
 * on the link (RFC 1122 §3.2.2.2).
 */
function __ipDoRedirect(rt: Rtable, skb: number, fl4: FlowI4, killRoute: boolean): void {
  const icmph = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2];
  const newGw = dv.getUint32(icmph + ICMP_GATEWAY);
  const oldGw = ipHdrSaddr(ipHdr(skb));
  const code = u8[icmph + 1] & 7;
  if (code > ICMP_REDIR_HOSTTOS) return;
  if (!rt.rtUsesGateway || rt.rtGateway !== oldGw) return;
  const dev = skbDev(skb);
  const inDev = inDevGet(dev);
  if (inDev === null) return;
  const net = dev.net;
  if (
    newGw === oldGw ||
    !inDevRxRedirects(inDev) ||
    ipv4IsMulticast(newGw) ||
    ipv4IsLbcast(newGw) ||
    ipv4IsZeronet(newGw)
  ) {
    return;
  }
  if (!inDevSharedMedia(inDev)) {
    if (!inetAddrOnlink(inDev, newGw, oldGw)) return;
    if (inDevSecRedirects(inDev) && !ipFibCheckDefault(net, newGw, dev)) return;
  } else if (inetAddrType(net, newGw) !== RTN_UNICAST) {
    return;
  }
  const n = neighCreate(arpTbl, newGw, rt.dev);
  if (n === null) return;
  if ((n.nudState & NUD_VALID) === 0) {
    // Find out whether the new router is there; the next redirect will find it known.
    neighEventSend(n, 0);
    return;
  }
  const res = learnRes;
  if (fibLookup(net, fl4, res, 0) === 0) {
    fibSelectPath(net, res, fl4);
    updateOrCreateFnhe(net, res.nhc as FibNh, fl4.daddr, newGw, 0, false, kernel.now + RT_GC_TIMEOUT);
  }
  if (killRoute) rt.obsolete = DST_OBSOLETE_KILL;
}

/** ip_fib_check_default: is `gw` one of the gateways that this host has over `dev`? */
function ipFibCheckDefault(net: Net, gw: number, dev: NetDevice): boolean {
  for (const list of net.ipv4.fibInfoHash.values()) {
    for (const fi of list) {
      for (const nh of fi.fibNh) if (nh.fibNhDev === dev && nh.fibNhHasGw && nh.fibNhGw === gw) return true;
    }
  }
  return false;
}
