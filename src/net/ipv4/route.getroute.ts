/** The part of route.c that answers `ip route get`. */

import { SKB_MARK } from "../../../assembly/layout.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbResetNetworkHeader, skbSetProtocol } from "../../mm/skb.ts";
import { EINVAL, ENOBUFS, ENODEV } from "../../uapi/errno.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { RT_TABLE_LOCAL, RT_TABLE_MAIN, RTCF_DOREDIRECT } from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import type { RouteMsg } from "../core/rtnetlink.ts";
import { allocSkb, consumeSkb, skbPut, skbReserve, skbSetDev } from "../core/skbuff.ts";
import type { FibTable } from "./fib_trie.ts";
import { FlowI4 } from "./flow.ts";
import { IPSKB_DOREDIRECT, ipcbClear, ipcbFlags } from "./ip.ts";
import { FibResult } from "./ip_fib.ts";
import type { Rtable } from "./route.ts";
import { __ipRouteOutputKey, inRes, ipRouteInput, outRes, routeErr, skbRtable } from "./route.ts";

/** The answer to RTM_GETROUTE (`ip route get`). Addresses in host order; 0 = absent. */
export interface RouteAnswer {
  readonly rt: Rtable;
  /** RTCF_* (unsigned): the route's, and RTCF_DOREDIRECT. */
  readonly flags: number;
  readonly daddr: number;
  /** Asked for, and chosen. */
  readonly src: number;
  readonly prefsrc: number;
  readonly gateway: number;
  readonly oif: number;
  readonly iif: number;
  readonly tos: number;
  readonly mark: number;
  /** The table of the route; 0 = none was asked. */
  readonly table: number;
  /** The route itself, for `fibmatch`; null if no table was asked. */
  readonly res: FibResult | null;
}

/** inet_rtm_getroute: asks as a packet with these properties would. The answer, or a negative errno. */
export function inetRtmGetroute(net: Net, msg: RouteMsg): RouteAnswer | number {
  const fl4 = new FlowI4();
  const dst = msg.dst ?? 0;
  const src = msg.src ?? 0;
  fl4.daddr = dst;
  fl4.saddr = src;
  fl4.flowi4Tos = (msg.tos ?? 0) & 0xfc;
  fl4.flowi4Oif = msg.oif ?? 0;
  fl4.flowi4Mark = msg.mark ?? 0;
  fl4.flowi4Proto = msg.ipproto ?? 0;
  fl4.fl4Sport = msg.sport ?? 0;
  fl4.fl4Dport = msg.dport ?? 0;
  const iif = msg.iif ?? 0;
  let redirect = 0;
  let rt: Rtable | null;
  let res: FibResult;
  if (iif !== 0) {
    const dev = net.devByIndex.get(iif);
    if (dev === undefined) return -ENODEV;
    const skb = getrouteSkb(dev, dst, src, fl4);
    if (skb === 0) return -ENOBUFS;
    const err = ipRouteInput(skb, dst, src, fl4.flowi4Tos, dev);
    rt = err === 0 ? skbRtable(skb) : null;
    if ((ipcbFlags(skb) & IPSKB_DOREDIRECT) !== 0) redirect = RTCF_DOREDIRECT;
    consumeSkb(skb);
    // Whatever was wrong with it: the kernel knows only a drop reason by now.
    if (rt === null) return -EINVAL;
    if (rt.error !== 0) return rt.error;
    res = inRes;
  } else {
    rt = __ipRouteOutputKey(net, fl4);
    if (rt === null) return routeErr.value;
    res = outRes;
  }
  return {
    rt,
    flags: (rt.rtFlags | redirect) >>> 0,
    daddr: fl4.daddr === 0 || dst === 0 ? dst : fl4.daddr,
    src,
    prefsrc: !rt.rtIsInput && fl4.saddr !== src ? fl4.saddr : 0,
    gateway: rt.rtUsesGateway ? rt.rtGateway : 0,
    oif: rt.dev.ifindex,
    iif,
    tos: fl4.flowi4Tos,
    mark: fl4.flowi4Mark,
    table: tableOf(net, res),
    res: res.fi === null ? null : Object.assign(new FibResult(), res),
  };
}

/** As long as there are no rules, local and main are one table, which is main. */
function tableOf(net: Net, res: FibResult): number {
  if (res.table === null) return 0;
  const id = (res.table as FibTable).tbId;
  return id === RT_TABLE_LOCAL && !net.ipv4.fibHasCustomRules ? RT_TABLE_MAIN : id;
}

/** inet_rtm_getroute_build_skb: the packet that is asked about. */
function getrouteSkb(dev: NetDevice, dst: number, src: number, fl4: FlowI4): number {
  const skb = allocSkb(128);
  if (skb === 0) return 0;
  skbReserve(skb, 64);
  skbResetNetworkHeader(skb);
  const iph = skbPut(skb, 28);
  u8.fill(0, iph, iph + 28);
  u8[iph] = 0x45;
  u8[iph + 9] = fl4.flowi4Proto;
  dv.setUint32(iph + 12, src);
  dv.setUint32(iph + 16, dst);
  dv.setUint16(iph + 20, fl4.fl4Sport);
  dv.setUint16(iph + 22, fl4.fl4Dport);
  skbSetDev(skb, dev);
  skbSetProtocol(skb, ETH_P_IP);
  ipcbClear(skb);
  u32[(skb + SKB_MARK) >>> 2] = fl4.flowi4Mark;
  return skb;
}
