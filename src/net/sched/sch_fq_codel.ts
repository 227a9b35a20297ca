/**
 * Fair queue CoDel (net/sched/sch_fq_codel.c, RFC 8290): a queue for each of up to 1024 flows by hash, served in turn,
 * each
 * kept short by CoDel (RFC 8289), which drops or marks at its head when packets have waited too long for too long.
 */

import { QDISC_TIME_TO_SEND, SKB_TRUESIZE } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { f64, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_QDISC_DROP } from "../../uapi/dropreason.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { NET_XMIT_CN, NET_XMIT_SUCCESS } from "../core/dev.ts";
import { skbGetHash } from "../core/flow_dissector.ts";
import {
  type Qdisc,
  type QdiscOps,
  type QdiscOpt,
  QdiscSkbHead,
  qdiscBstatsUpdate,
  qdiscPeekDequeued,
  qdiscPktLen,
  qdiscSkbDequeue,
  qdiscSkbPurge,
  qdiscSkbTail,
  qdiscTreeReduceBacklog,
  TCQ_F_CAN_BYPASS,
} from "../core/sch_generic_h.ts";
import { kfreeSkbReason } from "../core/skbuff.ts";
import { inetEcnSetCe } from "./inet_ecn_h.ts";
import { pschedMtu } from "./sch_fifo.ts";

export interface FqCodelOpt {
  /** Packets in all; 10240. */
  limit?: number;
  /** Flows; 1024. Cannot be changed. */
  flows?: number;
  /** Bytes a turn; one frame. */
  quantum?: number;
  /** The delay that is acceptable, and how long it may be exceeded, in microseconds: 5 ms, 100 ms. */
  target?: number;
  interval?: number;
  /** Mark instead of drop what can be marked; true. */
  ecn?: boolean;
  /** Mark everything that has waited longer than this (microseconds). */
  ceThreshold?: number;
  /** Bytes of truesize; 32 MiB. */
  memoryLimit?: number;
  /** Packets dropped at once from the fattest flow when a limit is exceeded; 64. */
  dropBatch?: number;
}

/** struct fq_codel_flow with its struct codel_vars. */
class FqCodelFlow {
  readonly index: number;
  readonly queue: QdiscSkbHead = new QdiscSkbHead();
  backlog = 0;
  deficit = 0;
  active = false;
  next: FqCodelFlow | null = null;
  count = 0;
  lastcount = 0;
  dropping = false;
  firstAboveTime = 0;
  dropNext = 0;
  ldelay = 0;

  constructor(index: number) {
    this.index = index;
  }
}

class FlowList {
  first: FqCodelFlow | null = null;
  last: FqCodelFlow | null = null;
}

function listAddTail(list: FlowList, flow: FqCodelFlow): void {
  flow.next = null;
  if (list.last === null) list.first = flow;
  else list.last.next = flow;
  list.last = flow;
}

function listDelFirst(list: FlowList): void {
  const first = list.first as FqCodelFlow;
  list.first = first.next;
  if (list.first === null) list.last = null;
  first.next = null;
}

class FqCodelPriv {
  opt: FqCodelOpt = {};
  /** By hash; made when first used. */
  flows: (FqCodelFlow | null)[] = [];
  readonly newFlows: FlowList = new FlowList();
  readonly oldFlows: FlowList = new FlowList();
  quantum = 1514;
  target = 5000;
  interval = 100_000;
  ecn = true;
  ceThreshold = Infinity;
  mtu = 1514;
  memoryLimit = 32 << 20;
  dropBatch = 64;
  memoryUsage = 0;
  maxpacket = 0;
  dropCount = 0;
  ecnMark = 0;
  ceMark = 0;
  dropOverlimit = 0;
  dropOvermemory = 0;
  newFlowCount = 0;
  /** Packets and bytes that CoDel has dropped in the dequeue that is going on. */
  dropped = 0;
  droppedLen = 0;
}

/** dequeue_func of CoDel: the flow's next packet. */
function flowDequeue(sch: Qdisc, q: FqCodelPriv, flow: FqCodelFlow): number {
  const skb = qdiscSkbDequeue(flow.queue);
  if (skb !== 0) {
    const len = qdiscPktLen(skb);
    flow.backlog -= len;
    q.memoryUsage -= u32[(skb + SKB_TRUESIZE) >>> 2] as number;
    sch.q.qlen--;
    sch.stats.backlog -= len;
  }
  return skb;
}

/** fq_codel_drop: the fattest flow loses up to half of its bytes, from its head. Returns its index. */
function fqCodelDrop(sch: Qdisc, q: FqCodelPriv): number {
  let fat: FqCodelFlow | null = null;
  for (let i = 0; i < q.flows.length; i++) {
    const flow = q.flows[i];
    if (flow && (fat === null || flow.backlog > fat.backlog)) fat = flow;
  }
  if (fat === null) return -1;
  const threshold = fat.backlog >> 1;
  let len = 0;
  let n = 0;
  do {
    const skb = flowDequeue(sch, q, fat);
    if (skb === 0) break;
    len += qdiscPktLen(skb);
    sch.stats.drops++;
    kfreeSkbReason(skb, SKB_DROP_REASON_QDISC_DROP);
    n++;
  } while (n < q.dropBatch && len < threshold);
  // The next packets count as after drops.
  fat.count += n;
  q.dropped = n;
  q.droppedLen = len;
  return fat.index;
}

