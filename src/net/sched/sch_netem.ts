/**
 * Network emulator (net/sched/sch_netem.c): delay, loss, duplication, corruption, reordering and rate of a path, at the
 * way out of a device. Random numbers come from the machine's source: a seed gives the same faults.
 */

import { CHECKSUM_PARTIAL, QDISC_TIME_TO_SEND, SKB_DATA, SKB_IP_SUMMED } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { getRandomU32, getRandomU32Below } from "../../kernel/random.ts";
import { f64, u8, u32 } from "../../mm/mem.ts";
import { skbHeadlen, skbIsGso, skbLen, skbNext, skbSetNext } from "../../mm/skb.ts";
import { SKB_DROP_REASON_QDISC_DROP } from "../../uapi/dropreason.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { NET_XMIT_DROP, NET_XMIT_SUCCESS, NETIF_F_GSO_MASK, netifSkbFeatures } from "../core/dev.ts";
import { skbGsoSegment } from "../core/gso.ts";
import {
  type Qdisc,
  type QdiscOps,
  type QdiscOpt,
  qdiscBstatsUpdate,
  qdiscDequeuePeeked,
  qdiscDrop,
  qdiscEnqueue,
  qdiscPeekDequeued,
  qdiscPktLen,
  qdiscPktLenSet,
  qdiscReplace,
  qdiscReset,
  qdiscSkbAtHead,
  qdiscSkbDequeue,
} from "../core/sch_generic_h.ts";
import { consumeSkb, kfreeSkbReason, skbChecksumHelp, skbCopy, skbOrphan, skbUnshare } from "../core/skbuff.ts";
import { inetEcnSetCe } from "./inet_ecn_h.ts";
import { QdiscWatchdog, qdiscRoot, qdiscWatchdogCancel, qdiscWatchdogSchedule } from "./sch_api.ts";
import { qdiscDestroy } from "./sch_generic.ts";
import { TimeHeap } from "./time_heap.ts";

/** Probabilities and correlations are 0 to 1, times in microseconds. */
export interface NetemOpt {
  /** Packets that may wait; 1000 by default. */
  limit?: number;
  delay?: number;
  /** The delay varies by up to this either way (uniform), or has this standard deviation (distribution). */
  jitter?: number;
  delayCorr?: number;
  distribution?: "uniform" | "normal" | "pareto" | "paretonormal";
  /** Independent losses. */
  loss?: number;
  lossCorr?: number;
  /** Gilbert-Elliott: p good to bad, r bad to good (1 - p), loss in bad (1) and in good (0). */
  gemodel?: { p: number; r?: number; lossBad?: number; lossGood?: number };
  /** Four states: p13 gap to burst loss, p31 (1 - p13), p32 (0), p23 (1), p14 isolated loss (0). */
  state?: { p13: number; p31?: number; p32?: number; p23?: number; p14?: number };
  /** Mark packets that can be marked instead of losing them. */
  ecn?: boolean;
  duplicate?: number;
  duplicateCorr?: number;
  corrupt?: number;
  corruptCorr?: number;
  /** Probability that a packet is sent at once, before those that wait. Needs a delay. */
  reorder?: number;
  reorderCorr?: number;
  /** Only every gap-th packet may be reordered (reorder is 1 then if it is not given). */
  gap?: number;
  /** Bytes a second. */
  rate?: number;
  /** Bytes added to every packet's size, for the rate. */
  packetOverhead?: number;
  /** Size of link cells, and what each carries beyond its payload: ATM 48 and 5. */
  cellSize?: number;
  cellOverhead?: number;
}

const U32 = 4294967296;

/** struct crndstate: a correlated random number. */
class CrndState {
  last = 0;
  rho = 0;
}

// States of the loss models.
const GOOD_STATE = 1;
const BAD_STATE = 2;
const TX_IN_GAP_PERIOD = 1;
const TX_IN_BURST_PERIOD = 2;
const LOST_IN_GAP_PERIOD = 3;
const LOST_IN_BURST_PERIOD = 4;

