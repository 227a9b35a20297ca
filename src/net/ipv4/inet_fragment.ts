/**
 * Fragment queues (net/ipv4/inet_fragment.c): the part of reassembly that doesn't know about headers. A queue holds the
 * fragments of one datagram as *runs* of fragments that follow each other without a gap, in order of offset:
 *
 * ```
 *   runStart  0            2960        5920
 *             [frag][frag]      [frag]      [frag]     linked through skb->next, the run's last one is runTail
 *   runEnd             2960 ...
 * ```
 *
 * As in Linux a run only grows at the end of the queue. A fragment that lies whole in one run is a duplicate and is
 * ignored; any other overlap throws the whole queue away (RFC 5722 §4, RFC 8200's rule applied to IPv4: overlapping
 * fragments are only ever sent to get past a filter).
 */

import { SKB_NEXT, SKB_TRUESIZE } from "../../../assembly/layout.ts";
import { getRandomU32 } from "../../kernel/random.ts";
import { siphash_4u32 } from "../../kernel/siphash.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { delTimer, modTimerIn, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { u32 } from "../../mm/mem.ts";
import { skbLen, skbNext, skbSetNext } from "../../mm/skb.ts";
import type { Net } from "../core/net_namespace.ts";
import { kfreeSkbListReason } from "../core/skbuff.ts";
import type { InetPeer } from "./inetpeer.ts";
import { inetGetpeerV4 } from "./inetpeer.ts";

export const INET_FRAG_FIRST_IN = 1;
export const INET_FRAG_LAST_IN = 2;
export const INET_FRAG_COMPLETE = 4;

export const IPFRAG_OK = 0;
export const IPFRAG_DUP = 1;
export const IPFRAG_OVERLAP = 2;

/** What a queue itself is charged, in bytes. */
const QUEUE_SIZE = 208;
const HASH_SIZE = 1024;

/** struct ipq, struct inet_frag_queue. */
export class FragQueue {
  readonly fqdir: Fqdir;
  readonly saddr: number;
  readonly daddr: number;
  /** Identification, protocol, and on whose behalf (IP_DEFRAG_*). */
  readonly id: number;
  readonly protocol: number;
  readonly user: number;
  readonly hash: number;
  hashNext: FragQueue | null = null;
  readonly timer: TimerList;
  /** INET_FRAG_*. */
  flags = 0;
  /** Bytes of the datagram: the end of the last fragment, once that is in, or of the furthest. */
  len = 0;
  /** Bytes that are here. */
  meat = 0;
  /** The largest fragment, header included, and the largest that had DF. */
  maxSize = 0;
  maxDfSize = 0;
  /** 1 << ECN field of each fragment, or-ed. */
  ecn = 0;
  iif = 0;
  stamp = 0;
  /** peer.rid at this datagram's latest fragment. */
  rid = 0;
  peer: InetPeer | null = null;

  readonly runStart: number[] = [];
  readonly runEnd: number[] = [];
  readonly runHead: number[] = [];
  readonly runTail: number[] = [];

  constructor(
    fqdir: Fqdir,
    saddr: number,
    daddr: number,
    id: number,
    protocol: number,
    user: number,
    hash: number,
    expire: (t: TimerList) => void,
  ) {
    this.fqdir = fqdir;
    this.saddr = saddr;
    this.daddr = daddr;
    this.id = id;
    this.protocol = protocol;
    this.user = user;
    this.hash = hash;
    this.timer = timerSetup(expire, this);
  }
}

/** struct fqdir: the queues of a namespace. */
export class Fqdir {
  readonly net: Net;
  /** Bytes of truesize in all queues. */
  mem = 0;
  /** Queues. */
  count = 0;
  /** Made with the first queue: most namespaces never reassemble anything. */
  buckets: (FragQueue | null)[] = [];
  readonly key: Uint32Array = new Uint32Array(4);
  readonly expire: (t: TimerList) => void;

  constructor(net: Net, expire: (t: TimerList) => void) {
    this.net = net;
    this.expire = expire;
  }
}

/**
 * inet_frag_find: the queue of a datagram, made if need be. Null when fragments hold more than ipfrag_high_thresh: what
 * is there times out, and until then no fragment is taken (as Linux does since 4.17; before, old queues were evicted,
 * which let a stranger's fragments push out everybody else's).
 */
export function inetFragFind(
  fqdir: Fqdir,
  saddr: number,
  daddr: number,
  id: number,
  protocol: number,
  user: number,
): FragQueue | null {
  const high = fqdir.net.ipv4.sysctlIpfragHighThresh;
  if (high === 0 || fqdir.mem > high) return null;
  if (fqdir.buckets.length === 0) {
    for (let i = 0; i < HASH_SIZE; i++) fqdir.buckets.push(null);
    for (let i = 0; i < 4; i++) fqdir.key[i] = getRandomU32();
  }
  const hash = siphash_4u32(saddr, daddr, (id << 8) | protocol, user, fqdir.key) & (HASH_SIZE - 1);
  for (let q = fqdir.buckets[hash]; q !== null; q = q.hashNext) {
    if (q.id === id && q.saddr === saddr && q.daddr === daddr && q.protocol === protocol && q.user === user) return q;
  }
  return inetFragCreate(fqdir, saddr, daddr, id, protocol, user, hash);
}

