/**
 * The receiving half of net/core/dev.c: the machine's softnet_data, netif_rx and its backlog, NAPI, and the way of a frame
 * past taps and rx handlers to the protocols.
 */

import {
  SKB_DATA,
  SKB_DEV,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_MAC_LEN,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_PROTOCOL,
  SKB_SKB_IIF,
  SKB_TRANSPORT_HEADER,
  SKB_TSTAMP,
} from "../../../assembly/layout.ts";
import { type Kernel, kernel, NET_RX_SOFTIRQ, NET_TX_SOFTIRQ } from "../../kernel/kernel.ts";
import { f64, machine, u16, u32 } from "../../mm/mem.ts";
import {
  SKB_DROP_REASON_CPU_BACKLOG,
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_UNHANDLED_PROTO,
} from "../../uapi/dropreason.ts";
import { ETH_P_ALL } from "../../uapi/if_ether.ts";
import {
  __LINK_STATE_START,
  NET_RX_DROP,
  NET_RX_SUCCESS,
  type NetDevice,
  netTxAction,
  type PacketTap,
  type PacketType,
} from "./dev.ts";
import { napiGroPoll, napiGroPurge } from "./gro.ts";
import { type Qdisc, QdiscSkbHead, qdiscSkbDequeue, qdiscSkbTail } from "./sch_generic_h.ts";
import { kfreeSkbReason, skbClone, skbOrphanFragsRx } from "./skbuff.ts";

// ---- softnet_data: the machine's queues -----------------------------------------------------------------------------

/** Packets of one net_rx_action, and of one poll. */
const NETDEV_BUDGET = 300;
const NAPI_POLL_WEIGHT = 64;
const NAPI_STATE_SCHED = 1;
const NAPI_STATE_MISSED = 2;
const NAPI_STATE_DISABLE = 4;

/** struct napi_struct. */
export class NapiStruct {
  readonly dev: NetDevice | null;
  /** Receives up to `budget` packets and returns how many; fewer than budget only after napiComplete. */
  readonly poll: (napi: NapiStruct, budget: number) => number;
  readonly weight: number;
  state = 0;
  next: NapiStruct | null = null;
  /** Frames of this poll for GRO, chained, and those that it holds since the last one (gro.ts). */
  rxList = 0;
  rxTail = 0;
  groHeld = 0;

  constructor(
    dev: NetDevice | null,
    poll: (napi: NapiStruct, budget: number) => number,
    weight: number = NAPI_POLL_WEIGHT,
  ) {
    this.dev = dev;
    this.poll = poll;
    this.weight = weight;
  }
}

/** struct softnet_data: one a machine. The counters are those of /proc/net/softnet_stat. */
export class SoftnetData {
  readonly inputPktQueue: QdiscSkbHead = new QdiscSkbHead();
  readonly backlog: NapiStruct = new NapiStruct(null, processBacklog);
  pollHead: NapiStruct | null = null;
  pollTail: NapiStruct | null = null;
  outputQueue: Qdisc | null = null;
  outputQueueTail: Qdisc | null = null;
  xmitRecursion = 0;
  processed = 0;
  dropped = 0;
  timeSqueeze = 0;
}

const softnets = new WeakMap<Kernel, SoftnetData>();
// The current machine's, so that a packet costs no lookup.
let softnetOwner: Kernel | null = null;
let softnetCurrent: SoftnetData = null as unknown as SoftnetData;

/** The current machine's softnet_data; made, with its softirqs, when it is first needed (net_dev_init). */
export function softnetData(): SoftnetData {
  if (softnetOwner === kernel) return softnetCurrent;
  return softnetSwitch();
}

/* notrace */
function softnetSwitch(): SoftnetData {
  let sd = softnets.get(kernel);
  if (sd === undefined) {
    sd = new SoftnetData();
    softnets.set(kernel, sd);
    kernel.openSoftirq(NET_TX_SOFTIRQ, netTxAction);
    kernel.openSoftirq(NET_RX_SOFTIRQ, netRxAction);
  }
  softnetOwner = kernel;
  softnetCurrent = sd;
  return sd;
}

// ---- receive --------------------------------------------------------------------------------------------------------

let timestampNeeded = 0;

/** net_enable_timestamp: from now on received packets are stamped. Counted. */
export function netEnableTimestamp(): void {
  timestampNeeded++;
}
export function netDisableTimestamp(): void {
  timestampNeeded--;
}

