/**
 * Fair queue with pacing (net/sched/sch_fq.c): a queue a socket, served in turn, each packet not before its time. The
 * time
 * comes from TCP (skb->tstamp, earliest departure) or from the socket's pacing rate.
 */

import { QDISC_TIME_TO_SEND, SKB_NEXT, SKB_PRIORITY, SKB_TSTAMP } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { f64, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_QDISC_DROP } from "../../uapi/dropreason.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { TC_PRIO_CONTROL, TC_PRIO_MAX } from "../../uapi/pkt_sched.ts";
import { NET_XMIT_SUCCESS } from "../core/dev.ts";
import { skbGetHash } from "../core/flow_dissector.ts";
import {
  type Qdisc,
  type QdiscOps,
  type QdiscOpt,
  QdiscSkbHead,
  qdiscBstatsUpdate,
  qdiscDrop,
  qdiscPeekDequeued,
  qdiscPktLen,
  qdiscSkbDequeue,
  qdiscSkbPurge,
  qdiscSkbTail,
} from "../core/sch_generic_h.ts";
import { skbOrphan, skbSk } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { inetEcnSetCe } from "./inet_ecn_h.ts";
import { QdiscWatchdog, qdiscWatchdogCancel, qdiscWatchdogSchedule } from "./sch_api.ts";
import { pschedMtu } from "./sch_fifo.ts";
import { TimeHeap } from "./time_heap.ts";

export interface FqOpt {
  /** Packets in all; 10000. */
  limit?: number;
  /** Packets of one flow; 100. */
  flowLimit?: number;
  /** Bytes a turn (2 MTU), and of a new flow's first turn (10 MTU). */
  quantum?: number;
  initialQuantum?: number;
  /** The most that any flow gets, bytes a second. */
  maxrate?: number;
  /** false: no pacing, fairness only. */
  pacing?: boolean;
  /** Flows below this rate (bytes a second) have no bursts; 550 kbit/s. */
  lowRateThreshold?: number;
  /** Packets that wait longer than this (microseconds) beyond their time are marked CE. */
  ceThreshold?: number;
  /** Packets with a time further away than this (microseconds, 10 s) are dropped, or sent then (horizonCap). */
  horizon?: number;
  horizonCap?: boolean;
}

const SK_PACING_FQ = 2;
const TCP_CLOSE = 7;
const TCP_LISTEN = 10;
const TCP_NEW_SYN_RECV = 12;
const ORPHAN_MASK = 1023;
/** Flows that were idle for so long (microseconds) may be forgotten. */
const FQ_GC_AGE = 3_000_000;
const FQ_GC_MAX = 8;
const FLOW_REFILL_DELAY = 40_000;

const DETACHED = 0;
const ATTACHED = 1;
const THROTTLED = 2;

/** struct fq_flow. */
class FqFlow {
  readonly id: number;
  key = 0;
  socketHash = 0;
  readonly queue: QdiscSkbHead = new QdiscSkbHead();
  credit = 0;
  timeNextPacket = 0;
  /** When it became idle. */
  age = 0;
  state: number = DETACHED;
  next: FqFlow | null = null;

  constructor(id: number) {
    this.id = id;
  }
}

class FlowList {
  first: FqFlow | null = null;
  last: FqFlow | null = null;
}

function flowAddTail(list: FlowList, flow: FqFlow): void {
  flow.next = null;
  flow.state = ATTACHED;
  if (list.last === null) list.first = flow;
  else list.last.next = flow;
  list.last = flow;
}

function flowRemoveFirst(list: FlowList): void {
  const first = list.first as FqFlow;
  list.first = first.next;
  if (list.first === null) list.last = null;
  first.next = null;
}

class FqPriv {
  opt: FqOpt = {};
  flowPlimit = 100;
  quantum = 3028;
  initialQuantum = 15140;
  maxRate = Infinity;
  rateEnable = true;
  lowRateThreshold = 68750;
  ceThreshold = Infinity;
  horizon = 10_000_000;
  horizonDrop = true;
  readonly newFlows: FlowList = new FlowList();
  readonly oldFlows: FlowList = new FlowList();
  /** Flows whose time has not come. */
  readonly delayed: TimeHeap = new TimeHeap();
  readonly flows: Map<number, FqFlow> = new Map();
  readonly byId: (FqFlow | null)[] = [null];
  readonly freeIds: number[] = [];
  readonly internal: FqFlow = new FqFlow(0);
  inactiveFlows = 0;
  throttledFlows = 0;
  readonly watchdog: QdiscWatchdog;
  gcFlows = 0;
  internalPackets = 0;
  throttled = 0;
  flowsPlimit = 0;
  pktsTooLong = 0;
  ceMark = 0;
  horizonDrops = 0;
  horizonCaps = 0;