function inetFragCreate(
  fqdir: Fqdir,
  saddr: number,
  daddr: number,
  id: number,
  protocol: number,
  user: number,
  hash: number,
): FragQueue {
  const q = new FragQueue(fqdir, saddr, daddr, id, protocol, user, hash, fqdir.expire);
  if (fqdir.net.ipv4.sysctlIpfragMaxDist !== 0) {
    q.peer = inetGetpeerV4(fqdir.net, saddr);
  }
  q.hashNext = fqdir.buckets[hash];
  fqdir.buckets[hash] = q;
  fqdir.count++;
  fqdir.mem += QUEUE_SIZE;
  modTimerIn(q.timer, fqdir.net.ipv4.sysctlIpfragTime * 1000);
  return q;
}

/** inet_frag_kill: the queue takes no more fragments and is found no more. What it holds stays, for inetFragDestroy. */
export function inetFragKill(q: FragQueue): void {
  delTimer(q.timer);
  timerShutdown(q.timer);
  if ((q.flags & INET_FRAG_COMPLETE) !== 0) return;
  q.flags |= INET_FRAG_COMPLETE;
  const fqdir = q.fqdir;
  let at = fqdir.buckets[q.hash];
  if (at === q) fqdir.buckets[q.hash] = q.hashNext;
  else {
    while (at !== null && at.hashNext !== q) at = at.hashNext;
    if (at !== null) at.hashNext = q.hashNext;
  }
  q.hashNext = null;
  fqdir.count--;
  fqdir.mem -= QUEUE_SIZE;
  q.peer = null;
}

/** inet_frag_rbtree_purge: drops every fragment. */
export function inetFragPurge(q: FragQueue, reason: number): void {
  for (let i = 0; i < q.runHead.length; i++) {
    let truesize = 0;
    for (let skb = q.runHead[i]; skb !== 0; skb = skbNext(skb)) truesize += u32[(skb + SKB_TRUESIZE) >>> 2];
    q.fqdir.mem -= truesize;
    kfreeSkbListReason(q.runHead[i], reason);
  }
  inetFragForget(q);
}

/** The queue holds nothing any more; its fragments are somebody else's. */
export function inetFragForget(q: FragQueue): void {
  q.runStart.length = 0;
  q.runEnd.length = 0;
  q.runHead.length = 0;
  q.runTail.length = 0;
}

/** inet_frag_destroy of a killed queue. */
export function inetFragDestroy(q: FragQueue, reason: number): void {
  inetFragPurge(q, reason);
}

/**
 * inet_frag_queue_insert: puts bytes [offset, end) in their place. IPFRAG_OK: the queue holds the skb. IPFRAG_DUP,
 * IPFRAG_OVERLAP: it does not.
 */
export function inetFragQueueInsert(q: FragQueue, skb: number, offset: number, end: number): number {
  const runStart = q.runStart;
  const runEnd = q.runEnd;
  const runHead = q.runHead;
  const runTail = q.runTail;
  const n = runHead.length;
  skbSetNext(skb, 0);
  if (n === 0) {
    runStart.push(offset);
    runEnd.push(end);
    runHead.push(skb);
    runTail.push(skb);
    return IPFRAG_OK;
  }
  const last = n - 1;
  const lastEnd = runEnd[last];
  if (lastEnd < end) {
    // The common case: behind everything.
    if (offset < lastEnd) return IPFRAG_OVERLAP;
    if (offset === lastEnd) {
      u32[(runTail[last] + SKB_NEXT) >>> 2] = skb;
      runTail[last] = skb;
      runEnd[last] = end;
    } else {
      runStart.push(offset);
      runEnd.push(end);
      runHead.push(skb);
      runTail.push(skb);
    }
    return IPFRAG_OK;
  }
  let lo = 0;
  let hi = n;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (end <= runStart[mid]) hi = mid;
    else if (offset >= runEnd[mid]) lo = mid + 1;
    else return offset >= runStart[mid] && end <= runEnd[mid] ? IPFRAG_DUP : IPFRAG_OVERLAP;
  }
  runStart.splice(lo, 0, offset);
  runEnd.splice(lo, 0, end);
  runHead.splice(lo, 0, skb);
  runTail.splice(lo, 0, skb);
  return IPFRAG_OK;
}

/** inet_frag_pull_head: takes the first fragment out; 0 = there is none. */
export function inetFragPullHead(q: FragQueue): number {
  if (q.runHead.length === 0) return 0;
  const skb = q.runHead[0];
  const next = skbNext(skb);
  if (next !== 0) {
    q.runHead[0] = next;
    q.runStart[0] += skbLen(skb);
  } else {
    q.runStart.shift();
    q.runEnd.shift();
    q.runHead.shift();
    q.runTail.shift();
  }
  skbSetNext(skb, 0);
  q.fqdir.mem -= u32[(skb + SKB_TRUESIZE) >>> 2];
  return skb;
}

/** All fragments in order, linked through next; the queue forgets them. */
export function inetFragTakeAll(q: FragQueue): number {
  const runHead = q.runHead;
  const runTail = q.runTail;
  for (let i = 0; i + 1 < runHead.length; i++) u32[(runTail[i] + SKB_NEXT) >>> 2] = runHead[i + 1];
  const head = runHead.length !== 0 ? runHead[0] : 0;
  inetFragForget(q);
  return head;
}

/** fqdir_exit. */
export function fqdirExit(fqdir: Fqdir, reason: number): void {
  for (let i = 0; i < fqdir.buckets.length; i++) {
    for (let q = fqdir.buckets[i]; q !== null; q = fqdir.buckets[i]) {
      inetFragKill(q);
      inetFragDestroy(q, reason);
    }
  }
}