class NetemPriv {
  opt: NetemOpt = {};
  latency = 0;
  jitter = 0;
  dist: Int16Array | null = null;
  loss = 0;
  ecn = false;
  duplicate = 0;
  corrupt = 0;
  reorder = 0;
  gap = 0;
  counter = 0;
  usPerByte = 0;
  packetOverhead = 0;
  cellSize = 0;
  cellOverhead = 0;
  readonly delayCor: CrndState = new CrndState();
  readonly lossCor: CrndState = new CrndState();
  readonly dupCor: CrndState = new CrndState();
  readonly reorderCor: CrndState = new CrndState();
  readonly corruptCor: CrndState = new CrndState();
  /** 0 random, 1 four states, 2 Gilbert-Elliott. */
  lossModel = 0;
  lossState = 1;
  a1 = 0;
  a2 = 0;
  a3 = 0;
  a4 = 0;
  a5 = 0;
  /** The delay line. */
  readonly tfifo: TimeHeap = new TimeHeap();
  /** The latest time_to_send of those that wait. */
  lastTime = 0;
  /** What packets go through when their time has come; null = out. */
  qdisc: Qdisc | null = null;
  readonly watchdog: QdiscWatchdog;
  lost = 0;
  duplicated = 0;
  corrupted = 0;
  reordered = 0;

  constructor(sch: Qdisc) {
    this.watchdog = new QdiscWatchdog(sch);
  }
}

/** get_crandom: depends on the one before to the degree of rho. */
function getCrandom(state: CrndState): number {
  const value = getRandomU32();
  if (state.rho === 0) return value;
  const answer = Math.floor(value * (1 - state.rho) + state.last * state.rho);
  state.last = answer;
  return answer;
}

function loss4state(q: NetemPriv): boolean {
  const rnd = getRandomU32();
  switch (q.lossState) {
    case TX_IN_GAP_PERIOD:
      if (rnd < q.a4) {
        q.lossState = LOST_IN_GAP_PERIOD;
        return true;
      }
      if (rnd < q.a1 + q.a4) {
        q.lossState = LOST_IN_BURST_PERIOD;
        return true;
      }
      return false;
    case TX_IN_BURST_PERIOD:
      if (rnd < q.a5) {
        q.lossState = LOST_IN_BURST_PERIOD;
        return true;
      }
      return false;
    case LOST_IN_BURST_PERIOD:
      if (rnd < q.a3) {
        q.lossState = TX_IN_BURST_PERIOD;
        return false;
      }
      if (rnd < q.a2 + q.a3) {
        q.lossState = TX_IN_GAP_PERIOD;
        return false;
      }
      return true;
    default:
      q.lossState = TX_IN_GAP_PERIOD;
      return false;
  }
}

function lossGilbEll(q: NetemPriv): boolean {
  if (q.lossState === GOOD_STATE) {
    if (getRandomU32() < q.a1) q.lossState = BAD_STATE;
    return getRandomU32() < q.a4;
  }
  if (getRandomU32() < q.a2) q.lossState = GOOD_STATE;
  return getRandomU32() < q.a3;
}

/** loss_event. */
function lossEvent(q: NetemPriv): boolean {
  if (q.lossModel === 1) return loss4state(q);
  if (q.lossModel === 2) return lossGilbEll(q);
  return q.loss > 0 && getCrandom(q.lossCor) < q.loss;
}

/** tabledist: mu, give or take sigma. */
function tabledist(q: NetemPriv): number {
  const mu = q.latency;
  const sigma = q.jitter;
  if (sigma === 0) return mu;
  const rnd = getCrandom(q.delayCor);
  if (q.dist === null) return mu - sigma + 2 * sigma * (rnd / U32);
  return mu + (sigma * (q.dist[rnd & (q.dist.length - 1)] as number)) / NETEM_DIST_SCALE;
}

