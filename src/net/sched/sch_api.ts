/**
 * The interface of packet scheduling (net/sched/sch_api.c): which schedulers there are, the tree of them at a device,
 * and
 * the watchdog that runs a queue again later. `tc` is a parser on top of it.
 */

import { modTimer, type TimerList, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from "../../uapi/errno.ts";
import { IFF_UP } from "../../uapi/if.ts";
import { TC_H_MAJ, TC_H_MAKE, TC_H_MIN, TC_H_ROOT } from "../../uapi/pkt_sched.ts";
import { __netifSchedule, type NetDevice } from "../core/dev.ts";
import {
  Qdisc,
  type QdiscOps,
  type QdiscOpt,
  type QdiscStats,
  TCQ_F_BUILTIN,
  TCQ_F_NOPARENT,
  TCQ_F_ONETXQUEUE,
} from "../core/sch_generic_h.ts";
import { bfifoQdiscOps, pfifoQdiscOps } from "./sch_fifo.ts";
import { fqQdiscOps } from "./sch_fq.ts";
import { fqCodelQdiscOps } from "./sch_fq_codel.ts";
import {
  devActivate,
  devDeactivate,
  devGraftQdisc,
  noqueueQdiscOps,
  pfifoFastOps,
  qdiscDestroy,
  registerDefaultQdisc,
  schedInit,
} from "./sch_generic.ts";
import { netemQdiscOps } from "./sch_netem.ts";
import { redQdiscOps } from "./sch_red.ts";
import { tbfQdiscOps } from "./sch_tbf.ts";

// ---- the schedulers -------------------------------------------------------------------------------------------------

const qdiscBase = new Map<string, QdiscOps>();

/** register_qdisc. -EEXIST if the name is taken by another one. */
export function registerQdisc(qops: QdiscOps): number {
  const known = qdiscBase.get(qops.id);
  if (known !== undefined && known !== qops) return -EEXIST;
  qdiscBase.set(qops.id, qops);
  return 0;
}

export function unregisterQdisc(qops: QdiscOps): void {
  if (qdiscBase.get(qops.id) === qops) qdiscBase.delete(qops.id);
}

/** The names of the schedulers there are. */
export function qdiscKinds(): string[] {
  return [...qdiscBase.keys()];
}

/** pktsched_init: makes the schedulers known, and devices have queues. Comes before the first device. */
export function pktschedInit(): void {
  schedInit();
  for (const ops of [pfifoFastOps, pfifoQdiscOps, bfifoQdiscOps, noqueueQdiscOps]) registerQdisc(ops);
  for (const ops of [netemQdiscOps, tbfQdiscOps, fqQdiscOps, fqCodelQdiscOps, redQdiscOps]) registerQdisc(ops);
  for (const ops of [pfifoQdiscOps, bfifoQdiscOps, fqQdiscOps, fqCodelQdiscOps]) registerDefaultQdisc(ops);
}

// ---- the watchdog ---------------------------------------------------------------------------------------------------

/** struct qdisc_watchdog: runs the root qdisc when the time has come for what waits. */
export class QdiscWatchdog {
  readonly qdisc: Qdisc;
  readonly timer: TimerList = timerSetup(qdiscWatchdog, this);

  constructor(qdisc: Qdisc) {
    this.qdisc = qdisc;
  }
}

/** qdisc_root. */
export function qdiscRoot(qdisc: Qdisc): Qdisc {
  let q = qdisc;
  while (q.parentQdisc !== null) q = q.parentQdisc;
  return q;
}

function qdiscWatchdog(t: TimerList): void {
  __netifSchedule(qdiscRoot((t.data as QdiscWatchdog).qdisc));
}

/** qdisc_watchdog_schedule_ns, in microseconds of kernel time. */
export function qdiscWatchdogSchedule(wd: QdiscWatchdog, expires: number): void {
  modTimer(wd.timer, expires);
}

export function qdiscWatchdogCancel(wd: QdiscWatchdog): void {
  timerShutdown(wd.timer);
}

// ---- the tree -------------------------------------------------------------------------------------------------------

/** All qdiscs of a device that have a handle: the root first. */
function qdiscList(dev: NetDevice): Qdisc[] {
  const root = dev.qdisc;
  return root === null || (root.flags & TCQ_F_BUILTIN) !== 0 ? [...dev.qdiscs] : [root, ...dev.qdiscs];
}

/** qdisc_lookup: by the major half of a handle; null if there is none. */
export function qdiscLookup(dev: NetDevice, handle: number): Qdisc | null {
  const major = TC_H_MAJ(handle);
  if (major === 0) return null;
  return qdiscList(dev).find((q) => q.handle === major) ?? null;
}

/** qdisc_alloc_handle: 8001:, 8002: ... */
function qdiscAllocHandle(dev: NetDevice): number {
  for (let major = 0x8001; major < 0xffff; major++) {
    if (qdiscLookup(dev, major * 65536) === null) return TC_H_MAKE(major * 65536, 0);
  }
  return 0;
}

export interface QdiscCreateOptions {
  /** TC_H_ROOT (default), or the class of a qdisc that is there: 0x00010001 for "1:1". */
  parent?: number;
  /** "10:" is 0x00100000; chosen by the kernel if absent or 0. */
  handle?: number;
}

/**
 * qdisc_create: a qdisc of `kind` with its options (see each scheduler's type), not attached yet.
 * -ENOENT: no such kind; -EEXIST: the handle is taken; -EINVAL: the options make no sense.
 */
export function qdiscAlloc(dev: NetDevice, kind: string, opt: QdiscOpt | null, handle = 0): Qdisc | number {
  const ops = qdiscBase.get(kind);
  if (ops === undefined) return -ENOENT;
  const major = TC_H_MAJ(handle);
  if (major !== 0 && qdiscLookup(dev, major) !== null) return -EEXIST;
  const sch = new Qdisc(ops, dev.txq);
  sch.flags |= TCQ_F_ONETXQUEUE;
  sch.handle = major !== 0 ? major : qdiscAllocHandle(dev);
  const err = ops.init?.(sch, opt) ?? 0;
  if (err < 0) {
    ops.destroy?.(sch);
    return err;
  }
  return sch;
}

/**
 * `tc qdisc add dev DEV ...`: makes a qdisc and puts it in place: at the root, or inside another one.
 * -EEXIST: there is one already (`qdiscReplace`); -ENOENT: no such kind, or no such parent; -EINVAL.
 *
 * @example qdiscCreate(dev, "netem", { delay: 20_000, loss: 0.01 })
 */
export function qdiscCreate(
  dev: NetDevice,
  kind: string,
  opt: QdiscOpt | null = null,
  where: QdiscCreateOptions = {},
): Qdisc | number {
  const parent = where.parent ?? TC_H_ROOT;
  const there = qdiscAt(dev, parent);
  if (typeof there === "number") return there;
  // The default ones have no handle: they give way.
  if (there !== null && there.handle !== 0) return -EEXIST;
  return qdiscReplace(dev, kind, opt, where);
}

/** `tc qdisc replace`: as qdiscCreate, in the place of what is there. */
export function qdiscReplace(
  dev: NetDevice,
  kind: string,
  opt: QdiscOpt | null = null,
  where: QdiscCreateOptions = {},
): Qdisc | number {
  const parent = where.parent ?? TC_H_ROOT;
  const there = qdiscAt(dev, parent);
  if (typeof there === "number") return there;
  if (there !== null && there.handle !== 0 && TC_H_MAJ(where.handle ?? 0) === there.handle) {
    // The same handle: change it if it is of the same kind.
    if (there.ops.id !== kind) return -EINVAL;
    const err = qdiscChange(there, opt ?? {});
    return err < 0 ? err : there;
  }
  const sch = qdiscAlloc(dev, kind, opt, where.handle ?? 0);
  if (typeof sch === "number") return sch;
  const err = qdiscGraft(dev, parent, sch);
  if (err < 0) {
    qdiscDestroy(sch);
    return err;
  }
  return sch;
}

/** The qdisc that stands at a parent: the root, or the inner one of a class. null = none; negative: no such place. */
function qdiscAt(dev: NetDevice, parent: number): Qdisc | null | number {
  if (parent === TC_H_ROOT) return dev.qdisc;
  const p = qdiscLookup(dev, parent);
  if (p === null) return -ENOENT;
  if (p.ops.leaf === undefined || TC_H_MIN(parent) !== 1) return -ENOENT;
  return p.ops.leaf(p);
}

/** qdisc_graft: puts `sch` (null = the default) at `parent`, and frees what was there. */
export function qdiscGraft(dev: NetDevice, parent: number, sch: Qdisc | null): number {
  if (parent === TC_H_ROOT) {
    const up = (dev.flags & IFF_UP) !== 0;
    if (up) devDeactivate(dev);
    for (const q of dev.qdiscs) q.parentQdisc = null;
    dev.qdiscs.length = 0;
    const old = devGraftQdisc(dev.txq, sch);
    if (sch !== null) sch.parent = TC_H_ROOT;
    dev.qdisc = dev.txq.qdiscSleeping;
    if (old !== null) qdiscDestroy(old);
    if (up) devActivate(dev);
    return 0;
  }
  const p = qdiscLookup(dev, parent);
  if (p === null) return -ENOENT;
  if (p.ops.graft === undefined || TC_H_MIN(parent) !== 1) return -ENOENT;
  if (sch === null) return -EOPNOTSUPP;
  sch.parent = parent;
  sch.parentQdisc = p;
  sch.flags |= TCQ_F_NOPARENT;
  const old = p.ops.graft(p, sch);
  if (sch.handle !== 0) dev.qdiscs.push(sch);
  if (old !== null) {
    const i = dev.qdiscs.indexOf(old);
    if (i >= 0) dev.qdiscs.splice(i, 1);
    old.parentQdisc = null;
    qdiscDestroy(old);
  }
  return 0;
}

/** `tc qdisc change`: new options for one that is there. -EOPNOTSUPP if its kind cannot. */
export function qdiscChange(sch: Qdisc, opt: QdiscOpt): number {
  return sch.ops.change === undefined ? -EOPNOTSUPP : sch.ops.change(sch, opt);
}

/** `tc qdisc del`: the root goes back to the default; an inner one to a fifo. -ENOENT: there is none; -EBUSY. */
export function qdiscDelete(dev: NetDevice, parent: number = TC_H_ROOT): number {
  const there = qdiscAt(dev, parent);
  if (typeof there === "number") return there;
  if (there === null || there.handle === 0) return -ENOENT;
  if (parent === TC_H_ROOT) return qdiscGraft(dev, TC_H_ROOT, null);
  const fifo = qdiscAlloc(dev, "pfifo", null);
  if (typeof fifo === "number") return -EBUSY;
  fifo.handle = 0;
  return qdiscGraft(dev, parent, fifo);
}

// ---- what `tc -s qdisc show` prints ---------------------------------------------------------------------------------

export interface QdiscInfo {
  readonly kind: string;
  readonly dev: string;
  /** 0 for the default ones. */
  readonly handle: number;
  readonly parent: number;
  /** The options as tc prints them. */
  readonly options: string;
  readonly stats: QdiscStats;
  readonly qlen: number;
  /** The scheduler's own counters. */
  readonly xstats: Record<string, number>;
}

/** tc_dump_qdisc: every qdisc of a device, the root first. Its counters go on counting. */
export function qdiscDump(dev: NetDevice): QdiscInfo[] {
  const root = dev.qdisc;
  const all = root === null || root.ops.id === "noop" ? [] : [root, ...dev.qdiscs];
  return all.map((q) => ({
    kind: q.ops.id,
    dev: dev.name,
    handle: q.handle,
    parent: q.parent,
    options: q.ops.dump?.(q) ?? "",
    stats: q.stats,
    qlen: q.q.qlen,
    xstats: q.ops.dumpStats?.(q) ?? {},
  }));
}

/** "8001:" or "1:10", as tc prints handles. */
export function formatHandle(h: number): string {
  if (h === TC_H_ROOT) return "root";
  const minor = TC_H_MIN(h);
  return `${(h >>> 16).toString(16)}:${minor === 0 ? "" : minor.toString(16)}`;
}