  constructor(sch: Qdisc) {
    this.watchdog = new QdiscWatchdog(sch);
  }
}

/** fq_gc: forgets a few flows that have been idle for long. */
function fqGc(q: FqPriv): void {
  let n = 0;
  for (const [key, flow] of q.flows) {
    if (flow.state === DETACHED && kernel.now > flow.age + FQ_GC_AGE) {
      q.flows.delete(key);
      q.byId[flow.id] = null;
      q.freeIds.push(flow.id);
      q.inactiveFlows--;
      q.gcFlows++;
      if (++n === FQ_GC_MAX) return;
    }
  }
}

/** fq_classify: the socket's flow, or one by hash for packets without a socket. */
function fqClassify(skb: number, q: FqPriv): FqFlow {
  if (((u32[(skb + SKB_PRIORITY) >>> 2] as number) & TC_PRIO_MAX) === TC_PRIO_CONTROL) return q.internal;
  let sk: Sock | null = skbSk(skb);
  let key: number;
  if (sk === null || sk.skcState === TCP_LISTEN || sk.skcState === TCP_NEW_SYN_RECV) {
    // A SYN-ACK is not charged to its listener here, or all of them would be one flow.
    key = (skbGetHash(skb) & ORPHAN_MASK) * 2 + 1;
    skbOrphan(skb);
    sk = null;
  } else if (sk.skcState === TCP_CLOSE && sk.skProtocol === 6) {
    key = (skbGetHash(skb) & ORPHAN_MASK) * 2 + 1;
    sk = null;
  } else {
    key = sk.slot * 2;
  }
  let f = q.flows.get(key);
  if (f !== undefined) {
    if (sk !== null && f.socketHash !== sk.skcHash) {
      // The slot belongs to another socket now.
      f.credit = q.initialQuantum;
      f.socketHash = sk.skcHash;
      if (q.rateEnable) sk.skPacingStatus = SK_PACING_FQ;
      f.timeNextPacket = 0;
    }
    return f;
  }
  if (q.flows.size >= 512 && q.inactiveFlows > q.flows.size >> 1) fqGc(q);
  const id = q.freeIds.pop() ?? q.byId.length;
  f = new FqFlow(id);
  q.byId[id] = f;
  f.key = key;
  f.credit = q.initialQuantum;
  f.age = kernel.now;
  if (sk !== null) {
    f.socketHash = sk.skcHash;
    if (q.rateEnable) sk.skPacingStatus = SK_PACING_FQ;
  }
  q.flows.set(key, f);
  q.inactiveFlows++;
  return f;
}

/** flow_queue_add: by time to send; nearly always that is the end. */
function flowQueueAdd(flow: FqFlow, skb: number): void {
  const { queue } = flow;
  const time = f64[(skb + QDISC_TIME_TO_SEND) >>> 3] as number;
  if (queue.tail === 0 || (f64[(queue.tail + QDISC_TIME_TO_SEND) >>> 3] as number) <= time) {
    qdiscSkbTail(queue, skb);
    return;
  }
  let prev = 0;
  let at = queue.head;
  while ((f64[(at + QDISC_TIME_TO_SEND) >>> 3] as number) <= time) {
    prev = at;
    at = u32[(at + SKB_NEXT) >>> 2] as number;
  }
  u32[(skb + SKB_NEXT) >>> 2] = at;
  if (prev === 0) queue.head = skb;
  else u32[(prev + SKB_NEXT) >>> 2] = skb;
  queue.qlen++;
}