/** net_timestamp_set: the time of receipt, in microseconds since 1970, unless nobody wants it. */
export function netTimestampSet(skb: number): void {
  f64[(skb + SKB_TSTAMP) >>> 3] = timestampNeeded > 0 ? kernel.clock.realtime() : 0;
}

function netTimestampCheck(skb: number): void {
  if (timestampNeeded > 0 && f64[(skb + SKB_TSTAMP) >>> 3] === 0) netTimestampSet(skb);
}

/** ptype_base: by the low bits of the EtherType. */
const PTYPE_HASH_MASK = 15;
const ptypeBase: PacketType[][] = Array.from({ length: PTYPE_HASH_MASK + 1 }, () => []);

function ptypeHead(pt: PacketType): PacketType[] {
  if (pt.type === ETH_P_ALL) {
    if (pt.dev) return pt.dev.ptypeAll;
    if (pt.net) return pt.net.ptypeAll;
    throw new TypeError("a packet type for ETH_P_ALL needs a device or a host");
  }
  return pt.dev ? pt.dev.ptypeSpecific : (ptypeBase[pt.type & PTYPE_HASH_MASK] as PacketType[]);
}

/** dev_add_pack: registers a protocol. Adding one twice is a no-op. Protocols without a device are the program's. */
export function devAddPack(pt: PacketType): void {
  const list = ptypeHead(pt);
  if (!list.includes(pt)) list.push(pt);
}

/** dev_remove_pack. */
export function devRemovePack(pt: PacketType): void {
  const list = ptypeHead(pt);
  const i = list.indexOf(pt);
  if (i >= 0) list.splice(i, 1);
}

export const RX_HANDLER_CONSUMED = 0;
export const RX_HANDLER_ANOTHER = 1;
export const RX_HANDLER_EXACT = 2;
export const RX_HANDLER_PASS = 3;

/** The taps of a received frame. They are shown it from its link header on. */
function deliverTaps(skb: number, dev: NetDevice, origDev: NetDevice): void {
  const taps = dev.taps;
  if (taps.length !== 0) {
    const data = u32[(skb + SKB_DATA) >>> 2];
    const mac = u32[(skb + SKB_MAC_HEADER) >>> 2];
    u32[(skb + SKB_DATA) >>> 2] = mac;
    u32[(skb + SKB_LEN) >>> 2] += data - mac;
    for (let i = 0; i < taps.length; i++) (taps[i] as PacketTap).tap(skb, dev, false);
    u32[(skb + SKB_DATA) >>> 2] = data;
    u32[(skb + SKB_LEN) >>> 2] -= data - mac;
  }
  for (let i = 0; i < dev.net.ptypeAll.length; i++) deliverSkb(skb, dev.net.ptypeAll[i] as PacketType, dev, origDev);
  for (let i = 0; i < dev.ptypeAll.length; i++) deliverSkb(skb, dev.ptypeAll[i] as PacketType, dev, origDev);
}

/** deliver_skb: a copy for one of several receivers. */
function deliverSkb(skb: number, pt: PacketType, dev: NetDevice, origDev: NetDevice): void {
  if (skbOrphanFragsRx(skb) !== 0) return;
  const skb2 = skbClone(skb);
  if (skb2 !== 0) pt.func(skb2, dev, pt, origDev);
}

