/**
 * include/net/sch_generic.h: struct Qdisc, the transmit queue of a device, and the inline functions on both. What the
 * schedulers do stands in net/sched/, which makes itself known through `registerSched`: the core does not depend on it,
 * and a machine without schedulers transmits directly, as with noqueue.
 */

import { QDISC_PKT_LEN, SHINFO_GSO_SEGS, SHINFO_GSO_SIZE, SKB_END, SKB_NEXT } from "../../../assembly/layout.ts";
import { u16, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_QDISC_DROP, SKB_DROP_REASON_QUEUE_PURGE } from "../../uapi/dropreason.ts";
import type { NetDevice } from "./dev.ts";
import { kfreeSkbReason } from "./skbuff.ts";

// qdisc->flags.
export const TCQ_F_BUILTIN = 1;
export const TCQ_F_INGRESS = 2;
/** An empty qdisc may be passed by. */
export const TCQ_F_CAN_BYPASS = 4;
export const TCQ_F_ONETXQUEUE = 0x10;
/** Not put on the device's list (the default qdiscs, inner ones). */
export const TCQ_F_NOPARENT = 0x40;
export const TCQ_F_INVISIBLE = 0x80;

// qdisc->state.
export const __QDISC_STATE_SCHED = 1;
export const __QDISC_STATE_DEACTIVATED = 2;

// txq->state.
export const QUEUE_STATE_DRV_XOFF = 1;
export const QUEUE_STATE_STACK_XOFF = 2;
export const QUEUE_STATE_FROZEN = 4;

/** struct qdisc_skb_head: a list of skbs that are linked by skb->next alone. */
export class QdiscSkbHead {
  head = 0;
  tail = 0;
  qlen = 0;
}

export function qdiscSkbTail(qh: QdiscSkbHead, skb: number): void {
  u32[(skb + SKB_NEXT) >>> 2] = 0;
  if (qh.tail === 0) qh.head = skb;
  else u32[(qh.tail + SKB_NEXT) >>> 2] = skb;
  qh.tail = skb;
  qh.qlen++;
}

export function qdiscSkbAtHead(qh: QdiscSkbHead, skb: number): void {
  u32[(skb + SKB_NEXT) >>> 2] = qh.head;
  if (qh.tail === 0) qh.tail = skb;
  qh.head = skb;
  qh.qlen++;
}

/** Takes the first skb off; 0 if there is none. */
export function qdiscSkbDequeue(qh: QdiscSkbHead): number {
  const skb = qh.head;
  if (skb === 0) return 0;
  const next = u32[(skb + SKB_NEXT) >>> 2];
  qh.head = next;
  if (next === 0) qh.tail = 0;
  u32[(skb + SKB_NEXT) >>> 2] = 0;
  qh.qlen--;
  return skb;
}

/** Frees everything on the list. */
export function qdiscSkbPurge(qh: QdiscSkbHead, reason: number = SKB_DROP_REASON_QUEUE_PURGE): void {
  for (;;) {
    const skb = qdiscSkbDequeue(qh);
    if (skb === 0) return;
    kfreeSkbReason(skb, reason);
  }
}

/** The options of a qdisc, as `tc` would give them: see each scheduler's own type. */
export type QdiscOpt = object;

/** struct Qdisc_ops. */
export interface QdiscOps {
  readonly id: string;
  readonly symbol: string;
  /** Takes the skb over, whatever it returns (NET_XMIT_*). null: the device has no queue at all (noqueue). */
  readonly enqueue: ((skb: number, sch: Qdisc) => number) | null;
  /** The next skb to send now; 0 = none (yet). */
  readonly dequeue: ((sch: Qdisc) => number) | null;
  /** What dequeue would return, left in the queue. */
  readonly peek: ((sch: Qdisc) => number) | null;
  /** 0 or a negative errno. */
  init?(sch: Qdisc, opt: QdiscOpt | null): number;
  /** `tc qdisc change`. 0 or a negative errno. */
  change?(sch: Qdisc, opt: QdiscOpt): number;
  /** Empties the queue. */
  reset?(sch: Qdisc): void;
  destroy?(sch: Qdisc): void;
  /** For `tc qdisc show`: the parameters as tc prints them. */
  dump?(sch: Qdisc): string;
  /** For `tc -s qdisc show`: the scheduler's own counters (xstats). */
  dumpStats?(sch: Qdisc): Record<string, number>;
  /** Class operations of those that hold an inner qdisc: graft puts `child` in place, leaf returns it. */
  graft?(sch: Qdisc, child: Qdisc): Qdisc | null;
  leaf?(sch: Qdisc): Qdisc | null;
}