function fqEnqueue(skb: number, sch: Qdisc): number {
  const q = sch.priv as FqPriv;
  if (sch.q.qlen >= sch.limit) return qdiscDrop(skb, sch);
  const { now } = kernel;
  let time = f64[(skb + SKB_TSTAMP) >>> 3] as number;
  if (time === 0) {
    time = now;
  } else if (time > now + q.horizon) {
    if (q.horizonDrop) {
      q.horizonDrops++;
      return qdiscDrop(skb, sch);
    }
    q.horizonCaps++;
    time = now + q.horizon;
    f64[(skb + SKB_TSTAMP) >>> 3] = time;
  }
  f64[(skb + QDISC_TIME_TO_SEND) >>> 3] = time;
  const f = fqClassify(skb, q);
  if (f === q.internal) {
    q.internalPackets++;
    qdiscSkbTail(f.queue, skb);
  } else {
    if (f.queue.qlen >= q.flowPlimit) {
      q.flowsPlimit++;
      return qdiscDrop(skb, sch);
    }
    if (f.state === DETACHED) {
      flowAddTail(q.newFlows, f);
      if (now > f.age + FLOW_REFILL_DELAY && f.credit < q.quantum) f.credit = q.quantum;
      q.inactiveFlows--;
    }
    flowQueueAdd(f, skb);
  }
  sch.stats.backlog += qdiscPktLen(skb);
  sch.q.qlen++;
  return NET_XMIT_SUCCESS;
}

/** fq_check_throttled: flows whose time has come are served again. */
function fqCheckThrottled(q: FqPriv, now: number): void {
  while (q.delayed.topKey() <= now) {
    const f = q.byId[q.delayed.pop()] as FqFlow;
    q.throttledFlows--;
    flowAddTail(q.oldFlows, f);
  }
}

/** The next packet of a flow leaves the queue. */
function fqDequeueSkb(sch: Qdisc, flow: FqFlow): number {
  const skb = qdiscSkbDequeue(flow.queue);
  sch.stats.backlog -= qdiscPktLen(skb);
  sch.q.qlen--;
  qdiscBstatsUpdate(sch, skb);
  return skb;
}

function fqDequeue(sch: Qdisc): number {
  const q = sch.priv as FqPriv;
  if (sch.q.qlen === 0) return 0;
  if (q.internal.queue.head !== 0) return fqDequeueSkb(sch, q.internal);
  const { now } = kernel;
  fqCheckThrottled(q, now);
  for (;;) {
    const list = q.newFlows.first !== null ? q.newFlows : q.oldFlows;
    const f = list.first;
    if (f === null) {
      if (q.delayed.size > 0) qdiscWatchdogSchedule(q.watchdog, q.delayed.topKey());
      return 0;
    }
    if (f.credit <= 0) {
      f.credit += q.quantum;
      flowRemoveFirst(list);
      flowAddTail(q.oldFlows, f);
      continue;
    }
    const head = f.queue.head;
    if (head === 0) {
      flowRemoveFirst(list);
      // A pass through the old flows first, or a flow could stay new for ever.
      if (list === q.newFlows && q.oldFlows.first !== null) {
        flowAddTail(q.oldFlows, f);
      } else {
        f.state = DETACHED;
        f.age = now;
        q.inactiveFlows++;
      }
      continue;
    }
    const time = Math.max(f64[(head + QDISC_TIME_TO_SEND) >>> 3] as number, f.timeNextPacket);
    if (now < time) {
      flowRemoveFirst(list);
      f.timeNextPacket = time;
      f.state = THROTTLED;
      q.throttledFlows++;
      q.throttled++;
      q.delayed.push(f.id, time);
      continue;
    }
    if (now - time > q.ceThreshold && inetEcnSetCe(head)) q.ceMark++;
    const skb = fqDequeueSkb(sch, f);
    f.credit -= qdiscPktLen(skb);
    if (q.rateEnable) fqPace(skb, q, f, now);
    return skb;
  }
}

/** When the flow's next packet may leave, if a rate says so. */
function fqPace(skb: number, q: FqPriv, f: FqFlow, now: number): void {
  let rate = q.maxRate;
  let plen = qdiscPktLen(skb);
  if (f64[(skb + SKB_TSTAMP) >>> 3] === 0) {
    // TCP gives every packet its time; for others it is made from the socket's rate, a quantum at a time.
    const sk = skbSk(skb);
    if (sk !== null && sk.skPacingRate < rate) rate = sk.skPacingRate;
    if (rate <= q.lowRateThreshold) {
      f.credit = 0;
    } else {
      if (plen < q.quantum) plen = q.quantum;
      if (f.credit > 0) return;
    }
  }
  if (rate === Infinity || rate <= 0) return;
  let len = (plen * 1e6) / rate;
  // The rate may change: no delay beyond a second.
  if (len > 1e6) {
    len = 1e6;
    q.pktsTooLong++;
  }
  // Lateness of the last timer is made good.
  if (f.timeNextPacket > 0) len -= Math.min(len / 2, now - f.timeNextPacket);
  f.timeNextPacket = now + len;
}