/** __netif_receive_skb_core: taps, rx handler, then whoever has registered for the protocol. */
function __netifReceiveSkbCore(skb: number): number {
  const devs = machine.devs.items;
  const origDev = devs[u32[(skb + SKB_DEV) >>> 2]] as NetDevice;
  let dev = origDev;
  const data = u32[(skb + SKB_DATA) >>> 2];
  u32[(skb + SKB_NETWORK_HEADER) >>> 2] = data;
  if (u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] === 0) u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = data;
  u16[(skb + SKB_MAC_LEN) >>> 1] = data - u32[(skb + SKB_MAC_HEADER) >>> 2];
  let exact = false;
  for (;;) {
    u32[(skb + SKB_SKB_IIF) >>> 2] = dev.ifindex;
    if (dev.taps.length !== 0 || dev.ptypeAll.length !== 0 || dev.net.ptypeAll.length !== 0) {
      deliverTaps(skb, dev, origDev);
    }
    if (dev.rxHandler === null) break;
    const rx = dev.rxHandler(skb);
    if (rx === RX_HANDLER_CONSUMED) return NET_RX_SUCCESS;
    exact = rx === RX_HANDLER_EXACT;
    if (rx !== RX_HANDLER_ANOTHER) break;
    dev = devs[u32[(skb + SKB_DEV) >>> 2]] as NetDevice;
  }

  // Every receiver but the last gets a clone.
  const type = u16[(skb + SKB_PROTOCOL) >>> 1];
  let prev: PacketType | null = null;
  if (!exact) {
    const list = ptypeBase[type & PTYPE_HASH_MASK] as PacketType[];
    for (let i = 0; i < list.length; i++) {
      const pt = list[i] as PacketType;
      if (pt.type !== type || (pt.net !== undefined && pt.net !== null && pt.net !== dev.net)) continue;
      if (prev !== null) deliverSkb(skb, prev, dev, origDev);
      prev = pt;
    }
  }
  if (origDev.ptypeSpecific.length !== 0) prev = deliverSpecific(origDev.ptypeSpecific, type, prev, skb, dev, origDev);
  if (dev !== origDev && dev.ptypeSpecific.length !== 0) {
    prev = deliverSpecific(dev.ptypeSpecific, type, prev, skb, dev, origDev);
  }
  if (prev !== null) return prev.func(skb, dev, prev, origDev);
  if (exact) dev.stats.rxNohandler++;
  else dev.stats.rxDropped++;
  kfreeSkbReason(skb, SKB_DROP_REASON_UNHANDLED_PROTO);
  return NET_RX_DROP;
}

function deliverSpecific(
  list: readonly PacketType[],
  type: number,
  last: PacketType | null,
  skb: number,
  dev: NetDevice,
  origDev: NetDevice,
): PacketType | null {
  let prev = last;
  for (let i = 0; i < list.length; i++) {
    const pt = list[i] as PacketType;
    if (pt.type !== type) continue;
    if (prev !== null) deliverSkb(skb, prev, dev, origDev);
    prev = pt;
  }
  return prev;
}

/** __netif_receive_skb. */
function __netifReceiveSkb(skb: number): number {
  softnetData().processed++;
  return __netifReceiveSkbCore(skb);
}

/**
 * netif_receive_skb: a received frame goes up the stack now (NAPI drivers, in softirq context). eth_type_trans has been
 * through it. Takes it over.
 */
export function netifReceiveSkb(skb: number): number {
  netTimestampCheck(skb);
  return __netifReceiveSkb(skb);
}

/** netif_receive_skb_list: frames linked by skb->next. */
export function netifReceiveSkbList(head: number): void {
  let skb = head;
  while (skb !== 0) {
    const next = u32[(skb + SKB_NEXT) >>> 2];
    u32[(skb + SKB_NEXT) >>> 2] = 0;
    netifReceiveSkb(skb);
    skb = next;
  }
}

/** netif_rx: queues a received frame for the NET_RX softirq. Takes it over. NET_RX_SUCCESS or NET_RX_DROP. */
export function netifRx(skb: number): number {
  netTimestampCheck(skb);
  return enqueueToBacklog(skb);
}

function enqueueToBacklog(skb: number): number {
  const dev = machine.devs.items[u32[(skb + SKB_DEV) >>> 2]] as NetDevice;
  const sd = softnetData();
  const net = dev.net;
  if ((dev.state & __LINK_STATE_START) === 0) return backlogDrop(skb, dev, sd, SKB_DROP_REASON_DEV_READY);
  // One machine plays many hosts: each has a backlog of its own length.
  if (net.backlogQlen > (net.core === undefined ? 1000 : net.core.sysctlNetdevMaxBacklog)) {
    return backlogDrop(skb, dev, sd, SKB_DROP_REASON_CPU_BACKLOG);
  }
  net.backlogQlen++;
  qdiscSkbTail(sd.inputPktQueue, skb);
  const backlog = sd.backlog;
  if ((backlog.state & NAPI_STATE_SCHED) === 0) {
    backlog.state |= NAPI_STATE_SCHED;
    ____napiSchedule(sd, backlog);
  }
  return NET_RX_SUCCESS;
}

function backlogDrop(skb: number, dev: NetDevice, sd: SoftnetData, reason: number): number {
  sd.dropped++;
  dev.stats.rxDropped++;
  kfreeSkbReason(skb, reason);
  return NET_RX_DROP;
}

