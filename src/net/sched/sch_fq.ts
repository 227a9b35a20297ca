/**
 * Fair queue with pacing (net/sched/sch_fq.c): a queue a socket, served in turn, each packet not before its time. The time
 * comes from TCP (skb->tstamp, earliest departure) or from the socket's pacing rate.
 *
 * ```
 *   enqueue --> fast path: nobody is waiting, and it may leave now --> internal (a fifo, always first)
 *          \-> flow (socket) of a band: new_flows, then old_flows; 3 bands of weights 9:3:1 by skb->priority
 *                  \-> delayed: flows whose first packet's time has not come
 * ```
 */

import { QDISC_TIME_TO_SEND, SKB_NEXT, SKB_PRIORITY, SKB_TSTAMP } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { f64, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_QDISC_DROP } from "../../uapi/dropreason.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { TC_PRIO_MAX } from "../../uapi/pkt_sched.ts";
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
import { kfreeSkbReason, skbOrphan, skbSk } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { inetEcnSetCe } from "./inet_ecn_h.ts";
import { QdiscWatchdog, qdiscWatchdogCancel, qdiscWatchdogSchedule } from "./sch_api.ts";
import { pschedMtu } from "./sch_fifo.ts";
import { TimeHeap } from "./time_heap.ts";

export interface FqOpt {
  /** Packets of one band; 10000. */
  limit?: number;
  /** Packets of one flow; 100. */
  flowLimit?: number;
  /** Bytes a turn (2 MTU; 256 to 2^20), and of a new flow's first turn (10 MTU; at most 2^20). */
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
  /** A flow that was idle for so long (microseconds, 40 ms) begins with a quantum again. */
  refillDelay?: number;
  /** How packets without a socket are hashed into flows; 1023. */
  orphanMask?: number;
  /** Microseconds that the timer may be late, 10; this one never is. */
  timerSlack?: number;
  /** The band (0 to 2) of each of the 16 priorities. */
  priomap?: readonly number[];
  /** Bytes of a turn of each of the three bands, at least 16384. */
  weights?: readonly number[];
}

const FQ_BANDS = 3;
const FQ_MIN_WEIGHT = 16384;
/** sch_default_prio2band. */
const DEFAULT_PRIO2BAND: readonly number[] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
const DEFAULT_WEIGHTS: readonly number[] = [9 << 16, 3 << 16, 1 << 16];
/** Packets that the fast path may hold. */
const FQ_FASTPATH_MAX = 8;

const SK_PACING_FQ = 2;
const TCP_TIME_WAIT = 6;
const TCP_CLOSE = 7;
const TCP_LISTEN = 10;
const TCP_NEW_SYN_RECV = 12;
const IPPROTO_TCP = 6;
/** Flows that were idle for so long (microseconds) may be forgotten. */
const FQ_GC_AGE = 3_000_000;
const FQ_GC_MAX = 8;

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
  band = 0;
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