/** packet_time_ns. */
function packetTime(len: number, q: NetemPriv): number {
  let size = len + q.packetOverhead;
  if (q.cellSize > 0) {
    let cells = Math.floor(size / q.cellSize);
    if (size > cells * q.cellSize) cells++;
    size = cells * (q.cellSize + q.cellOverhead);
  }
  return size * q.usPerByte;
}

/** netem_segment: corruption hits one frame, not a super-packet. 0 if it was dropped; the segments linked by next. */
function netemSegment(skb: number, sch: Qdisc): number {
  const segs = skbGsoSegment(skb, netifSkbFeatures(skb) & ~NETIF_F_GSO_MASK);
  if (segs === 0) {
    qdiscDrop(skb, sch);
    return 0;
  }
  consumeSkb(skb);
  return segs;
}

/** Turns one bit of what is linear. 0 if there was no memory. */
function netemCorrupt(first: number, sch: Qdisc): number {
  const q = sch.priv as NetemPriv;
  const skb = skbUnshare(first);
  if (skb === 0) {
    sch.stats.drops++;
    return 0;
  }
  if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_PARTIAL && skbChecksumHelp(skb) !== 0) {
    qdiscDrop(skb, sch);
    return 0;
  }
  const at = (u32[(skb + SKB_DATA) >>> 2] as number) + getRandomU32Below(skbHeadlen(skb));
  u8[at] ^= 1 << getRandomU32Below(8);
  q.corrupted++;
  return skb;
}

/**
 * netem_enqueue. A lost packet is no reason for TCP to believe in local congestion: it answers success.
 */
function netemEnqueue(first: number, sch: Qdisc): number {
  const q = sch.priv as NetemPriv;
  let skb = first;
  let count = 1;
  if (q.duplicate > 0 && getCrandom(q.dupCor) < q.duplicate) count++;
  if (lossEvent(q)) {
    if (q.ecn && inetEcnSetCe(skb)) sch.stats.drops++;
    else count--;
  }
  if (count === 0) {
    q.lost++;
    qdiscDrop(skb, sch);
    return NET_XMIT_SUCCESS;
  }
  // The delay is the path's: for the sender the packet has left (TCP small queues).
  if (q.latency > 0 || q.jitter > 0 || q.usPerByte > 0) skbOrphan(skb);
  // A copy, since the receivers write into what they get.
  const skb2 = count > 1 ? skbCopy(skb) : 0;
  let segs = 0;
  if (q.corrupt > 0 && getCrandom(q.corruptCor) < q.corrupt) {
    if (skbIsGso(skb)) {
      skb = netemSegment(skb, sch);
      if (skb === 0) return netemDropBoth(skb2, sch);
      segs = skbNext(skb);
      skbSetNext(skb, 0);
      qdiscPktLenSet(skb, skbLen(skb));
    }
    skb = netemCorrupt(skb, sch);
    if (skb === 0 && segs === 0) return netemDropBoth(skb2, sch);
  }
  let ret: number = NET_XMIT_SUCCESS;
  if (skb !== 0) {
    if (sch.q.qlen >= sch.limit) {
      qdiscDrop(skb, sch);
      ret = NET_XMIT_DROP;
    } else {
      netemQueue(skb, sch, q);
    }
  }
  while (segs !== 0) {
    const next = skbNext(segs);
    skbSetNext(segs, 0);
    qdiscPktLenSet(segs, skbLen(segs));
    if (sch.q.qlen >= sch.limit) {
      qdiscDrop(segs, sch);
    } else {
      netemQueue(segs, sch, q);
      ret = NET_XMIT_SUCCESS;
    }
    segs = next;
  }
  if (skb2 !== 0) {
    // Through the whole tree, for the parents count one packet for each call; but it is not duplicated again.
    if (ret !== NET_XMIT_SUCCESS) {
      kfreeSkbReason(skb2, SKB_DROP_REASON_QDISC_DROP);
      return ret;
    }
    const root = qdiscRoot(sch);
    const saved = q.duplicate;
    q.duplicate = 0;
    q.duplicated++;
    qdiscEnqueue(skb2, root);
    q.duplicate = saved;
  }
  return ret;
}

