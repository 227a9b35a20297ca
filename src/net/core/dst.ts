/** struct dst_entry: the result of a routing decision, and the pointers that carry a packet on from it. */

import { RTAX_MTU } from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "./dev.ts";
import type { HhCache, Neighbour } from "./neighbour.ts";
import type { Net } from "./net_namespace.ts";
import { skbDst } from "./skbuff.ts";
import type { Sock } from "./sock.ts";

/** Size of the metrics array: RTAX_MAX + 1. */
export const RTAX_SLOTS = 18;

export interface DstOps {
  readonly family: number;
  /** Returns the dst if it still holds, null if it has to be looked up again. */
  check(dst: DstEntry, cookie: number): DstEntry | null;
  defaultAdvmss(dst: DstEntry): number;
  mtu(dst: DstEntry): number;
  /** A hint that the path has failed (tcp_write_timeout); null = look it up again. */
  negativeAdvice(sk: Sock, dst: DstEntry): void;
  linkFailure(skb: number): void;
  updatePmtu(dst: DstEntry, sk: Sock | null, skb: number, mtu: number, confirmNeigh: boolean): void;
  redirect(dst: DstEntry, sk: Sock | null, skb: number): void;
  /** Binds the dst to the neighbour of its next hop (dst.neighbour) and returns it; null when there can be none. */
  neighLookup?(dst: DstEntry, skb: number): Neighbour | null;
}

export class DstEntry {
  dev: NetDevice;
  ops: DstOps;
  /** Index RTAX_*; 0 = not set. Copy on write: shared with the route until dst_metric_set. */
  metrics: Float64Array;
  /** Bit 1 << RTAX_x: the metric is locked. */
  metricsLock = 0;
  /** Negative errno of an unreachable route; 0 = fine. */
  error = 0;
  /** DST_HOST | DST_NOXFRM ... */
  flags = 0;
  /** Set when a route change made this entry stale (dst->obsolete). */
  obsolete = 0;
  /** Microseconds of the last use. */
  lastuse = 0;
  /** skb->dst->input(skb): ip_local_deliver, ip_forward, ip_error ... */
  input: (skb: number) => number = dstDiscardIn;
  inputSetBy = "dst_init";
  /** skb->dst->output(net, sk, skb): ip_output, ip_mc_output, ip_rt_bug ... */
  output: (net: Net, sk: Sock | null, skb: number) => number = dstDiscardOut;
  outputSetBy = "dst_init";
  /** Bound by arp_bind_neighbour; null on devices without neighbours. */
  neighbour: Neighbour | null = null;
  /** Points at neighbour.hh once neigh_hh_init has filled it (dst->hh of 2.6.30). */
  hh: HhCache | null = null;
  headerLen = 0;
  trailerLen = 0;

  constructor(dev: NetDevice, ops: DstOps, metrics: Float64Array) {
    this.dev = dev;
    this.ops = ops;
    this.metrics = metrics;
  }
}

function dstDiscardIn(_skb: number): number {
  throw new Error("dst.input is not set");
}
function dstDiscardOut(_net: Net, _sk: Sock | null, _skb: number): number {
  throw new Error("dst.output is not set");
}

export function dstMetric(dst: DstEntry, metric: number): number {
  return dst.metrics[metric] as number;
}
export function dstMetricLocked(dst: DstEntry, metric: number): boolean {
  return (dst.metricsLock & (1 << metric)) !== 0;
}
/** The path MTU in bytes, IP header included. */
export function dstMtu(dst: DstEntry): number {
  return dst.ops.mtu(dst);
}
export function dstMetricAdvmss(dst: DstEntry): number {
  const advmss = dst.metrics[8] as number; // RTAX_ADVMSS
  return advmss !== 0 ? advmss : dst.ops.defaultAdvmss(dst);
}
export function dstMtuLocked(dst: DstEntry): boolean {
  return dstMetricLocked(dst, RTAX_MTU);
}

/** dst_output: what NF_INET_LOCAL_OUT goes on with. Consumes the skb. */
export function dstOutput(net: Net, sk: Sock | null, skb: number): number {
  return (skbDst(skb) as DstEntry).output(net, sk, skb);
}
/** dst_input: ip_local_deliver, ip_forward ... Consumes the skb. */
export function dstInput(skb: number): number {
  return (skbDst(skb) as DstEntry).input(skb);
}