/** process_backlog: the NAPI poll of frames that came through netif_rx. */
function processBacklog(napi: NapiStruct, quota: number): number {
  const queue = softnetData().inputPktQueue;
  let work = 0;
  for (;;) {
    const skb = qdiscSkbDequeue(queue);
    if (skb === 0) {
      napi.state &= ~NAPI_STATE_SCHED;
      return work;
    }
    (machine.devs.items[u32[(skb + SKB_DEV) >>> 2]] as NetDevice).net.backlogQlen--;
    __netifReceiveSkb(skb);
    if (++work >= quota) return work;
  }
}

/** flush_backlog: drops what is still queued for a device that goes away. */
export function flushBacklog(dev: NetDevice): void {
  const queue = softnetData().inputPktQueue;
  const keep = new QdiscSkbHead();
  for (;;) {
    const skb = qdiscSkbDequeue(queue);
    if (skb === 0) break;
    if (u32[(skb + SKB_DEV) >>> 2] !== dev.slot) {
      qdiscSkbTail(keep, skb);
      continue;
    }
    dev.net.backlogQlen--;
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_READY);
  }
  queue.head = keep.head;
  queue.tail = keep.tail;
  queue.qlen = keep.qlen;
}

// ---- NAPI -----------------------------------------------------------------------------------------------------------

function ____napiSchedule(sd: SoftnetData, napi: NapiStruct): void {
  napi.next = null;
  if (sd.pollTail === null) sd.pollHead = napi;
  else sd.pollTail.next = napi;
  sd.pollTail = napi;
  kernel.raiseSoftirq(NET_RX_SOFTIRQ);
}

/** napi_schedule: has the poll function run by the NET_RX softirq. */
export function napiSchedule(napi: NapiStruct): void {
  if ((napi.state & NAPI_STATE_DISABLE) !== 0) return;
  if ((napi.state & NAPI_STATE_SCHED) !== 0) {
    napi.state |= NAPI_STATE_MISSED;
    return;
  }
  napi.state |= NAPI_STATE_SCHED;
  ____napiSchedule(softnetData(), napi);
}

/** napi_complete_done: the poll function has found everything. False if more came meanwhile and it is polled again. */
export function napiComplete(napi: NapiStruct): boolean {
  const missed = (napi.state & NAPI_STATE_MISSED) !== 0;
  napi.state &= ~(NAPI_STATE_SCHED | NAPI_STATE_MISSED);
  if (missed) napiSchedule(napi);
  return !missed;
}

/** napi_enable / napi_disable (ndo_open, ndo_stop). */
export function napiEnable(napi: NapiStruct): void {
  napi.state &= ~NAPI_STATE_DISABLE;
}
export function napiDisable(napi: NapiStruct): void {
  napi.state |= NAPI_STATE_DISABLE;
  napiGroPurge(napi);
}

/** net_rx_action: polls everyone in turn, NETDEV_BUDGET packets in all. */
function netRxAction(): void {
  const sd = softnetData();
  let budget = NETDEV_BUDGET;
  let n = sd.pollHead;
  sd.pollHead = null;
  sd.pollTail = null;
  let repollHead: NapiStruct | null = null;
  let repollTail: NapiStruct | null = null;
  while (n !== null) {
    const next: NapiStruct | null = n.next;
    n.next = null;
    if (budget <= 0) {
      // Out of budget: the rest has its turn in the next softirq, before those that were polled now.
      sd.timeSqueeze++;
      n.next = next;
      break;
    }
    if ((n.state & NAPI_STATE_DISABLE) !== 0) {
      n.state &= ~(NAPI_STATE_SCHED | NAPI_STATE_MISSED);
    } else {
      const work = n.poll(n, n.weight);
      budget -= work;
      if (n.rxList !== 0 || n.groHeld !== 0) napiGroPoll(n, work < n.weight);
      if (work >= n.weight && (n.state & NAPI_STATE_SCHED) !== 0) {
        if (repollTail === null) repollHead = n;
        else repollTail.next = n;
        repollTail = n;
      }
    }
    n = next;
  }
  // What is left over, then what was scheduled meanwhile, then those that had more than one poll's worth.
  if (n !== null) {
    let last: NapiStruct = n;
    while (last.next !== null) last = last.next;
    last.next = sd.pollHead;
    if (sd.pollHead === null) sd.pollTail = last;
    sd.pollHead = n;
  }
  if (repollHead !== null) {
    if (sd.pollTail === null) sd.pollHead = repollHead;
    else sd.pollTail.next = repollHead;
    sd.pollTail = repollTail;
  }
  if (sd.pollHead !== null) kernel.raiseSoftirq(NET_RX_SOFTIRQ);
}