function fqReset(sch: Qdisc): void {
  const q = sch.priv as FqPriv;
  qdiscSkbPurge(q.internal.queue, SKB_DROP_REASON_QDISC_DROP);
  for (const flow of q.flows.values()) qdiscSkbPurge(flow.queue, SKB_DROP_REASON_QDISC_DROP);
  q.flows.clear();
  q.byId.length = 1;
  q.freeIds.length = 0;
  while (q.delayed.pop() !== 0);
  q.newFlows.first = q.newFlows.last = null;
  q.oldFlows.first = q.oldFlows.last = null;
  q.inactiveFlows = 0;
  q.throttledFlows = 0;
  qdiscWatchdogCancel(q.watchdog);
}

function fqChange(sch: Qdisc, options: QdiscOpt): number {
  const q = sch.priv as FqPriv;
  const o: FqOpt = { ...q.opt, ...(options as FqOpt) };
  const mtu = pschedMtu(sch.dev);
  for (const v of [o.limit, o.flowLimit, o.initialQuantum, o.lowRateThreshold, o.ceThreshold, o.horizon]) {
    if (v !== undefined && !(v >= 0)) return -EINVAL;
  }
  if ((o.quantum !== undefined && !(o.quantum > 0)) || (o.maxrate !== undefined && !(o.maxrate > 0))) return -EINVAL;
  q.opt = o;
  sch.limit = o.limit ?? 10_000;
  q.flowPlimit = o.flowLimit ?? 100;
  q.quantum = o.quantum ?? 2 * mtu;
  q.initialQuantum = o.initialQuantum ?? 10 * mtu;
  q.maxRate = o.maxrate ?? Infinity;
  q.rateEnable = o.pacing ?? true;
  q.lowRateThreshold = o.lowRateThreshold ?? 68_750;
  q.ceThreshold = o.ceThreshold ?? Infinity;
  q.horizon = o.horizon ?? 10_000_000;
  q.horizonDrop = o.horizonCap !== true;
  return 0;
}

function fqInit(sch: Qdisc, opt: QdiscOpt | null): number {
  sch.priv = new FqPriv(sch);
  return fqChange(sch, opt ?? {});
}

function fqDump(sch: Qdisc): string {
  const q = sch.priv as FqPriv;
  const max = q.maxRate === Infinity ? "" : ` maxrate ${q.maxRate * 8}bit`;
  return (
    `limit ${sch.limit}p flow_limit ${q.flowPlimit}p buckets 1024 orphan_mask ${ORPHAN_MASK} ` +
    `quantum ${q.quantum}b initial_quantum ${q.initialQuantum}b low_rate_threshold ${(q.lowRateThreshold * 8) / 1000}Kbit` +
    `${max}${q.rateEnable ? "" : " nopacing"} refill_delay ${FLOW_REFILL_DELAY / 1000}ms horizon ${q.horizon / 1e6}s ` +
    `${q.horizonDrop ? "horizon_drop" : "horizon_cap"}`
  );
}

export const fqQdiscOps: QdiscOps = {
  id: "fq",
  symbol: "fq_qdisc_ops",
  enqueue: fqEnqueue,
  dequeue: fqDequeue,
  peek: qdiscPeekDequeued,
  init: fqInit,
  change: fqChange,
  reset: fqReset,
  destroy(sch: Qdisc): void {
    if (sch.priv !== null) fqReset(sch);
  },
  dump: fqDump,
  dumpStats(sch: Qdisc): Record<string, number> {
    const q = sch.priv as FqPriv;
    return {
      flows: q.flows.size,
      inactive: q.inactiveFlows,
      throttled_flows: q.throttledFlows,
      gc: q.gcFlows,
      highprio: q.internalPackets,
      throttled: q.throttled,
      flows_plimit: q.flowsPlimit,
      too_long: q.pktsTooLong,
      ce_mark: q.ceMark,
      horizon_drops: q.horizonDrops,
      horizon_caps: q.horizonCaps,
    };
  },
};