function netemDropBoth(skb2: number, sch: Qdisc): number {
  if (skb2 !== 0) qdiscDrop(skb2, sch);
  return NET_XMIT_DROP;
}

/** Into the delay line, or to its head when it is this one's turn to overtake. */
function netemQueue(skb: number, sch: Qdisc, q: NetemPriv): void {
  sch.stats.backlog += qdiscPktLen(skb);
  if (q.gap === 0 || q.counter < q.gap - 1 || getCrandom(q.reorderCor) >= q.reorder) {
    let delay = tabledist(q);
    let { now } = kernel;
    if (delay < 0) delay = 0;
    if (q.usPerByte > 0) {
      if (q.tfifo.size > 0 && q.lastTime > now) {
        // The line is busy until the last packet has left. That time counts as delay.
        delay = Math.max(0, delay - (q.lastTime - now));
        now = q.lastTime;
      }
      delay += packetTime(qdiscPktLen(skb), q);
    }
    const time = now + delay;
    if (q.tfifo.size === 0 || time > q.lastTime) q.lastTime = time;
    f64[(skb + QDISC_TIME_TO_SEND) >>> 3] = time;
    q.counter++;
    q.tfifo.push(skb, time);
    sch.q.qlen++;
  } else {
    f64[(skb + QDISC_TIME_TO_SEND) >>> 3] = kernel.now;
    q.counter = 0;
    q.reordered++;
    qdiscSkbAtHead(sch.q, skb);
    sch.stats.requeues++;
  }
}

function netemDeliver(skb: number, sch: Qdisc): number {
  sch.stats.backlog -= qdiscPktLen(skb);
  qdiscBstatsUpdate(sch, skb);
  return skb;
}

function netemDequeue(sch: Qdisc): number {
  const q = sch.priv as NetemPriv;
  for (;;) {
    if (sch.q.head !== 0) return netemDeliver(qdiscSkbDequeue(sch.q), sch);
    const time = q.tfifo.topKey();
    if (time <= kernel.now) {
      const skb = q.tfifo.pop();
      if (q.qdisc === null) {
        sch.q.qlen--;
        return netemDeliver(skb, sch);
      }
      const len = qdiscPktLen(skb);
      if (qdiscEnqueue(skb, q.qdisc) !== NET_XMIT_SUCCESS) {
        sch.stats.drops++;
        sch.stats.backlog -= len;
        sch.q.qlen--;
      }
      continue;
    }
    if (q.qdisc !== null) {
      const skb = qdiscDequeuePeeked(q.qdisc);
      if (skb !== 0) {
        sch.q.qlen--;
        return netemDeliver(skb, sch);
      }
    }
    if (time !== Infinity) qdiscWatchdogSchedule(q.watchdog, time);
    return 0;
  }
}

function netemReset(sch: Qdisc): void {
  const q = sch.priv as NetemPriv;
  for (;;) {
    const skb = q.tfifo.pop();
    if (skb === 0) break;
    kfreeSkbReason(skb, SKB_DROP_REASON_QDISC_DROP);
  }
  if (q.qdisc !== null) qdiscReset(q.qdisc);
  q.lastTime = 0;
  qdiscWatchdogCancel(q.watchdog);
}

function valid(p: number | undefined): boolean {
  return p === undefined || (p >= 0 && p <= 1);
}

