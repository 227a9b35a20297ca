/** Token bucket filter (net/sched/sch_tbf.c): a rate, bursts up to a size, and a queue in front. */

import { SKB_NEXT } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { u32 } from "../../mm/mem.ts";
import { skbIsGso, skbLen } from "../../mm/skb.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { NET_XMIT_DROP, NET_XMIT_SUCCESS, NETIF_F_GSO_MASK, netifSkbFeatures } from "../core/dev.ts";
import { skbGsoSegment, skbGsoValidateMacLen } from "../core/gso.ts";
import {
  Qdisc,
  type QdiscOps,
  type QdiscOpt,
  qdiscBstatsUpdate,
  qdiscDequeuePeeked,
  qdiscDrop,
  qdiscEnqueue,
  qdiscPktLen,
  qdiscPktLenSet,
  qdiscReplace,
  qdiscReset,
  qdiscTreeReduceBacklog,
} from "../core/sch_generic_h.ts";
import { consumeSkb } from "../core/skbuff.ts";
import { QdiscWatchdog, qdiscWatchdogCancel, qdiscWatchdogSchedule } from "./sch_api.ts";
import { bfifoQdiscOps } from "./sch_fifo.ts";
import { qdiscDestroy } from "./sch_generic.ts";

export interface TbfOpt {
  /** Bytes a second. */
  rate: number;
  /** Bytes that may go out at once (also called buffer, maxburst); at least a frame. */
  burst: number;
  /** How long a packet may wait, in microseconds; instead of limit. */
  latency?: number;
  /** Bytes that may wait for tokens. One of latency and limit is needed. */
  limit?: number;
  /** Bytes a second at which a burst goes out; needs mtu. */
  peakrate?: number;
  /** Bytes of the peak rate's bucket: a frame or a little more. */
  mtu?: number;
}

class TbfPriv {
  opt: TbfOpt = { rate: 1, burst: 1, limit: 1 };
  /** Microseconds a byte. */
  usPerByte = 0;
  peakUsPerByte = 0;
  /** The buckets, in microseconds of sending. */
  buffer = 0;
  mtu = 0;
  maxSize = 0;
  tokens = 0;
  ptokens = 0;
  tC = 0;
  qdisc: Qdisc = null as unknown as Qdisc;
  readonly watchdog: QdiscWatchdog;

  constructor(sch: Qdisc) {
    this.watchdog = new QdiscWatchdog(sch);
  }
}

/** A super-packet that is larger than the bucket is sent in segments. */
function tbfSegment(skb: number, sch: Qdisc): number {
  const priv = sch.priv as TbfPriv;
  const len = qdiscPktLen(skb);
  let seg = skbGsoSegment(skb, netifSkbFeatures(skb) & ~NETIF_F_GSO_MASK);
  if (seg === 0) return qdiscDrop(skb, sch);
  let queued = 0;
  let bytes = 0;
  while (seg !== 0) {
    const next = u32[(seg + SKB_NEXT) >>> 2] as number;
    u32[(seg + SKB_NEXT) >>> 2] = 0;
    const size = skbLen(seg);
    qdiscPktLenSet(seg, size);
    if (qdiscEnqueue(seg, priv.qdisc) === NET_XMIT_SUCCESS) {
      queued++;
      bytes += size;
    } else {
      sch.stats.drops++;
    }
    seg = next;
  }
  sch.q.qlen += queued;
  sch.stats.backlog += bytes;
  // Those above have counted one packet.
  if (queued > 0) qdiscTreeReduceBacklog(sch, 1 - queued, len - bytes);
  consumeSkb(skb);
  return queued > 0 ? NET_XMIT_SUCCESS : NET_XMIT_DROP;
}

function tbfEnqueue(skb: number, sch: Qdisc): number {
  const priv = sch.priv as TbfPriv;
  const len = qdiscPktLen(skb);
  if (len > priv.maxSize) {
    if (skbIsGso(skb) && skbGsoValidateMacLen(skb, priv.maxSize)) return tbfSegment(skb, sch);
    return qdiscDrop(skb, sch);
  }
  const ret = qdiscEnqueue(skb, priv.qdisc);
  if (ret !== NET_XMIT_SUCCESS) {
    sch.stats.drops++;
    return ret;
  }
  sch.stats.backlog += len;
  sch.q.qlen++;
  return NET_XMIT_SUCCESS;
}

/** About a nanosecond, in microseconds: more than a double's step for the first three years. */
const NSEC: number = 1 / 128;