/** gnet_stats_basic and gnet_stats_queue. */
export class QdiscStats {
  /** Sent: packets count every segment of a super-packet. */
  bytes = 0;
  packets = 0;
  drops = 0;
  requeues = 0;
  overlimits = 0;
  /** Bytes waiting. */
  backlog = 0;
}

/** struct Qdisc. */
export class Qdisc {
  readonly ops: QdiscOps;
  readonly dev: NetDevice;
  readonly txq: NetdevQueue;
  enqueue: ((skb: number, sch: Qdisc) => number) | null;
  dequeue: ((sch: Qdisc) => number) | null;
  flags = 0;
  state = 0;
  /** Packets, or bytes for bfifo. */
  limit = 0;
  handle = 0;
  parent = 0;
  /** __QDISC_STATE2_RUNNING: one runner at a time. */
  running = false;
  /** The scheduler's queue; qlen counts everything in the qdisc wherever it is kept. */
  readonly q: QdiscSkbHead = new QdiscSkbHead();
  /** Taken off the queue, but the driver was busy; goes out first. */
  readonly gsoSkb: QdiscSkbHead = new QdiscSkbHead();
  readonly stats: QdiscStats = new QdiscStats();
  /** The qdisc this one is the inner one of; null at the root. */
  parentQdisc: Qdisc | null = null;
  /** Links of the machine's output queue (netif_schedule). */
  nextSched: Qdisc | null = null;
  /** The scheduler's own state (qdisc_priv). */
  priv: unknown = null;

  constructor(ops: QdiscOps, txq: NetdevQueue) {
    this.ops = ops;
    this.dev = txq.dev;
    this.txq = txq;
    this.enqueue = ops.enqueue;
    this.dequeue = ops.dequeue;
  }
}

/** struct netdev_queue. */
export class NetdevQueue {
  readonly dev: NetDevice;
  /** The qdisc that packets go to now (noop while the device is down); null = none, transmit directly. */
  qdisc: Qdisc | null = null;
  /** The qdisc that is configured. */
  qdiscSleeping: Qdisc | null = null;
  /** QUEUE_STATE_*. */
  state = 0;
  /** Somebody is inside ndo_start_xmit of this queue. */
  xmitLockOwner = false;
  /** When the driver last took a packet, microseconds. */
  transStart = 0;
  transTimeout = 0;

  constructor(dev: NetDevice) {
    this.dev = dev;
  }
}

/** What net/sched does for the core. */
export interface SchedOps {
  devInitScheduler(dev: NetDevice): void;
  devActivate(dev: NetDevice): void;
  devDeactivate(dev: NetDevice): void;
  devShutdown(dev: NetDevice): void;
  devQdiscChangeTxQueueLen(dev: NetDevice): void;
  schDirectXmit(skb: number, q: Qdisc, dev: NetDevice, txq: NetdevQueue, validate: boolean): boolean;
  __qdiscRun(q: Qdisc): void;
}

/** The schedulers of this program; null as long as net/sched is not part of it. */
export let sched: SchedOps | null = null;

/** Called by net/sched/sch_generic.ts. */
export function registerSched(ops: SchedOps): void {
  sched = ops;
}

// ---- inline functions -----------------------------------------------------------------------------------------------

/** qdisc_skb_cb(skb)->pkt_len: bytes on the wire, the headers of every segment counted. Set by qdisc_pkt_len_init. */
export function qdiscPktLen(skb: number): number {
  return u32[(skb + QDISC_PKT_LEN) >>> 2];
}
export function qdiscPktLenSet(skb: number, len: number): void {
  u32[(skb + QDISC_PKT_LEN) >>> 2] = len;
}

/** qdisc_run_begin: false if somebody runs this qdisc already. */
export function qdiscRunBegin(q: Qdisc): boolean {
  if (q.running) return false;
  q.running = true;
  return true;
}
export function qdiscRunEnd(q: Qdisc): void {
  q.running = false;
}

/** qdisc_run. */
export function qdiscRun(q: Qdisc): void {
  if (qdiscRunBegin(q)) {
    if ((q.state & __QDISC_STATE_DEACTIVATED) === 0) (sched as SchedOps).__qdiscRun(q);
    qdiscRunEnd(q);
  }
}

