/**
 * Random early detection (net/sched/sch_red.c; Floyd and Jacobson, 1993): marks or drops with a probability that grows
 * with the average queue, from none at `min` to all at `max`. With min = max and a burst of just that many packets, half
 * of the average is the queue at hand: nearly the threshold that DCTCP asks of its switches (RFC 8257 §3.1).
 */

import { kernel } from "../../kernel/kernel.ts";
import { getRandomU32 } from "../../kernel/random.ts";
import { SKB_DROP_REASON_QDISC_CONGESTED, SKB_DROP_REASON_QDISC_OVERLIMIT } from "../../uapi/dropreason.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { NET_XMIT_CN, NET_XMIT_SUCCESS } from "../core/dev.ts";
import {
  Qdisc,
  type QdiscOps,
  type QdiscOpt,
  qdiscBstatsUpdate,
  qdiscDequeuePeeked,
  qdiscDrop,
  qdiscEnqueue,
  qdiscPktLen,
  qdiscReplace,
  qdiscReset,
} from "../core/sch_generic_h.ts";
import { inetEcnSetCe } from "./inet_ecn_h.ts";
import { bfifoQdiscOps } from "./sch_fifo.ts";
import { qdiscDestroy } from "./sch_generic.ts";

export interface RedOpt {
  /** Bytes that the queue can hold. */
  limit: number;
  /** Bytes of average queue where marking begins, and from where all is marked; a twelfth and a quarter of limit. */
  min?: number;
  max?: number;
  /** Bytes of an average packet: how far an idle line brings the average down. */
  avpkt: number;
  /** Packets of a burst that the average lets pass; (2 min + max) / (3 avpkt). */
  burst?: number;
  /** Of the line, bytes a second; 10 Mbit/s. */
  bandwidth?: number;
  /** Of a mark where the average comes near max; 0.02. */
  probability?: number;
  /** Mark instead of drop what can be marked; with `harddrop` only below max; `nodrop` lets the rest pass. */
  ecn?: boolean;
  harddrop?: boolean;
  nodrop?: boolean;
}

class RedPriv {
  opt: RedOpt = { limit: 0, avpkt: 0 };
  qdisc: Qdisc = null as unknown as Qdisc;
  min = 0;
  max = 0;
  /** How much of the average an enqueue replaces: a power of 1/2. */
  weight = 1;
  /** Microseconds that an average packet takes. */
  usPerPacket = 0;
  probability = 0.02;
  ecn = false;
  harddrop = false;
  nodrop = false;
  qavg = 0;
  /** Packets since the last mark, -1 = the average is out of the range where chance decides. */
  qcount = -1;
  qR = 0;
  /** Microseconds when the queue became empty, 0 = it is not. */
  qidlestart = 0;
  probDrop = 0;
  probMark = 0;
  forcedDrop = 0;
  forcedMark = 0;
  pdrop = 0;
}

/** red_calc_qavg: the average queue, as if small packets had gone out while there was none. */
function redCalcQavg(q: RedPriv): number {
  if (q.qidlestart === 0) return q.qavg + (q.qdisc.stats.backlog - q.qavg) * q.weight;
  return q.qavg * (1 - q.weight) ** ((kernel.now - q.qidlestart) / q.usPerPacket);
}

const RED_DONT_MARK = 0;
const RED_PROB_MARK = 1;
const RED_HARD_MARK = 2;

/** red_random: how much "bytes above min, times packets" until the next mark. */
function redRandom(q: RedPriv): number {
  return ((getRandomU32() / 2 ** 32) * Math.max(1, q.max - q.min)) / q.probability;
}

/** red_action. The count since the last mark spreads them evenly. */
function redAction(q: RedPriv): number {
  if (q.qavg < q.min) {
    q.qcount = -1;
    return RED_DONT_MARK;
  }
  if (q.qavg >= q.max) {
    q.qcount = -1;
    return RED_HARD_MARK;
  }
  if (++q.qcount === 0) {
    q.qR = redRandom(q);
    return RED_DONT_MARK;
  }
  if ((q.qavg - q.min) * q.qcount < q.qR) return RED_DONT_MARK;
  q.qcount = 0;
  q.qR = redRandom(q);
  return RED_PROB_MARK;
}

function redEnqueue(skb: number, sch: Qdisc): number {
  const q = sch.priv as RedPriv;
  q.qavg = redCalcQavg(q);
  q.qidlestart = 0;
  const action = redAction(q);
  if (action !== RED_DONT_MARK) {
    const hard = action === RED_HARD_MARK;
    sch.stats.overlimits++;
    const mayMark = q.ecn && !(hard && q.harddrop);
    if (mayMark && inetEcnSetCe(skb)) {
      if (hard) q.forcedMark++;
      else q.probMark++;
    } else if (!mayMark || !q.nodrop) {
      if (hard) q.forcedDrop++;
      else q.probDrop++;
      qdiscDrop(skb, sch, hard ? SKB_DROP_REASON_QDISC_OVERLIMIT : SKB_DROP_REASON_QDISC_CONGESTED);
      return NET_XMIT_CN;
    }
  }
  const len = qdiscPktLen(skb);
  const ret = qdiscEnqueue(skb, q.qdisc);
  if (ret === NET_XMIT_SUCCESS) {
    sch.stats.backlog += len;
    sch.q.qlen++;
  } else {
    q.pdrop++;
    sch.stats.drops++;
  }
  return ret;
}