function fqCodelEnqueue(skb: number, sch: Qdisc): number {
  const q = sch.priv as FqCodelPriv;
  // reciprocal_scale: the high bits decide.
  const index = Math.floor((skbGetHash(skb) * q.flows.length) / 4294967296);
  let flow = q.flows[index] as FqCodelFlow | null;
  if (flow === null) {
    flow = new FqCodelFlow(index);
    q.flows[index] = flow;
  }
  f64[(skb + QDISC_TIME_TO_SEND) >>> 3] = kernel.now;
  const len = qdiscPktLen(skb);
  qdiscSkbTail(flow.queue, skb);
  flow.backlog += len;
  sch.stats.backlog += len;
  if (!flow.active) {
    flow.active = true;
    listAddTail(q.newFlows, flow);
    q.newFlowCount++;
    flow.deficit = q.quantum;
  }
  q.memoryUsage += u32[(skb + SKB_TRUESIZE) >>> 2] as number;
  const overMemory = q.memoryUsage > q.memoryLimit;
  if (++sch.q.qlen <= sch.limit && !overMemory) return NET_XMIT_SUCCESS;

  const victim = fqCodelDrop(sch, q);
  q.dropOverlimit += q.dropped;
  if (overMemory) q.dropOvermemory += q.dropped;
  if (victim === index) {
    // The parents have not counted this packet yet, and will not if we say that it met congestion.
    qdiscTreeReduceBacklog(sch, q.dropped - 1, q.droppedLen - len);
    return NET_XMIT_CN;
  }
  qdiscTreeReduceBacklog(sch, q.dropped, q.droppedLen);
  return NET_XMIT_SUCCESS;
}

/** codel_should_drop: whether the packet that is about to leave has waited too long, for an interval now. */
function codelShouldDrop(skb: number, sch: Qdisc, q: FqCodelPriv, flow: FqCodelFlow, now: number): boolean {
  if (skb === 0) {
    flow.firstAboveTime = 0;
    return false;
  }
  const len = qdiscPktLen(skb);
  flow.ldelay = now - (f64[(skb + QDISC_TIME_TO_SEND) >>> 3] as number);
  if (len > q.maxpacket) q.maxpacket = len;
  // One frame's worth of queue is no queue.
  if (flow.ldelay < q.target || sch.stats.backlog <= q.mtu) {
    flow.firstAboveTime = 0;
    return false;
  }
  if (flow.firstAboveTime === 0) {
    flow.firstAboveTime = now + q.interval;
    return false;
  }
  return now > flow.firstAboveTime;
}

function codelDrop(skb: number, sch: Qdisc, q: FqCodelPriv): void {
  q.dropped++;
  q.droppedLen += qdiscPktLen(skb);
  q.dropCount++;
  sch.stats.drops++;
  kfreeSkbReason(skb, SKB_DROP_REASON_QDISC_DROP);
}

/** codel_dequeue (RFC 8289 section 5.5). */
function codelDequeue(sch: Qdisc, q: FqCodelPriv, flow: FqCodelFlow): number {
  const { now } = kernel;
  let skb = flowDequeue(sch, q, flow);
  if (skb === 0) {
    flow.dropping = false;
    return 0;
  }
  let drop = codelShouldDrop(skb, sch, q, flow, now);
  if (flow.dropping) {
    if (!drop) {
      flow.dropping = false;
    } else {
      while (flow.dropping && now >= flow.dropNext) {
        flow.count++;
        if (q.ecn && inetEcnSetCe(skb)) {
          q.ecnMark++;
          flow.dropNext += q.interval / Math.sqrt(flow.count);
          break;
        }
        codelDrop(skb, sch, q);
        skb = flowDequeue(sch, q, flow);
        if (codelShouldDrop(skb, sch, q, flow, now)) flow.dropNext += q.interval / Math.sqrt(flow.count);
        else flow.dropping = false;
      }
    }
  } else if (drop) {
    if (q.ecn && inetEcnSetCe(skb)) {
      q.ecnMark++;
    } else {
      codelDrop(skb, sch, q);
      skb = flowDequeue(sch, q, flow);
      drop = codelShouldDrop(skb, sch, q, flow, now);
    }
    flow.dropping = true;
    // Soon after the last time, it begins with the rate that worked then.
    const delta = flow.count - flow.lastcount;
    flow.count = delta > 1 && now - flow.dropNext < 16 * q.interval ? delta : 1;
    flow.lastcount = flow.count;
    flow.dropNext = now + q.interval / Math.sqrt(flow.count);
  }
  if (skb !== 0 && flow.ldelay > q.ceThreshold && inetEcnSetCe(skb)) q.ceMark++;
  return skb;
}