/** Packets that an skb stands for. */
export function skbPackets(skb: number): number {
  const shinfo = u32[(skb + SKB_END) >>> 2];
  return u16[(shinfo + SHINFO_GSO_SIZE) >>> 1] !== 0 ? u16[(shinfo + SHINFO_GSO_SEGS) >>> 1] : 1;
}

/** qdisc_bstats_update. */
export function qdiscBstatsUpdate(sch: Qdisc, skb: number): void {
  const stats = sch.stats;
  stats.bytes += qdiscPktLen(skb);
  stats.packets += skbPackets(skb);
}

/** qdisc_drop: counts and frees. What an enqueue returns that does not take its skb. */
export function qdiscDrop(skb: number, sch: Qdisc, reason: number = SKB_DROP_REASON_QDISC_DROP): number {
  sch.stats.drops++;
  kfreeSkbReason(skb, reason);
  return 1; // NET_XMIT_DROP
}

/** qdisc_enqueue_tail. */
export function qdiscEnqueueTail(skb: number, sch: Qdisc): number {
  qdiscSkbTail(sch.q, skb);
  sch.stats.backlog += qdiscPktLen(skb);
  return 0; // NET_XMIT_SUCCESS
}

/** qdisc_dequeue_head. */
export function qdiscDequeueHead(sch: Qdisc): number {
  const skb = qdiscSkbDequeue(sch.q);
  if (skb !== 0) {
    sch.stats.backlog -= qdiscPktLen(skb);
    qdiscBstatsUpdate(sch, skb);
  }
  return skb;
}

/** qdisc_peek_head. */
export function qdiscPeekHead(sch: Qdisc): number {
  return sch.q.head;
}

/** qdisc_peek_dequeued: the peek of schedulers that can only find out by dequeueing; the skb waits in gso_skb. */
export function qdiscPeekDequeued(sch: Qdisc): number {
  let skb = sch.gsoSkb.head;
  if (skb === 0 && sch.dequeue !== null) {
    skb = sch.dequeue(sch);
    if (skb !== 0) {
      qdiscSkbAtHead(sch.gsoSkb, skb);
      // It is still part of the queue.
      sch.stats.backlog += qdiscPktLen(skb);
      sch.q.qlen++;
    }
  }
  return skb;
}

/** qdisc_dequeue_peeked: dequeue that gives what peek has shown. */
export function qdiscDequeuePeeked(sch: Qdisc): number {
  const skb = qdiscSkbDequeue(sch.gsoSkb);
  if (skb !== 0) {
    sch.stats.backlog -= qdiscPktLen(skb);
    sch.q.qlen--;
    return skb;
  }
  return sch.dequeue === null ? 0 : sch.dequeue(sch);
}

/** qdisc_enqueue: into an inner qdisc. */
export function qdiscEnqueue(skb: number, sch: Qdisc): number {
  return (sch.enqueue as (skb: number, sch: Qdisc) => number)(skb, sch);
}

/** qdisc_tree_reduce_backlog: an inner qdisc lost `n` packets and `len` bytes that its ancestors have counted. */
export function qdiscTreeReduceBacklog(sch: Qdisc, n: number, len: number): void {
  if (n === 0 && len === 0) return;
  for (let p = sch.parentQdisc; p !== null; p = p.parentQdisc) {
    p.q.qlen -= n;
    p.stats.backlog -= len;
    p.stats.drops += n;
  }
}

/** qdisc_replace: `old`, which was below `sch`, goes with its packets, and `sch` no longer counts them. Returns `old`. */
export function qdiscReplace(sch: Qdisc, old: Qdisc): Qdisc {
  sch.q.qlen -= old.q.qlen;
  sch.stats.backlog -= old.stats.backlog;
  return old;
}

/** qdisc_reset: throws away what waits. */
export function qdiscReset(q: Qdisc): void {
  q.ops.reset?.(q);
  qdiscSkbPurge(q.gsoSkb);
  qdiscSkbPurge(q.q);
  q.q.qlen = 0;
  q.stats.backlog = 0;
}

/** netif_xmit_stopped: the driver or the stack has stopped the queue. */
export function netifXmitStopped(txq: NetdevQueue): boolean {
  return (txq.state & (QUEUE_STATE_DRV_XOFF | QUEUE_STATE_STACK_XOFF)) !== 0;
}
export function netifXmitFrozenOrStopped(txq: NetdevQueue): boolean {
  return txq.state !== 0;
}
export function netifTxQueueStopped(txq: NetdevQueue): boolean {
  return (txq.state & QUEUE_STATE_DRV_XOFF) !== 0;
}