function redDequeue(sch: Qdisc): number {
  const q = sch.priv as RedPriv;
  const skb = qdiscDequeuePeeked(q.qdisc);
  if (skb === 0) {
    if (q.qidlestart === 0) q.qidlestart = kernel.now;
    return 0;
  }
  qdiscBstatsUpdate(sch, skb);
  sch.stats.backlog -= qdiscPktLen(skb);
  sch.q.qlen--;
  return skb;
}

function redPeek(sch: Qdisc): number {
  const inner = (sch.priv as RedPriv).qdisc;
  return (inner.ops.peek as (sch: Qdisc) => number)(inner);
}

function redReset(sch: Qdisc): void {
  const q = sch.priv as RedPriv;
  qdiscReset(q.qdisc);
  q.qidlestart = 0;
  q.qavg = 0;
  q.qcount = -1;
}

/**
 * tc_red_eval_ewma: the weight 2^-n of the average that lets a burst of so many packets reach `min` and no more; 0 = there
 * is none.
 */
function redEvalEwma(min: number, burst: number, avpkt: number): number {
  const a = burst + 1 - min / avpkt;
  if (a < 1) return 0;
  for (let wlog = 1; wlog < 32; wlog++) {
    const w = 2 ** -wlog;
    if (a <= (1 - (1 - w) ** burst) / w) return w;
  }
  return 0;
}

function redChange(sch: Qdisc, options: QdiscOpt): number {
  const q = sch.priv as RedPriv;
  const o = options as RedOpt;
  if (!(o.limit > 0) || !(o.avpkt > 0)) return -EINVAL;
  const max = o.max ?? (o.min !== undefined ? o.min * 3 : Math.floor(o.limit / 4));
  const min = o.min ?? Math.floor(max / 3);
  const burst = o.burst ?? Math.floor((2 * min + max) / (3 * o.avpkt));
  const bandwidth = o.bandwidth ?? 1_250_000;
  const probability = o.probability ?? 0.02;
  const weight = redEvalEwma(min, burst, o.avpkt);
  if (!(max >= min) || !(min >= 0) || weight === 0 || !(bandwidth > 0) || !(probability > 0)) return -EINVAL;
  if (o.nodrop === true && o.ecn !== true) return -EINVAL;
  q.opt = o;
  q.min = min;
  q.max = max;
  q.weight = weight;
  q.usPerPacket = (o.avpkt * 1e6) / bandwidth;
  q.probability = probability;
  q.ecn = o.ecn === true;
  q.harddrop = o.harddrop === true;
  q.nodrop = o.nodrop === true;
  q.qavg = 0;
  q.qcount = -1;
  sch.limit = o.limit;
  if (q.qdisc === null || q.qdisc.ops === bfifoQdiscOps) {
    if (q.qdisc === null) q.qdisc = new Qdisc(bfifoQdiscOps, sch.txq);
    q.qdisc.parentQdisc = sch;
    bfifoQdiscOps.init?.(q.qdisc, { limit: o.limit });
  }
  if (q.qdisc.q.qlen === 0) q.qidlestart = kernel.now;
  return 0;
}

function redInit(sch: Qdisc, opt: QdiscOpt | null): number {
  if (opt === null) return -EINVAL;
  sch.priv = new RedPriv();
  return redChange(sch, opt);
}

function redDestroy(sch: Qdisc): void {
  const q = sch.priv as RedPriv | null;
  if (q !== null && q.qdisc !== null) qdiscDestroy(q.qdisc);
}

function redGraft(sch: Qdisc, child: Qdisc): Qdisc | null {
  const q = sch.priv as RedPriv;
  const old = qdiscReplace(sch, q.qdisc);
  q.qdisc = child;
  return old;
}

function redDump(sch: Qdisc): string {
  const q = sch.priv as RedPriv;
  const flags = `${q.ecn ? " ecn" : ""}${q.harddrop ? " harddrop" : ""}${q.nodrop ? " nodrop" : ""}`;
  return `limit ${sch.limit}b min ${q.min}b max ${q.max}b${flags}`;
}

export const redQdiscOps: QdiscOps = {
  id: "red",
  symbol: "red_qdisc_ops",
  enqueue: redEnqueue,
  dequeue: redDequeue,
  peek: redPeek,
  init: redInit,
  change: redChange,
  reset: redReset,
  destroy: redDestroy,
  graft: redGraft,
  leaf: (sch) => (sch.priv as RedPriv).qdisc,
  dump: redDump,
  dumpStats(sch: Qdisc): Record<string, number> {
    const q = sch.priv as RedPriv;
    return {
      marked: q.probMark + q.forcedMark,
      early: q.probDrop + q.forcedDrop,
      pdrop: q.pdrop,
      other: 0,
    };
  },
};
