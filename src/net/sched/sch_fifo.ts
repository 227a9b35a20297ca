/** pfifo and bfifo (net/sched/sch_fifo.c): first in, first out, with a limit in packets or in bytes. */

import { EINVAL } from "../../uapi/errno.ts";
import type { NetDevice } from "../core/dev.ts";
import {
  type Qdisc,
  type QdiscOps,
  type QdiscOpt,
  qdiscDequeueHead,
  qdiscDrop,
  qdiscEnqueueTail,
  qdiscPeekHead,
  qdiscPktLen,
  TCQ_F_CAN_BYPASS,
} from "../core/sch_generic_h.ts";

export interface FifoOpt {
  /** Packets (pfifo) or bytes (bfifo). */
  limit?: number;
}

/** psched_mtu: the longest frame. */
export function pschedMtu(dev: NetDevice): number {
  return dev.mtu + dev.hardHeaderLen;
}

function pfifoEnqueue(skb: number, sch: Qdisc): number {
  return sch.q.qlen < sch.limit ? qdiscEnqueueTail(skb, sch) : qdiscDrop(skb, sch);
}

function bfifoEnqueue(skb: number, sch: Qdisc): number {
  return sch.stats.backlog + qdiscPktLen(skb) <= sch.limit ? qdiscEnqueueTail(skb, sch) : qdiscDrop(skb, sch);
}

function fifoInit(sch: Qdisc, opt: QdiscOpt | null): number {
  const bytes = sch.ops === bfifoQdiscOps;
  const given = (opt as FifoOpt | null)?.limit;
  const packets = sch.dev.txQueueLen || 1;
  const limit = given ?? (bytes ? packets * pschedMtu(sch.dev) : packets);
  if (!(limit >= 0)) return -EINVAL;
  sch.limit = limit;
  if (bytes ? limit >= pschedMtu(sch.dev) : limit >= 1) sch.flags |= TCQ_F_CAN_BYPASS;
  else sch.flags &= ~TCQ_F_CAN_BYPASS;
  return 0;
}

export const pfifoQdiscOps: QdiscOps = {
  id: "pfifo",
  symbol: "pfifo_qdisc_ops",
  enqueue: pfifoEnqueue,
  dequeue: qdiscDequeueHead,
  peek: qdiscPeekHead,
  init: fifoInit,
  change: fifoInit,
  dump: (sch) => `limit ${sch.limit}p`,
};

export const bfifoQdiscOps: QdiscOps = {
  id: "bfifo",
  symbol: "bfifo_qdisc_ops",
  enqueue: bfifoEnqueue,
  dequeue: qdiscDequeueHead,
  peek: qdiscPeekHead,
  init: fifoInit,
  change: fifoInit,
  dump: (sch) => `limit ${sch.limit}b`,
};