function tbfDequeue(sch: Qdisc): number {
  const priv = sch.priv as TbfPriv;
  const inner = priv.qdisc;
  const head = (inner.ops.peek as (sch: Qdisc) => number)(inner);
  if (head === 0) return 0;
  const { now } = kernel;
  const len = qdiscPktLen(head);
  let toks = Math.min(now - priv.tC, priv.buffer);
  let ptoks = 0;
  if (priv.peakUsPerByte > 0) ptoks = Math.min(toks + priv.ptokens, priv.mtu) - len * priv.peakUsPerByte;
  toks = Math.min(toks + priv.tokens, priv.buffer) - len * priv.usPerByte;
  // Whole nanoseconds are what the kernel counts; less than that, added to the time of a machine that has been up for weeks,
  // is lost in the rounding, and the packet would wait for a time that is now.
  if (toks > -NSEC && ptoks > -NSEC) {
    const skb = qdiscDequeuePeeked(inner);
    if (skb === 0) return 0;
    priv.tC = now;
    priv.tokens = toks;
    priv.ptokens = ptoks;
    sch.stats.backlog -= qdiscPktLen(skb);
    sch.q.qlen--;
    qdiscBstatsUpdate(sch, skb);
    return skb;
  }
  qdiscWatchdogSchedule(priv.watchdog, now + Math.max(-toks, -ptoks));
  sch.stats.overlimits++;
  return 0;
}

function tbfPeek(sch: Qdisc): number {
  const inner = (sch.priv as TbfPriv).qdisc;
  return (inner.ops.peek as (sch: Qdisc) => number)(inner);
}

function tbfReset(sch: Qdisc): void {
  const priv = sch.priv as TbfPriv;
  qdiscReset(priv.qdisc);
  priv.tC = kernel.now;
  priv.tokens = priv.buffer;
  priv.ptokens = priv.mtu;
  qdiscWatchdogCancel(priv.watchdog);
}

function tbfChange(sch: Qdisc, options: QdiscOpt): number {
  const priv = sch.priv as TbfPriv;
  const opt = { ...priv.opt, ...(options as Partial<TbfOpt>) };
  const { rate, burst, latency, peakrate, mtu } = opt;
  if (!(rate > 0) || !(burst > 0)) return -EINVAL;
  if (latency === undefined && opt.limit === undefined) return -EINVAL;
  if (peakrate !== undefined && (!(peakrate > rate) || !(mtu !== undefined && mtu > 0))) return -EINVAL;
  // tc's own computation: what goes out at the rate in that time, and a burst.
  let limit = opt.limit ?? (rate * (latency as number)) / 1e6 + burst;
  if (opt.limit === undefined && peakrate !== undefined) {
    limit = Math.min(limit, (peakrate * (latency as number)) / 1e6 + (mtu as number));
  }
  if (!(limit >= 0)) return -EINVAL;
  priv.opt = opt;
  priv.usPerByte = 1e6 / rate;
  priv.peakUsPerByte = peakrate === undefined ? 0 : 1e6 / peakrate;
  priv.buffer = burst * priv.usPerByte;
  priv.mtu = peakrate === undefined ? 0 : (mtu as number) * priv.peakUsPerByte;
  priv.maxSize = peakrate === undefined ? burst : Math.min(burst, mtu as number);
  sch.limit = Math.floor(limit);
  priv.tokens = priv.buffer;
  priv.ptokens = priv.mtu;
  if (priv.qdisc === null || priv.qdisc.ops === bfifoQdiscOps) {
    if (priv.qdisc === null) priv.qdisc = new Qdisc(bfifoQdiscOps, sch.txq);
    priv.qdisc.parentQdisc = sch;
    bfifoQdiscOps.init?.(priv.qdisc, { limit: sch.limit });
  }
  return 0;
}

function tbfInit(sch: Qdisc, opt: QdiscOpt | null): number {
  if (opt === null) return -EINVAL;
  const priv = new TbfPriv(sch);
  const { rate, burst } = opt as TbfOpt;
  priv.opt = { rate, burst };
  priv.tC = kernel.now;
  sch.priv = priv;
  return tbfChange(sch, opt);
}

function tbfDestroy(sch: Qdisc): void {
  const priv = sch.priv as TbfPriv | null;
  if (priv === null) return;
  qdiscWatchdogCancel(priv.watchdog);
  if (priv.qdisc !== null) qdiscDestroy(priv.qdisc);
}

function tbfGraft(sch: Qdisc, child: Qdisc): Qdisc | null {
  const priv = sch.priv as TbfPriv;
  const old = qdiscReplace(sch, priv.qdisc);
  priv.qdisc = child;
  return old;
}

function tbfDump(sch: Qdisc): string {
  const { opt } = sch.priv as TbfPriv;
  const peak = opt.peakrate === undefined ? "" : ` peakrate ${opt.peakrate * 8}bit minburst ${opt.mtu}b`;
  const wait = opt.latency === undefined ? `limit ${sch.limit}b` : `lat ${opt.latency}us`;
  return `rate ${opt.rate * 8}bit burst ${opt.burst}b${peak} ${wait}`;
}

export const tbfQdiscOps: QdiscOps = {
  id: "tbf",
  symbol: "tbf_qdisc_ops",
  enqueue: tbfEnqueue,
  dequeue: tbfDequeue,
  peek: tbfPeek,
  init: tbfInit,
  change: tbfChange,
  reset: tbfReset,
  destroy: tbfDestroy,
  graft: tbfGraft,
  leaf: (sch) => (sch.priv as TbfPriv).qdisc,
  dump: tbfDump,
};