/** netem_change: what is not given is off. */
function netemChange(sch: Qdisc, options: QdiscOpt): number {
  const q = sch.priv as NetemPriv;
  const o = options as NetemOpt;
  const g = o.gemodel;
  const s = o.state;
  const all = [o.loss, o.lossCorr, o.delayCorr, o.duplicate, o.duplicateCorr, o.corrupt, o.corruptCorr, o.reorder];
  all.push(o.reorderCorr, g?.p, g?.r, g?.lossBad, g?.lossGood, s?.p13, s?.p31, s?.p32, s?.p23, s?.p14);
  if (!all.every(valid)) return -EINVAL;
  const positive = [o.limit, o.delay, o.jitter, o.gap, o.rate, o.cellSize];
  if (positive.some((v) => v !== undefined && !(v >= 0))) return -EINVAL;
  // tc refuses both of these.
  if ((o.reorder ?? 0) > 0 && (o.delay ?? 0) === 0) return -EINVAL;
  if ((o.distribution !== undefined && o.distribution !== "uniform" && (o.jitter ?? 0) === 0) || (g && s))
    return -EINVAL;
  q.opt = { ...o };
  sch.limit = o.limit ?? 1000;
  q.latency = o.delay ?? 0;
  q.jitter = o.jitter ?? 0;
  q.dist = distTable(o.distribution);
  q.loss = (o.loss ?? 0) * U32;
  q.ecn = o.ecn === true;
  q.duplicate = (o.duplicate ?? 0) * U32;
  q.corrupt = (o.corrupt ?? 0) * U32;
  q.gap = o.gap ?? (o.reorder !== undefined && o.reorder > 0 ? 1 : 0);
  q.reorder = (o.reorder ?? (q.gap > 0 ? 1 : 0)) * U32;
  q.counter = 0;
  q.usPerByte = o.rate !== undefined && o.rate > 0 ? 1e6 / o.rate : 0;
  q.packetOverhead = o.packetOverhead ?? 0;
  q.cellSize = o.cellSize ?? 0;
  q.cellOverhead = o.cellOverhead ?? 0;
  q.delayCor.rho = o.delayCorr ?? 0;
  q.lossCor.rho = o.lossCorr ?? 0;
  q.dupCor.rho = o.duplicateCorr ?? 0;
  q.reorderCor.rho = o.reorderCorr ?? 0;
  q.corruptCor.rho = o.corruptCorr ?? 0;
  for (const cor of [q.delayCor, q.lossCor, q.dupCor, q.reorderCor, q.corruptCor]) cor.last = getRandomU32();
  q.lossModel = s !== undefined ? 1 : g !== undefined ? 2 : 0;
  q.lossState = 1;
  if (s !== undefined) {
    q.a1 = s.p13 * U32;
    q.a2 = (s.p31 ?? 1 - s.p13) * U32;
    q.a3 = (s.p32 ?? 0) * U32;
    q.a4 = (s.p14 ?? 0) * U32;
    q.a5 = (s.p23 ?? 1) * U32;
  } else if (g !== undefined) {
    q.a1 = g.p * U32;
    q.a2 = (g.r ?? 1 - g.p) * U32;
    q.a3 = (g.lossBad ?? 1) * U32;
    q.a4 = (g.lossGood ?? 0) * U32;
  }
  return 0;
}

function netemInit(sch: Qdisc, opt: QdiscOpt | null): number {
  sch.priv = new NetemPriv(sch);
  return netemChange(sch, opt ?? {});
}

function netemDestroy(sch: Qdisc): void {
  const q = sch.priv as NetemPriv | null;
  if (q === null) return;
  qdiscWatchdogCancel(q.watchdog);
  if (q.qdisc !== null) qdiscDestroy(q.qdisc);
}

function netemGraft(sch: Qdisc, child: Qdisc): Qdisc | null {
  const q = sch.priv as NetemPriv;
  const old = q.qdisc;
  if (old !== null) qdiscReplace(sch, old);
  q.qdisc = child;
  return old;
}

const percent = (p: number): string => `${Number((p * 100).toPrecision(6))}%`;
const time = (us: number): string => (us >= 1e6 ? `${us / 1e6}s` : us >= 1e3 ? `${us / 1e3}ms` : `${us}us`);

