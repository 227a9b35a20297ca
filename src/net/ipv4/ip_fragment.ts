/** Reassembly of IPv4 datagrams (RFC 791 §3.2, RFC 815, RFC 1122 §3.3.2). */

import {
  CHECKSUM_COMPLETE,
  CHECKSUM_NONE,
  CHECKSUM_UNNECESSARY,
  SHINFO_FRAG_LIST,
  SKB_DATA_LEN,
  SKB_LEN,
  SKB_NEXT,
  SKB_TRUESIZE,
} from "../../../assembly/layout.ts";
import { ipIncStats } from "../../kernel/mib.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { modTimerIn } from "../../kernel/timer.ts";
import { u32 } from "../../mm/mem.ts";
import {
  skbCsum,
  skbData,
  skbHasFragList,
  skbIpSummed,
  skbLen,
  skbNetworkHeader,
  skbNetworkOffset,
  skbNext,
  skbSetCsum,
  skbSetIpSummed,
  skbSetNext,
  skbSetTstamp,
  skbShinfo,
  skbTruesize,
  skbTstamp,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_DUP_FRAG,
  SKB_DROP_REASON_FRAG_REASM_TIMEOUT,
  SKB_DROP_REASON_FRAG_TOO_FAR,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_QUEUE_PURGE,
} from "../../uapi/dropreason.ts";
import { E2BIG, EINPROGRESS, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { ICMP_EXC_FRAGTIME, ICMP_TIME_EXCEEDED } from "../../uapi/icmp.ts";
import { INET_ECN_CE, INET_ECN_MASK, IP_DF, IP_MF, IP_OFFSET } from "../../uapi/ip.ts";
import {
  IPSTATS_MIB_REASM_OVERLAPS,
  IPSTATS_MIB_REASMFAILS,
  IPSTATS_MIB_REASMOKS,
  IPSTATS_MIB_REASMREQDS,
  IPSTATS_MIB_REASMTIMEOUT,
} from "../../uapi/linux_mib.ts";
import { RTN_LOCAL } from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import {
  consumeSkb,
  csumAdd,
  kfreeSkbPartial,
  kfreeSkbReason,
  pskbPull,
  pskbTrimRcsum,
  skbClone,
  skbDev,
  skbDst,
  skbDstDrop,
  skbDstSet,
  skbLinearize,
  skbMorph,
  skbOrphan,
  skbPush,
  skbSetDev,
  skbTryCoalesce,
  skbUnclone,
} from "../core/skbuff.ts";
import { icmpSend } from "./icmp.ts";
import type { FragQueue } from "./inet_fragment.ts";
import {
  Fqdir,
  fqdirExit,
  INET_FRAG_COMPLETE,
  INET_FRAG_FIRST_IN,
  INET_FRAG_LAST_IN,
  IPFRAG_DUP,
  IPFRAG_OK,
  inetFragDestroy,
  inetFragFind,
  inetFragKill,
  inetFragPullHead,
  inetFragPurge,
  inetFragQueueInsert,
  inetFragTakeAll,
} from "./inet_fragment.ts";
import {
  IPSKB_FRAG_COMPLETE,
  IPSKB_FRAG_PMTU,
  ipcbFlags,
  ipcbSetFlags,
  ipcbSetFragMaxSize,
  ipHdr,
  ipHdrDaddr,
  ipHdrFragOff,
  ipHdrId,
  ipHdrlen,
  ipHdrProtocol,
  ipHdrSaddr,
  ipHdrSetFragOff,
  ipHdrSetTos,
  ipHdrSetTotLen,
  ipHdrTos,
  ipSendCheck,
} from "./ip.ts";
import type { Rtable } from "./route.ts";
import { ipRouteInput } from "./route.ts";

// On whose behalf a datagram is reassembled: each has its own queues.
export const IP_DEFRAG_LOCAL_DELIVER = 0;
export const IP_DEFRAG_CALL_RA_CHAIN = 1;
export const IP_DEFRAG_CONNTRACK_IN = 2;
export const IP_DEFRAG_CONNTRACK_OUT = 65538;

/** ecn of the fragments -> bits that the datagram's field gets, or this: no sender mixes these. */
const ECN_INVALID = 0xff;

/**
 * ip_frag_ecn_table (RFC 3168 §5.3). Bit n of the index: a fragment had ECN field n (0 Not-ECT, 1 ECT(1), 2 ECT(0), 3
 * CE). CE on one fragment is CE on the datagram, but only an ECN-capable one: with Not-ECT among them it is dropped.
 */
function ipFragEcn(ecn: number): number {
  const notEct = (ecn & 1) !== 0;
  const ect = (ecn & 6) !== 0;
  const ce = (ecn & 8) !== 0;
  if (notEct && (ect || ce)) return ECN_INVALID;
  return ce && ect ? INET_ECN_CE : 0;
}

declare module "../core/net_namespace.ts" {
  interface Net {
    /** The fragments that wait for the rest of their datagrams. */
    ipFrags: Fqdir;
  }
}

/** ip_expire: the datagram did not get complete in time (RFC 1122 §3.3.2). */
function ipExpire(t: TimerList): void {
  const qp = t.data as FragQueue;
  if ((qp.flags & INET_FRAG_COMPLETE) !== 0) return;
  const net = qp.fqdir.net;
  inetFragKill(qp);
  ipIncStats(net, IPSTATS_MIB_REASMFAILS);
  ipIncStats(net, IPSTATS_MIB_REASMTIMEOUT);
  // RFC 792: without the first fragment, which has the ports, no message is sent.
  if ((qp.flags & INET_FRAG_FIRST_IN) !== 0) {
    const head = inetFragPullHead(qp);
    const dev = net.devByIndex.get(qp.iif);
    if (head !== 0 && dev !== undefined) ipExpireSend(net, qp, head, dev);
    kfreeSkbReason(head, SKB_DROP_REASON_FRAG_REASM_TIMEOUT);
  }
  inetFragDestroy(qp, SKB_DROP_REASON_FRAG_REASM_TIMEOUT);
}

function ipExpireSend(_net: Net, qp: FragQueue, head: number, dev: NetDevice): void {
  skbSetDev(head, dev);
  const iph = ipHdr(head);
  if (ipRouteInput(head, ipHdrDaddr(iph), ipHdrSaddr(iph), ipHdrTos(iph), dev) !== 0) return;
  // A router that looks into fragments (conntrack) is not their end.
  const rt = skbDst(head) as Rtable;
  if (qp.user !== IP_DEFRAG_LOCAL_DELIVER && rt.rtType !== RTN_LOCAL) return;
  icmpSend(head, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0);
}

/**
 * ip_frag_too_far: so many other fragments of the source came in between that the identification may be a later one's.
 */
function ipFragTooFar(net: Net, qp: FragQueue): boolean {
  const peer = qp.peer;
  const max = net.ipv4.sysctlIpfragMaxDist;
  if (peer === null || max === 0) return false;
  const start = qp.rid;
  const end = ++peer.rid;
  qp.rid = end;
  const rc = qp.runHead.length !== 0 && end - start > max;
  if (rc) ipIncStats(net, IPSTATS_MIB_REASMFAILS);
  return rc;
}

/** ip_frag_reinit: begins the queue anew with the fragment at hand. */
function ipFragReinit(net: Net, qp: FragQueue): void {
  modTimerIn(qp.timer, net.ipv4.sysctlIpfragTime * 1000);
  inetFragPurge(qp, SKB_DROP_REASON_FRAG_TOO_FAR);
  qp.flags = 0;
  qp.len = 0;
  qp.meat = 0;
  qp.iif = 0;
  qp.ecn = 0;
}

/** The queue is given up for the fragment at hand. */
function ipFragDiscard(net: Net, qp: FragQueue, skb: number, err: number): number {
  inetFragKill(qp);
  ipIncStats(net, IPSTATS_MIB_REASMFAILS);
  inetFragDestroy(qp, SKB_DROP_REASON_NOT_SPECIFIED);
  kfreeSkbReason(skb, err === -ENOMEM ? SKB_DROP_REASON_NOMEM : SKB_DROP_REASON_NOT_SPECIFIED);
  return err;
}

/** ip_frag_queue: adds a fragment. 0: the skb is the whole datagram now. Negative: it was queued or dropped. */
function ipFragQueue(net: Net, qp: FragQueue, skb: number): number {
  if ((ipcbFlags(skb) & IPSKB_FRAG_COMPLETE) === 0 && ipFragTooFar(net, qp)) ipFragReinit(net, qp);

  const iph = ipHdr(skb);
  const ecn = 1 << (ipHdrTos(iph) & INET_ECN_MASK);
  const fragOff = ipHdrFragOff(iph);
  const offset = (fragOff & IP_OFFSET) << 3;
  const ihl = ipHdrlen(skb);
  const nhoff = skbNetworkOffset(skb);
  let end = offset + skbLen(skb) - nhoff - ihl;

  if ((fragOff & IP_MF) === 0) {
    // The last fragment: nothing may lie behind it, and there is only one end.
    if (end < qp.len || ((qp.flags & INET_FRAG_LAST_IN) !== 0 && end !== qp.len)) {
      return ipFragDiscard(net, qp, skb, -EINVAL);
    }
    qp.flags |= INET_FRAG_LAST_IN;
    qp.len = end;
  } else {
    if ((end & 7) !== 0) {
      // RFC 791: all but the last are multiples of 8 long; what is over is cut off.
      end &= ~7;
      if (skbIpSummed(skb) !== CHECKSUM_UNNECESSARY) skbSetIpSummed(skb, CHECKSUM_NONE);
    }
    if (end > qp.len) {
      if ((qp.flags & INET_FRAG_LAST_IN) !== 0) return ipFragDiscard(net, qp, skb, -EINVAL);
      qp.len = end;
    }
  }
  // An empty fragment is of no use but to confuse.
  if (end === offset) return ipFragDiscard(net, qp, skb, -EINVAL);
  if (pskbPull(skb, nhoff + ihl) === 0) return ipFragDiscard(net, qp, skb, -ENOMEM);
  if (pskbTrimRcsum(skb, end - offset) !== 0) return ipFragDiscard(net, qp, skb, -ENOMEM);

  const err = inetFragQueueInsert(qp, skb, offset, end);
  if (err !== IPFRAG_OK) {
    if (err === IPFRAG_DUP) {
      kfreeSkbReason(skb, SKB_DROP_REASON_DUP_FRAG);
      return -EINVAL;
    }
    ipIncStats(net, IPSTATS_MIB_REASM_OVERLAPS);
    return ipFragDiscard(net, qp, skb, -EINVAL);
  }

  const dev = skbDev(skb) as NetDevice | null;
  if (dev !== null) qp.iif = dev.ifindex;
  qp.stamp = skbTstamp(skb);
  const len = end - offset;
  qp.meat += len;
  qp.ecn |= ecn;
  qp.fqdir.mem += skbTruesize(skb);
  if (offset === 0) qp.flags |= INET_FRAG_FIRST_IN;
  const fragsize = len + ihl;
  if (fragsize > qp.maxSize) qp.maxSize = fragsize;
  if ((fragOff & IP_DF) !== 0 && fragsize > qp.maxDfSize) qp.maxDfSize = fragsize;

  if (qp.flags === (INET_FRAG_FIRST_IN | INET_FRAG_LAST_IN) && qp.meat === qp.len) {
    const ret = ipFragReasm(net, qp, skb, dev);
    inetFragKill(qp);
    // After a failure the queue holds the fragments still, this one among them.
    inetFragDestroy(qp, ret === -ENOMEM ? SKB_DROP_REASON_NOMEM : SKB_DROP_REASON_NOT_SPECIFIED);
    return ret;
  }
  skbDstDrop(skb);
  skbOrphan(skb);
  // The device may go away before the datagram is complete; its ifindex tells.
  skbSetDev(skb, null);
  return -EINPROGRESS;
}

function ipFragReasmFail(net: Net, err: number): number {
  ipIncStats(net, IPSTATS_MIB_REASMFAILS);
  return err;
}

/**
 * ip_frag_reasm: all fragments are here. `skb`, the one that came last, becomes the datagram: the first fragment's
 * header and bytes, and the others behind it, joined to it where that is possible and as its frag list where not.
 */
function ipFragReasm(net: Net, qp: FragQueue, skb: number, dev: NetDevice | null): number {
  const dst = skbDst(skb);
  const ecn = ipFragEcn(qp.ecn);
  if (ecn === ECN_INVALID) return ipFragReasmFail(net, -EINVAL);
  const first = qp.runHead[0];
  const len = ipHdrlen(first) + qp.len;
  // "Ping of death": the fragments make up more than a datagram can be long.
  if (len > 65535) return ipFragReasmFail(net, -E2BIG);
  // The head will be written to. Its own frag list (it was reassembled once before) would be in the way of ours.
  let delta = -skbTruesize(first);
  if (skbUnclone(first) !== 0 || (skbHasFragList(first) && skbLinearize(first) !== 0)) {
    return ipFragReasmFail(net, -ENOMEM);
  }
  delta += skbTruesize(first);
  qp.fqdir.mem += delta;

  if (first !== skb) {
    const copy = skbClone(skb);
    if (copy === 0) return ipFragReasmFail(net, -ENOMEM);
    inetFragReplace(qp, skb, copy);
    skbMorph(skb, first);
    skbSetNext(skb, skbNext(first));
    qp.runHead[0] = skb;
    if (qp.runTail[0] === first) qp.runTail[0] = skb;
    consumeSkb(first);
  }

  const head = inetFragTakeAll(qp);
  let sumTruesize = skbTruesize(head);
  let fp = skbNext(head);
  skbSetNext(head, 0);
  skbPush(head, skbData(head) - skbNetworkHeader(head));
  let tail = 0;
  const tryCoalesce = qp.user === IP_DEFRAG_LOCAL_DELIVER;
  while (fp !== 0) {
    const next = skbNext(fp);
    skbSetNext(fp, 0);
    sumTruesize += skbTruesize(fp);
    if (skbIpSummed(head) !== skbIpSummed(fp)) skbSetIpSummed(head, CHECKSUM_NONE);
    else if (skbIpSummed(head) === CHECKSUM_COMPLETE) skbSetCsum(head, csumAdd(skbCsum(head), skbCsum(fp)));
    const joined = tryCoalesce && tail === 0 ? skbTryCoalesce(head, fp) : -1;
    if (joined >= 0) {
      u32[(head + SKB_TRUESIZE) >>> 2] += joined;
      kfreeSkbPartial(fp, joined > 0);
    } else {
      const fplen = skbLen(fp);
      u32[(head + SKB_LEN) >>> 2] += fplen;
      u32[(head + SKB_DATA_LEN) >>> 2] += fplen;
      u32[(head + SKB_TRUESIZE) >>> 2] += skbTruesize(fp);
      if (tail === 0) u32[(skbShinfo(head) + SHINFO_FRAG_LIST) >>> 2] = fp;
      else u32[(tail + SKB_NEXT) >>> 2] = fp;
      tail = fp;
    }
    fp = next;
  }
  qp.fqdir.mem -= sumTruesize;
  skbSetTstamp(head, qp.stamp);
  skbDstSet(head, dst);
  skbSetDev(head, dev);

  ipcbSetFragMaxSize(head, qp.maxDfSize > qp.maxSize ? qp.maxDfSize : qp.maxSize);
  const iph = ipHdr(head);
  ipHdrSetTotLen(iph, len);
  ipHdrSetTos(iph, ipHdrTos(iph) | ecn);
  if (qp.maxDfSize === qp.maxSize) {
    // The sender does path MTU discovery with fragments: a router that sends this on must not hide its MTU from it.
    ipcbSetFlags(head, ipcbFlags(head) | IPSKB_FRAG_PMTU);
    ipHdrSetFragOff(iph, IP_DF);
  } else ipHdrSetFragOff(iph, 0);
  ipSendCheck(iph);
  ipIncStats(net, IPSTATS_MIB_REASMOKS);
  return 0;
}

/** Puts `copy` where `skb` stands in the queue. */
function inetFragReplace(qp: FragQueue, skb: number, copy: number): void {
  skbSetNext(copy, skbNext(skb));
  skbSetNext(skb, 0);
  for (let i = 0; i < qp.runHead.length; i++) {
    if (qp.runTail[i] === skb) qp.runTail[i] = copy;
    if (qp.runHead[i] === skb) {
      qp.runHead[i] = copy;
      return;
    }
    for (let p = qp.runHead[i]; p !== 0; p = skbNext(p)) {
      if (skbNext(p) === skb) {
        skbSetNext(p, copy);
        return;
      }
    }
  }
}

/**
 * ip_defrag: 0: `skb` is a whole datagram now (IPCB frag_max_size tells that it came in fragments). Negative: the skb
 * is gone, kept with the others (-EINPROGRESS) or dropped.
 */
export function ipDefrag(net: Net, skb: number, user: number): number {
  ipIncStats(net, IPSTATS_MIB_REASMREQDS);
  const iph = ipHdr(skb);
  const qp = inetFragFind(net.ipFrags, ipHdrSaddr(iph), ipHdrDaddr(iph), ipHdrId(iph), ipHdrProtocol(iph), user);
  if (qp !== null) return ipFragQueue(net, qp, skb);
  ipIncStats(net, IPSTATS_MIB_REASMFAILS);
  kfreeSkbReason(skb, SKB_DROP_REASON_NOMEM);
  return -ENOMEM;
}

function ipfragNetInit(net: Net): number {
  net.ipFrags = new Fqdir(net, ipExpire);
  return 0;
}

function ipfragNetExit(net: Net): void {
  fqdirExit(net.ipFrags, SKB_DROP_REASON_QUEUE_PURGE);
}

const ip4FragsOps = { name: "ip4_frags", init: ipfragNetInit, exit: ipfragNetExit };

/** ipfrag_init: run by inet_init; running it again does nothing. */
export function ipfragInit(): void {
  registerPernetSubsys(ip4FragsOps);
}