function fqCodelDequeue(sch: Qdisc): number {
  const q = sch.priv as FqCodelPriv;
  q.dropped = 0;
  q.droppedLen = 0;
  let skb = 0;
  for (;;) {
    const list = q.newFlows.first !== null ? q.newFlows : q.oldFlows;
    const flow = list.first;
    if (flow === null) break;
    if (flow.deficit <= 0) {
      flow.deficit += q.quantum;
      listDelFirst(list);
      listAddTail(q.oldFlows, flow);
      continue;
    }
    skb = codelDequeue(sch, q, flow);
    if (skb !== 0) {
      qdiscBstatsUpdate(sch, skb);
      flow.deficit -= qdiscPktLen(skb);
      break;
    }
    listDelFirst(list);
    // A pass through the old flows first, or a flow could stay new for ever.
    if (list === q.newFlows && q.oldFlows.first !== null) listAddTail(q.oldFlows, flow);
    else flow.active = false;
  }
  if (q.dropped > 0) qdiscTreeReduceBacklog(sch, q.dropped, q.droppedLen);
  return skb;
}

function fqCodelReset(sch: Qdisc): void {
  const q = sch.priv as FqCodelPriv;
  for (const flow of q.flows) if (flow !== null) qdiscSkbPurge(flow.queue, SKB_DROP_REASON_QDISC_DROP);
  q.flows.fill(null);
  q.newFlows.first = q.newFlows.last = null;
  q.oldFlows.first = q.oldFlows.last = null;
  q.memoryUsage = 0;
}

function fqCodelChange(sch: Qdisc, options: QdiscOpt): number {
  const q = sch.priv as FqCodelPriv;
  const given = options as FqCodelOpt;
  if (given.flows !== undefined && q.flows.length > 0 && given.flows !== q.flows.length) return -EINVAL;
  const o: FqCodelOpt = { ...q.opt, ...given };
  for (const v of [o.limit, o.quantum, o.target, o.interval, o.ceThreshold, o.memoryLimit, o.dropBatch]) {
    if (v !== undefined && !(v >= 0)) return -EINVAL;
  }
  if (o.flows !== undefined && !(o.flows >= 1 && o.flows <= 65536)) return -EINVAL;
  q.opt = o;
  q.mtu = pschedMtu(sch.dev);
  sch.limit = Math.max(1, o.limit ?? 10_240);
  q.quantum = Math.max(256, o.quantum ?? q.mtu);
  q.target = o.target ?? 5000;
  q.interval = o.interval ?? 100_000;
  q.ecn = o.ecn ?? true;
  q.ceThreshold = o.ceThreshold ?? Infinity;
  q.memoryLimit = o.memoryLimit ?? 32 << 20;
  q.dropBatch = Math.max(1, o.dropBatch ?? 64);
  if (sch.limit >= 1) sch.flags |= TCQ_F_CAN_BYPASS;
  return 0;
}

function fqCodelInit(sch: Qdisc, opt: QdiscOpt | null): number {
  const q = new FqCodelPriv();
  sch.priv = q;
  const err = fqCodelChange(sch, opt ?? {});
  if (err < 0) return err;
  q.flows = new Array<FqCodelFlow | null>(q.opt.flows ?? 1024).fill(null);
  return 0;
}

function fqCodelDump(sch: Qdisc): string {
  const q = sch.priv as FqCodelPriv;
  const ce = q.ceThreshold === Infinity ? "" : ` ce_threshold ${q.ceThreshold}us`;
  return (
    `limit ${sch.limit}p flows ${q.flows.length} quantum ${q.quantum} target ${q.target / 1000}ms${ce} ` +
    `interval ${q.interval / 1000}ms memory_limit ${q.memoryLimit >> 20}Mb${q.ecn ? " ecn" : ""} drop_batch ${q.dropBatch}`
  );
}

export const fqCodelQdiscOps: QdiscOps = {
  id: "fq_codel",
  symbol: "fq_codel_qdisc_ops",
  enqueue: fqCodelEnqueue,
  dequeue: fqCodelDequeue,
  peek: qdiscPeekDequeued,
  init: fqCodelInit,
  change: fqCodelChange,
  reset: fqCodelReset,
  dump: fqCodelDump,
  dumpStats(sch: Qdisc): Record<string, number> {
    const q = sch.priv as FqCodelPriv;
    return {
      maxpacket: q.maxpacket,
      drop_overlimit: q.dropOverlimit,
      drop_overmemory: q.dropOvermemory,
      new_flow_count: q.newFlowCount,
      ecn_mark: q.ecnMark,
      ce_mark: q.ceMark,
      drop_count: q.dropCount,
      memory_usage: q.memoryUsage,
    };
  },
};