function netemDump(sch: Qdisc): string {
  const { opt: o } = sch.priv as NetemPriv;
  const parts = [`limit ${sch.limit}`];
  const random = (name: string, p: number | undefined, corr: number | undefined): void => {
    if (p) parts.push(`${name} ${percent(p)}${corr ? ` ${percent(corr)}` : ""}`);
  };
  if (o.delay) {
    const jitter = o.jitter ? `  ${time(o.jitter)}${o.delayCorr ? ` ${percent(o.delayCorr)}` : ""}` : "";
    parts.push(`delay ${time(o.delay)}${jitter}`);
  }
  random("loss", o.loss, o.lossCorr);
  if (o.gemodel !== undefined) {
    const { p, r, lossBad, lossGood } = o.gemodel;
    const all = [p, r ?? 1 - p, lossBad ?? 1, lossGood ?? 0].map(percent);
    parts.push(`loss gemodel p ${all[0]} r ${all[1]} 1-h ${all[2]} 1-k ${all[3]}`);
  }
  if (o.state !== undefined) {
    const { p13, p31, p32, p23, p14 } = o.state;
    const all = [p13, p31 ?? 1 - p13, p32 ?? 0, p23 ?? 1, p14 ?? 0].map(percent);
    parts.push(`loss state p13 ${all[0]} p31 ${all[1]} p32 ${all[2]} p23 ${all[3]} p14 ${all[4]}`);
  }
  if (o.ecn) parts.push("ecn");
  random("duplicate", o.duplicate, o.duplicateCorr);
  random("reorder", o.reorder, o.reorderCorr);
  random("corrupt", o.corrupt, o.corruptCorr);
  if (o.rate) parts.push(`rate ${o.rate * 8}bit`);
  if (o.gap) parts.push(`gap ${o.gap}`);
  return parts.join(" ");
}

export const netemQdiscOps: QdiscOps = {
  id: "netem",
  symbol: "netem_qdisc_ops",
  enqueue: netemEnqueue,
  dequeue: netemDequeue,
  peek: qdiscPeekDequeued,
  init: netemInit,
  change: netemChange,
  reset: netemReset,
  destroy: netemDestroy,
  graft: netemGraft,
  leaf: (sch) => (sch.priv as NetemPriv).qdisc,
  dump: netemDump,
  dumpStats(sch): Record<string, number> {
    const { lost, duplicated, corrupted, reordered } = sch.priv as NetemPriv;
    return { lost, duplicated, corrupted, reordered };
  },
};

// ---- distributions --------------------------------------------------------------------------------------------------

const NETEM_DIST_SCALE = 8192;
const DIST_SIZE = 4096;
const tables = new Map<string, Int16Array>();

/** A table of quantiles, as tc loads it from /usr/lib/tc/NAME.dist; null for the uniform distribution. */
function distTable(name: NetemOpt["distribution"]): Int16Array | null {
  if (name === undefined || name === "uniform") return null;
  let table = tables.get(name);
  if (table === undefined) {
    table = new Int16Array(DIST_SIZE);
    for (let i = 0; i < DIST_SIZE; i++) {
      const u = (i + 0.5) / DIST_SIZE;
      const x =
        name === "normal"
          ? normalQuantile(u)
          : name === "pareto"
            ? paretoQuantile(u)
            : 0.25 * normalQuantile(u) + 0.75 * paretoQuantile(u);
      table[i] = Math.max(-32768, Math.min(32767, Math.round(x * NETEM_DIST_SCALE)));
    }
    tables.set(name, table);
  }
  return table;
}

/** Pareto with a = 3, moved to mean 0 and scaled to deviation 1, as iproute2 makes it. */
function paretoQuantile(u: number): number {
  return ((1 - u) ** (-1 / 3) - 1.5) * (4 / 3);
}

/** The normal distribution's quantile (Abramowitz and Stegun 26.2.23, error below 4.5e-4: half a step of the table). */
function normalQuantile(u: number): number {
  const p = u < 0.5 ? u : 1 - u;
  const t = Math.sqrt(-2 * Math.log(p));
  const numerator = 2.515517 + t * (0.802853 + t * 0.010328);
  const x = t - numerator / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
  return u < 0.5 ? -x : x;
}