/** struct fq_perband_flows. */
class FqBand {
  readonly newFlows: FlowList = new FlowList();
  readonly oldFlows: FlowList = new FlowList();
  credit = 0;
  quantum = 0;
  pktCount = 0;
  drops = 0;
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
  refillDelay = 40_000;
  orphanMask = 1023;
  timerSlack = 10;
  prio2band: readonly number[] = DEFAULT_PRIO2BAND;
  readonly bands: readonly FqBand[] = [new FqBand(), new FqBand(), new FqBand()];
  bandNr = 0;
  /** Flows whose time has not come. An entry whose flow has another time by now is void. */
  readonly delayed: TimeHeap = new TimeHeap();
  timeNextDelayedFlow = Infinity;
  readonly flows: Map<number, FqFlow> = new Map();
  readonly byId: (FqFlow | null)[] = [null];
  readonly freeIds: number[] = [];
  readonly internal: FqFlow = new FqFlow(0);
  /** Flows without a packet. */
  inactiveFlows = 0;
  throttledFlows = 0;
  readonly watchdog: QdiscWatchdog;
  gcFlows = 0;
  fastpathPackets = 0;
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

/* notrace */
function fqBandOf(q: FqPriv, skb: number): FqBand {
  return q.bands[q.prio2band[u32[(skb + SKB_PRIORITY) >>> 2] & TC_PRIO_MAX]];
}

// ---- flows whose time has not come ----------------------------------------------------------------------------------

/** fq_flow_set_throttled. */
function fqFlowSetThrottled(q: FqPriv, f: FqFlow): void {
  q.delayed.push(f.id, f.timeNextPacket);
  if (q.timeNextDelayedFlow > f.timeNextPacket) q.timeNextDelayedFlow = f.timeNextPacket;
  q.throttledFlows++;
  q.throttled++;
  f.state = THROTTLED;
}

/** fq_flow_unset_throttled. */
function fqFlowUnsetThrottled(q: FqPriv, f: FqFlow): void {
  q.throttledFlows--;
  flowAddTail(q.bands[f.band].oldFlows, f);
}

/** The delayed flow whose time comes first; the void entries before it are taken off. null = none. */
function fqDelayedFirst(q: FqPriv): FqFlow | null {
  while (q.delayed.size > 0) {
    const f = q.byId[q.delayed.top()];
    if (f !== null && f.state === THROTTLED && f.timeNextPacket === q.delayed.topKey()) return f;
    q.delayed.pop();
  }
  return null;
}

/** fq_flow_adjust_timer: an earlier packet came for a flow that waits. */
function fqFlowAdjustTimer(q: FqPriv, f: FqFlow, timeToSend: number, now: number): void {
  f.timeNextPacket = timeToSend;
  if (timeToSend <= now) {
    fqFlowUnsetThrottled(q, f);
    const first = fqDelayedFirst(q);
    q.timeNextDelayedFlow = first === null ? Infinity : first.timeNextPacket;
  } else {
    q.delayed.push(f.id, timeToSend);
    if (q.timeNextDelayedFlow > timeToSend) q.timeNextDelayedFlow = timeToSend;
  }
}

/** fq_check_throttled: flows whose time has come are served again. */
function fqCheckThrottled(q: FqPriv, now: number): void {
  if (q.timeNextDelayedFlow > now) return;
  q.timeNextDelayedFlow = Infinity;
  for (let f = fqDelayedFirst(q); f !== null; f = fqDelayedFirst(q)) {
    if (f.timeNextPacket > now) {
      q.timeNextDelayedFlow = f.timeNextPacket;
      return;
    }
    q.delayed.pop();
    fqFlowUnsetThrottled(q, f);
  }
}

// ---- enqueue --------------------------------------------------------------------------------------------------------

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

/**
 * fq_fastpath_check: the packet may leave now and passes nobody whose turn it is: nothing is queued, or only what waits
 * for its time and a few of the fast path.
 */
function fqFastpathCheck(sch: Qdisc, q: FqPriv, skb: number, now: number): boolean {
  if (f64[(skb + QDISC_TIME_TO_SEND) >>> 3] > now) return false;
  if (sch.q.qlen !== 0) {
    if (q.flows.size !== q.inactiveFlows + q.throttledFlows) return false;
    if (q.internal.queue.qlen >= FQ_FASTPATH_MAX) return false;
    // Delayed flows are ready that nobody has served yet.
    if (q.timeNextDelayedFlow <= now) return false;
  }
  const sk = skbSk(skb);
  if (sk !== null && sk.skProtocol !== IPPROTO_TCP && sk.skMaxPacingRate !== Infinity) return false;
  return q.maxRate === Infinity;
}

/** A flow that is not known yet, of the socket `sk` or, without one, of a hash. */
function fqNewFlow(q: FqPriv, key: number, sk: Sock | null): FqFlow {
  if (q.flows.size >= 512 && q.inactiveFlows > q.flows.size >> 1) fqGc(q);
  const id = q.freeIds.pop() ?? q.byId.length;
  const f = new FqFlow(id);
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

/** fq_classify: the fast path, the socket's flow, or one by hash for packets without a socket. */
function fqClassify(skb: number, sch: Qdisc, q: FqPriv, now: number): FqFlow {
  let sk: Sock | null = skbSk(skb);
  if (sk !== null) {
    const state = sk.skcState;
    if (state === TCP_LISTEN || state === TCP_NEW_SYN_RECV || state === TCP_TIME_WAIT) {
      // A SYN-ACK is not charged to its listener here, or all of them would be one flow.
      skbOrphan(skb);
      sk = null;
    } else if (state === TCP_CLOSE) {
      // Not connected: its packets go to many places.
      sk = null;
    }
  }
  if (fqFastpathCheck(sch, q, skb, now)) {
    q.fastpathPackets++;
    if (sk !== null && q.rateEnable) sk.skPacingStatus = SK_PACING_FQ;
    return q.internal;
  }
  const key = sk === null ? (skbGetHash(skb) & q.orphanMask) * 2 + 1 : sk.slot * 2;
  const f = q.flows.get(key);
  if (f === undefined) return fqNewFlow(q, key, sk);
  if (sk !== null && f.socketHash !== sk.skcHash) {
    // The slot belongs to another socket now.
    f.credit = q.initialQuantum;
    f.socketHash = sk.skcHash;
    if (q.rateEnable) sk.skPacingStatus = SK_PACING_FQ;
    if (f.state === THROTTLED) fqFlowUnsetThrottled(q, f);
    f.timeNextPacket = 0;
  }
  return f;
}

/** flow_queue_add: by time to send; nearly always that is the end. */
function flowQueueAdd(flow: FqFlow, skb: number): void {
  const { queue } = flow;
  const time = f64[(skb + QDISC_TIME_TO_SEND) >>> 3];
  if (queue.tail === 0 || f64[(queue.tail + QDISC_TIME_TO_SEND) >>> 3] <= time) {
    qdiscSkbTail(queue, skb);
    return;
  }
  let prev = 0;
  let at = queue.head;
  while (f64[(at + QDISC_TIME_TO_SEND) >>> 3] <= time) {
    prev = at;
    at = u32[(at + SKB_NEXT) >>> 2];
  }
  u32[(skb + SKB_NEXT) >>> 2] = at;
  if (prev === 0) queue.head = skb;
  else u32[(prev + SKB_NEXT) >>> 2] = skb;
  queue.qlen++;
}

function fqEnqueue(skb: number, sch: Qdisc): number {
  const q = sch.priv as FqPriv;
  const band = fqBandOf(q, skb);
  if (band.pktCount >= sch.limit) {
    band.drops++;
    return qdiscDrop(skb, sch);
  }
  const { now } = kernel;
  const tstamp = f64[(skb + SKB_TSTAMP) >>> 3];
  let time = tstamp;
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

  const f = fqClassify(skb, sch, q, now);
  if (f !== q.internal) {
    if (f.queue.qlen >= q.flowPlimit) {
      q.flowsPlimit++;
      return qdiscDrop(skb, sch);
    }
    f.band = q.bands.indexOf(band);
    if (f.state === DETACHED) {
      flowAddTail(band.newFlows, f);
      if (now > f.age + q.refillDelay && f.credit < q.quantum) f.credit = q.quantum;
    }
    band.pktCount++;
    if (f.queue.qlen === 0) q.inactiveFlows--;
  }
  flowQueueAdd(f, skb);
  if (time < f.timeNextPacket && tstamp !== 0 && f.state === THROTTLED && q.maxRate === Infinity) {
    fqFlowAdjustTimer(q, f, time, now);
  }
  sch.stats.backlog += qdiscPktLen(skb);
  sch.q.qlen++;
  return NET_XMIT_SUCCESS;
}

// ---- dequeue --------------------------------------------------------------------------------------------------------

/** The next packet of a flow leaves the queue. */
function fqDequeueSkb(sch: Qdisc, flow: FqFlow): number {
  const skb = qdiscSkbDequeue(flow.queue);
  sch.stats.backlog -= qdiscPktLen(skb);
  sch.q.qlen--;
  qdiscBstatsUpdate(sch, skb);
  return skb;
}

/** fq_pband_head_select: new flows before old ones; null while the band has had its share, or is empty. */
function fqPbandHeadSelect(band: FqBand): FlowList | null {
  if (band.credit <= 0) return null;
  if (band.newFlows.first !== null) return band.newFlows;
  return band.oldFlows.first !== null ? band.oldFlows : null;
}

/** The band whose turn is next, and its list; null: no band has a flow to serve. */
function fqNextBand(q: FqPriv): FlowList | null {
  let list = fqPbandHeadSelect(q.bands[q.bandNr]);
  for (let retry = 1; list === null && retry <= FQ_BANDS; retry++) {
    q.bandNr = q.bandNr + 1 === FQ_BANDS ? 0 : q.bandNr + 1;
    const band = q.bands[q.bandNr];
    band.credit = Math.min(band.credit + band.quantum, band.quantum);
    // A band in debt: the round goes on until somebody is out of it.
    if (band.credit <= 0) retry = 0;
    else list = fqPbandHeadSelect(band);
  }
  return list;
}

function fqDequeue(sch: Qdisc): number {
  const q = sch.priv as FqPriv;
  if (sch.q.qlen === 0) return 0;
  if (q.internal.queue.head !== 0) return fqDequeueSkb(sch, q.internal);
  const { now } = kernel;
  fqCheckThrottled(q, now);
  for (;;) {
    const list = fqNextBand(q);
    if (list === null) {
      if (q.timeNextDelayedFlow !== Infinity) qdiscWatchdogSchedule(q.watchdog, q.timeNextDelayedFlow);
      return 0;
    }
    const band = q.bands[q.bandNr];
    const f = list.first as FqFlow;
    if (f.credit <= 0) {
      f.credit += q.quantum;
      flowRemoveFirst(list);
      flowAddTail(q.bands[f.band].oldFlows, f);
      continue;
    }
    const head = f.queue.head;
    if (head === 0) {
      flowRemoveFirst(list);
      // A pass through the old flows first, or a flow could stay new for ever.
      if (list === band.newFlows) {
        flowAddTail(q.bands[f.band].oldFlows, f);
      } else {
        f.state = DETACHED;
        f.age = now;
      }
      continue;
    }
    const time = Math.max(f64[(head + QDISC_TIME_TO_SEND) >>> 3], f.timeNextPacket);
    if (now < time) {
      flowRemoveFirst(list);
      f.timeNextPacket = time;
      fqFlowSetThrottled(q, f);
      continue;
    }
    const skb = fqDequeueSkb(sch, f);
    if (now - time > q.ceThreshold) {
      inetEcnSetCe(skb);
      q.ceMark++;
    }
    if (f.queue.qlen === 0) q.inactiveFlows++;
    fqBandOf(q, skb).pktCount--;
    const plen = qdiscPktLen(skb);
    f.credit -= plen;
    band.credit -= plen;
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
  if (rate === Infinity) return;
  let len = rate > 0 ? (plen * 1e6) / rate : Infinity;
  // The rate may change: no delay beyond a second.
  if (len > 1e6) {
    len = 1e6;
    q.pktsTooLong++;
  }
  // Lateness of the last timer is made good.
  if (f.timeNextPacket > 0 && now > f.timeNextPacket) len -= Math.min(len / 2, now - f.timeNextPacket);
  f.timeNextPacket = now + len;
}

// ---- configuration --------------------------------------------------------------------------------------------------

function fqReset(sch: Qdisc): void {
  const q = sch.priv as FqPriv;
  qdiscSkbPurge(q.internal.queue, SKB_DROP_REASON_QDISC_DROP);
  for (const flow of q.flows.values()) qdiscSkbPurge(flow.queue, SKB_DROP_REASON_QDISC_DROP);
  q.flows.clear();
  q.byId.length = 1;
  q.freeIds.length = 0;
  while (q.delayed.pop() !== 0);
  q.timeNextDelayedFlow = Infinity;
  for (const band of q.bands) {
    band.newFlows.first = band.newFlows.last = null;
    band.oldFlows.first = band.oldFlows.last = null;
    band.pktCount = 0;
  }
  q.inactiveFlows = 0;
  q.throttledFlows = 0;
  qdiscWatchdogCancel(q.watchdog);
}

/** Are the options what fq_policy and fq_change take? */
function fqOptValid(o: FqOpt): boolean {
  for (const v of [o.limit, o.flowLimit, o.quantum, o.initialQuantum, o.lowRateThreshold, o.ceThreshold, o.horizon]) {
    if (v !== undefined && !(v >= 0)) return false;
  }
  if ((o.initialQuantum ?? 0) > 1 << 20 || !((o.maxrate ?? 1) >= 0)) return false;
  const { priomap, weights } = o;
  if (priomap !== undefined && (priomap.length !== TC_PRIO_MAX + 1 || priomap.some((b) => !(b >= 0 && b < FQ_BANDS)))) {
    return false;
  }
  return weights === undefined || (weights.length === FQ_BANDS && weights.every((w) => w >= FQ_MIN_WEIGHT));
}

function fqChange(sch: Qdisc, options: QdiscOpt): number {
  const q = sch.priv as FqPriv;
  const o: FqOpt = { ...q.opt, ...(options as FqOpt) };
  if (!fqOptValid(o)) return -EINVAL;
  const mtu = pschedMtu(sch.dev);
  q.opt = o;
  sch.limit = o.limit ?? 10_000;
  q.flowPlimit = o.flowLimit ?? 100;
  q.quantum = Math.min(Math.max(o.quantum ?? 2 * mtu, 256), 1 << 20);
  q.initialQuantum = Math.min(o.initialQuantum ?? 10 * mtu, 1 << 20);
  q.maxRate = o.maxrate ?? Infinity;
  q.rateEnable = o.pacing ?? true;
  q.lowRateThreshold = o.lowRateThreshold ?? 68_750;
  q.ceThreshold = o.ceThreshold ?? Infinity;
  q.horizon = o.horizon ?? 10_000_000;
  q.horizonDrop = o.horizonCap !== true;
  q.refillDelay = o.refillDelay ?? 40_000;
  q.orphanMask = o.orphanMask ?? 1023;
  q.timerSlack = o.timerSlack ?? 10;
  q.prio2band = o.priomap ?? DEFAULT_PRIO2BAND;
  for (let i = 0; i < FQ_BANDS; i++) {
    q.bands[i].quantum = (o.weights ?? DEFAULT_WEIGHTS)[i];
    q.bands[i].pktCount = 0;
  }
  // A packet counts in the band that it belongs to now.
  for (const flow of q.flows.values()) {
    for (let skb = flow.queue.head; skb !== 0; skb = u32[(skb + SKB_NEXT) >>> 2]) fqBandOf(q, skb).pktCount++;
  }
  while (sch.q.qlen > sch.limit) {
    const skb = fqDequeue(sch);
    if (skb === 0) break;
    kfreeSkbReason(skb, SKB_DROP_REASON_QDISC_DROP);
  }
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
    `limit ${sch.limit}p flow_limit ${q.flowPlimit}p buckets 1024 orphan_mask ${q.orphanMask} ` +
    `bands ${FQ_BANDS} priomap ${q.prio2band.join(" ")} weights ${q.bands.map((b) => b.quantum).join(" ")} ` +
    `quantum ${q.quantum}b initial_quantum ${q.initialQuantum}b low_rate_threshold ${(q.lowRateThreshold * 8) / 1000}Kbit` +
    `${max}${q.rateEnable ? "" : " nopacing"} refill_delay ${q.refillDelay / 1000}ms timer_slack ${q.timerSlack}us ` +
    `horizon ${q.horizon / 1e6}s ${q.horizonDrop ? "horizon_drop" : "horizon_cap"}`
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
      fastpath: q.fastpathPackets,
      band0_drops: q.bands[0].drops,
      band1_drops: q.bands[1].drops,
      band2_drops: q.bands[2].drops,
      band0_pkts: q.bands[0].pktCount,
      band1_pkts: q.bands[1].pktCount,
      band2_pkts: q.bands[2].pktCount,
      throttled: q.throttled,
      flows_plimit: q.flowsPlimit,
      too_long: q.pktsTooLong,
      ce_mark: q.ceMark,
      horizon_drops: q.horizonDrops,
      horizon_caps: q.horizonCaps,
    };
  },
};
