/** Routing decisions (signatures; being filled in). */

import type { NetDevice } from "../core/dev.ts";
import type { DstOps } from "../core/dst.ts";
import { DstEntry } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import { ErrBox } from "../core/sock.ts";
import type { Sock } from "../core/sock.ts";
import type { FlowI4 } from "./flow.ts";

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
  /** ifindex of the input device; 0 on output routes. */
  rtIif = 0;
  /** The next hop: the gateway, or the destination. Host order. */
  rtGateway = 0;
  /** A path MTU that was learnt (0 = none), and whether it is below the minimum and so locks out discovery. */
  rtPmtu = 0;
  rtMtuLocked = false;

  constructor(dev: NetDevice, ops: DstOps, metrics: Float64Array) {
    super(dev, ops, metrics);
  }
}

function todo(): never {
  throw new Error("todo");
}

/** The route of a packet that this host sends; null with `routeErr.value` set. Fills fl4.saddr (and daddr). */
export function ipRouteOutputFlow(net: Net, fl4: FlowI4, sk: Sock | null): Rtable | null { return todo(); }
export function ipRouteOutputKey(net: Net, fl4: FlowI4): Rtable | null { return todo(); }
/** ip_route_connect: fills `fl4` for a connection and finds its route, choosing the source address if `src` is 0. */
export function ipRouteConnect(fl4: FlowI4, dst: number, src: number, oif: number, protocol: number, sport: number, dport: number, sk: Sock): Rtable | null { return todo(); }
/** ip_route_newports: the route again if the ports were not known before; null with routeErr. */
export function ipRouteNewports(fl4: FlowI4, rt: Rtable, origSport: number, origDport: number, sport: number, dport: number, sk: Sock): Rtable | null { return todo(); }
/** Routes a received packet and sets its dst: 0 or a negative errno (-EINVAL martian, -EHOSTUNREACH, -EXDEV rp_filter). */
export function ipRouteInput(skb: number, daddr: number, saddr: number, tos: number, dev: NetDevice): number { return todo(); }
/** dst.input of unreachable, prohibit and (input) blackhole routes. */
export function ipError(skb: number): number { return todo(); }
/** rt_nexthop: the gateway, or `daddr` on a link. */
export function rtNexthop(rt: Rtable, daddr: number): number { return todo(); }
export function rtIsInputRoute(rt: Rtable): boolean { return rt.rtIsInput; }
export function rtIsOutputRoute(rt: Rtable): boolean { return !rt.rtIsInput; }
/** skb_rtable. */
export function skbRtable(skb: number): Rtable | null { return todo(); }
export function ip4DstHoplimit(dst: DstEntry): number { return todo(); }
/** rt_cache_flush: every cached route is looked up again. */
export function rtCacheFlush(net: Net): void { todo(); }
/** Sends an ICMP redirect to the sender of `skb` (rate limited); does not consume it. */
export function ipRtSendRedirect(skb: number): void { todo(); }
/** An ICMP_FRAG_NEEDED arrived (skb data: the quoted IP header): remembers the path MTU. */
export function ipv4UpdatePmtu(skb: number, net: Net, mtu: number, oif: number, protocol: number): void { todo(); }
export function ipv4SkUpdatePmtu(skb: number, sk: Sock, mtu: number): void { todo(); }
export function ipv4Redirect(skb: number, net: Net, oif: number, protocol: number): void { todo(); }
export function ipv4SkRedirect(skb: number, sk: Sock): void { todo(); }
export function ipRtInit(): void { todo(); }
