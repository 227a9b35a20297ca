/**
 * The generic part of packet scheduling (net/sched/sch_generic.c): running a queue, noop, noqueue and pfifo_fast, and
 * which queue a device gets.
 */

import { SKB_NEXT, SKB_PRIORITY } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { KERN_INFO, printk } from "../../kernel/printk.ts";
import { modTimer, type TimerList, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { u32 } from "../../mm/mem.ts";
import {
  __netifSchedule,
  devHardStartXmit,
  devXmitRc,
  IFF_NO_QUEUE,
  NET_XMIT_CN,
  NET_XMIT_MASK,
  NETDEV_TX_BUSY,
  NETIF_F_LLTX,
  type NetDevice,
  netifCarrierOk,
  netifRunning,
  validateXmitSkbList,
} from "../core/dev.ts";
import {
  __QDISC_STATE_DEACTIVATED,
  type NetdevQueue,
  netifXmitFrozenOrStopped,
  Qdisc,
  type QdiscOps,
  type QdiscOpt,
  QdiscSkbHead,
  qdiscBstatsUpdate,
  qdiscDrop,
  qdiscPktLen,
  qdiscReset,
  qdiscSkbDequeue,
  qdiscSkbPurge,
  qdiscSkbTail,
  registerSched,
  TCQ_F_BUILTIN,
  TCQ_F_CAN_BYPASS,
  TCQ_F_ONETXQUEUE,
} from "../core/sch_generic_h.ts";

/** Packets that one __qdisc_run sends before it lets others have a turn (dev_tx_weight). */
const DEV_TX_WEIGHT = 64;

// ---- running --------------------------------------------------------------------------------------------------------

/** dev_requeue_skb: the driver was busy; these go out before all others. */
function devRequeueSkb(first: number, q: Qdisc): void {
  let skb = first;
  while (skb !== 0) {
    const next = u32[(skb + SKB_NEXT) >>> 2] as number;
    qdiscSkbTail(q.gsoSkb, skb);
    q.stats.requeues++;
    q.stats.backlog += qdiscPktLen(skb);
    q.q.qlen++; // It is still part of the queue.
    skb = next;
  }
  __netifSchedule(q);
}

/** dequeue_skb: what was requeued, else from the scheduler. 0 = nothing can be sent now. */
function dequeueSkb(q: Qdisc, txq: NetdevQueue): number {
  if (netifXmitFrozenOrStopped(txq)) return 0;
  if (q.gsoSkb.head !== 0) {
    const skb = qdiscSkbDequeue(q.gsoSkb);
    q.stats.backlog -= qdiscPktLen(skb);
    q.q.qlen--;
    return skb;
  }
  return (q.dequeue as (sch: Qdisc) => number)(q);
}

/**
 * sch_direct_xmit: sends an skb, or a list, past the queue. What the driver does not take is requeued.
 * Returns whether the queue may go on.
 */
export function schDirectXmit(skb: number, q: Qdisc, dev: NetDevice, txq: NetdevQueue, validate: boolean): boolean {
  let left = validate ? validateXmitSkbList(skb, dev) : skb;
  if (left === 0) return true;
  let rc: number = NETDEV_TX_BUSY;
  const lock = (dev.features & NETIF_F_LLTX) === 0;
  if (!netifXmitFrozenOrStopped(txq) && !(lock && txq.xmitLockOwner)) {
    if (lock) txq.xmitLockOwner = true;
    left = devHardStartXmit(left, dev, txq);
    rc = devXmitRc;
    if (lock) txq.xmitLockOwner = false;
  }
  if (rc >= NET_XMIT_MASK) {
    devRequeueSkb(left, q);
    return false;
  }
  return true;
}

/** qdisc_restart: sends one packet. False: the queue is empty or the driver is busy. */
function qdiscRestart(q: Qdisc): boolean {
  const { txq } = q;
  // What comes from gso_skb was validated before it got there.
  const validate = q.gsoSkb.head === 0;
  const skb = dequeueSkb(q, txq);
  if (skb === 0) return false;
  return schDirectXmit(skb, q, q.dev, txq, validate);
}

/** __qdisc_run: sends until the queue is empty, the driver is busy, or others should have a turn. */
export function __qdiscRun(q: Qdisc): void {
  let quota = DEV_TX_WEIGHT;
  while (qdiscRestart(q)) {
    if (--quota <= 0) {
      __netifSchedule(q);
      return;
    }
  }
}

// ---- noop: devices that are down ------------------------------------------------------------------------------------

function noopEnqueue(skb: number, sch: Qdisc): number {
  qdiscDrop(skb, sch);
  return NET_XMIT_CN;
}
function noopDequeue(): number {
  return 0;
}

export const noopQdiscOps: QdiscOps = {
  id: "noop",
  symbol: "noop_qdisc_ops",
  enqueue: noopEnqueue,
  dequeue: noopDequeue,
  peek: noopDequeue,
};

/** noop_qdisc: drops everything. One a queue, so that its drops are the device's. */
function noopQdisc(txq: NetdevQueue): Qdisc {
  const q = new Qdisc(noopQdiscOps, txq);
  q.flags = TCQ_F_BUILTIN;
  return q;
}

// ---- noqueue: devices that are never busy ---------------------------------------------------------------------------

export const noqueueQdiscOps: QdiscOps = {
  id: "noqueue",
  symbol: "noqueue_qdisc_ops",
  // Its absence is what dev_queue_xmit looks for.
  enqueue: null,
  dequeue: null,
  peek: null,
};

// ---- pfifo_fast: three bands by priority ----------------------------------------------------------------------------

/** Band by skb->priority & 15: interactive first, bulk last. */
export const schDefaultPrio2band: Uint8Array = new Uint8Array([1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
const PFIFO_FAST_BANDS = 3;

class PfifoFastPriv {
  readonly band: readonly QdiscSkbHead[] = [new QdiscSkbHead(), new QdiscSkbHead(), new QdiscSkbHead()];
}

/** Tail drop: every band holds tx_queue_len packets. */
function pfifoFastEnqueue(skb: number, qdisc: Qdisc): number {
  const band = schDefaultPrio2band[(u32[(skb + SKB_PRIORITY) >>> 2] as number) & 15] as number;
  const list = (qdisc.priv as PfifoFastPriv).band[band] as QdiscSkbHead;
  if (list.qlen >= qdisc.limit) return qdiscDrop(skb, qdisc);
  qdiscSkbTail(list, skb);
  qdisc.q.qlen++;
  qdisc.stats.backlog += qdiscPktLen(skb);
  return 0;
}

function pfifoFastDequeue(qdisc: Qdisc): number {
  const bands = (qdisc.priv as PfifoFastPriv).band;
  for (let i = 0; i < PFIFO_FAST_BANDS; i++) {
    const skb = qdiscSkbDequeue(bands[i] as QdiscSkbHead);
    if (skb !== 0) {
      qdisc.q.qlen--;
      qdisc.stats.backlog -= qdiscPktLen(skb);
      qdiscBstatsUpdate(qdisc, skb);
      return skb;
    }
  }
  return 0;
}

function pfifoFastPeek(qdisc: Qdisc): number {
  const bands = (qdisc.priv as PfifoFastPriv).band;
  for (let i = 0; i < PFIFO_FAST_BANDS; i++) {
    const { head } = bands[i] as QdiscSkbHead;
    if (head !== 0) return head;
  }
  return 0;
}

function pfifoFastInit(qdisc: Qdisc, _opt: QdiscOpt | null): number {
  qdisc.priv = new PfifoFastPriv();
  qdisc.limit = Math.max(1, qdisc.dev.txQueueLen);
  qdisc.flags |= TCQ_F_CAN_BYPASS;
  return 0;
}

function pfifoFastReset(qdisc: Qdisc): void {
  for (const band of (qdisc.priv as PfifoFastPriv).band) qdiscSkbPurge(band);
}

export const pfifoFastOps: QdiscOps = {
  id: "pfifo_fast",
  symbol: "pfifo_fast_ops",
  enqueue: pfifoFastEnqueue,
  dequeue: pfifoFastDequeue,
  peek: pfifoFastPeek,
  init: pfifoFastInit,
  reset: pfifoFastReset,
  dump: () => `bands 3 priomap ${[...schDefaultPrio2band].join(" ")}`,
};

// ---- making and unmaking --------------------------------------------------------------------------------------------

/** qdisc_create_dflt: a qdisc outside of tc's tree, with default options. null if its init fails. */
export function qdiscCreateDflt(txq: NetdevQueue, ops: QdiscOps, parentid: number): Qdisc | null {
  const sch = new Qdisc(ops, txq);
  sch.flags |= TCQ_F_ONETXQUEUE;
  sch.parent = parentid;
  if (ops.init !== undefined && ops.init(sch, null) < 0) {
    ops.destroy?.(sch);
    return null;
  }
  return sch;
}

/** qdisc_put: frees what it holds and what waits in it. */
export function qdiscDestroy(qdisc: Qdisc): void {
  if ((qdisc.flags & TCQ_F_BUILTIN) !== 0) return;
  qdiscReset(qdisc);
  qdisc.ops.destroy?.(qdisc);
  qdisc.state |= __QDISC_STATE_DEACTIVATED;
}

/** Qdiscs that may be the default (net.core.default_qdisc); filled by register_qdisc. */
const defaultQdiscs = new Map<string, QdiscOps>();

export function registerDefaultQdisc(ops: QdiscOps): void {
  defaultQdiscs.set(ops.id, ops);
}

/** attach_one_default_qdisc: noqueue for virtual devices and for those without a queue length, else the default. */
function attachOneDefaultQdisc(dev: NetDevice): Qdisc {
  const { txq } = dev;
  if ((dev.privFlags & IFF_NO_QUEUE) === 0 && dev.txQueueLen !== 0) {
    const name = dev.net.core === undefined ? "pfifo_fast" : dev.net.core.sysctlDefaultQdisc;
    const q = qdiscCreateDflt(txq, defaultQdiscs.get(name) ?? pfifoFastOps, 0xffffffff);
    if (q !== null) return q;
    printk(KERN_INFO, `${dev.name}: activation failed`);
  }
  return qdiscCreateDflt(txq, noqueueQdiscOps, 0xffffffff) as Qdisc;
}

/**
 * dev_graft_qdisc: puts `qdisc` (null = noop) at the root of a queue. Returns the old one, for the caller to destroy.
 */
export function devGraftQdisc(txq: NetdevQueue, qdisc: Qdisc | null): Qdisc | null {
  const old = txq.qdiscSleeping;
  if (old !== null) qdiscReset(old);
  txq.qdiscSleeping = qdisc ?? noopQdisc(txq);
  txq.qdisc = noopQdisc(txq);
  return old;
}

/** dev_init_scheduler. */
function devInitScheduler(dev: NetDevice): void {
  const { txq } = dev;
  txq.qdisc = noopQdisc(txq);
  txq.qdiscSleeping = txq.qdisc;
  dev.qdisc = txq.qdisc;
}

/** dev_activate: the device is up and has a carrier. */
export function devActivate(dev: NetDevice): void {
  const { txq } = dev;
  if (dev.qdisc === null || dev.qdisc.ops === noopQdiscOps) {
    txq.qdiscSleeping = attachOneDefaultQdisc(dev);
    dev.qdisc = txq.qdiscSleeping;
  }
  if (!netifCarrierOk(dev)) return; // Not yet: when it comes.
  const q = txq.qdiscSleeping as Qdisc;
  q.state &= ~__QDISC_STATE_DEACTIVATED;
  txq.qdisc = q;
  txq.transStart = kernel.now;
  netdevWatchdogUp(dev);
}

/** dev_deactivate: nothing goes out any more; what waits is dropped. */
export function devDeactivate(dev: NetDevice): void {
  const { txq } = dev;
  const q = txq.qdisc;
  if (q !== null && q.ops !== noopQdiscOps) {
    q.state |= __QDISC_STATE_DEACTIVATED;
    txq.qdisc = noopQdisc(txq);
    qdiscReset(q);
  }
  const timer = watchdogs.get(dev);
  if (timer !== undefined) timerShutdown(timer);
}

/** dev_shutdown: the device goes away. */
function devShutdown(dev: NetDevice): void {
  const { txq } = dev;
  const q = txq.qdiscSleeping;
  txq.qdisc = noopQdisc(txq);
  txq.qdiscSleeping = txq.qdisc;
  dev.qdisc = txq.qdisc;
  dev.qdiscs.length = 0;
  if (q !== null) qdiscDestroy(q);
  watchdogs.delete(dev);
}

/** dev_qdisc_change_tx_queue_len: pfifo_fast's bands are as long as the device's queue. */
function devQdiscChangeTxQueueLen(dev: NetDevice): void {
  const q = dev.txq.qdiscSleeping;
  if (q !== null && q.ops === pfifoFastOps) q.limit = Math.max(1, dev.txQueueLen);
}

// ---- the transmit watchdog ------------------------------------------------------------------------------------------

/** dev->watchdog_timer, of those devices that have ndo_tx_timeout. */
const watchdogs = new WeakMap<NetDevice, TimerList>();
const WATCHDOG_TIMEO = 5_000_000;

/** __netdev_watchdog_up. */
function netdevWatchdogUp(dev: NetDevice): void {
  if (dev.netdevOps.ndoTxTimeout === undefined || dev.txq.qdisc === null || dev.txq.qdisc.enqueue === null) return;
  if (dev.watchdogTimeo <= 0) dev.watchdogTimeo = WATCHDOG_TIMEO;
  let timer = watchdogs.get(dev);
  if (timer === undefined) {
    timer = timerSetup(devWatchdog, dev);
    watchdogs.set(dev, timer);
  }
  modTimer(timer, kernel.now + dev.watchdogTimeo);
}

/** dev_watchdog: a queue that has been stopped for too long is reported to the driver. */
function devWatchdog(t: TimerList): void {
  const dev = t.data as NetDevice;
  const { txq } = dev;
  if (!netifRunning(dev) || !netifCarrierOk(dev)) return;
  if (netifXmitFrozenOrStopped(txq) && kernel.now - txq.transStart >= dev.watchdogTimeo) {
    txq.transTimeout++;
    dev.netdevOps.ndoTxTimeout?.(dev);
  }
  modTimer(t, kernel.now + dev.watchdogTimeo);
}

// ---- into the core --------------------------------------------------------------------------------------------------

/** Makes devices have queues. Called by pktschedInit; before any device is registered. */
export function schedInit(): void {
  registerDefaultQdisc(pfifoFastOps);
  registerDefaultQdisc(noqueueQdiscOps);
  registerSched({
    devInitScheduler,
    devActivate,
    devDeactivate,
    devShutdown,
    devQdiscChangeTxQueueLen,
    schDirectXmit,
    __qdiscRun,
  });
}
