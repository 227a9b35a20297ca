/** Surgery on the skbs of TCP's queues: splitting, trimming, joining; and the MSS that decides where to cut. */

import {
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  MAX_SKB_FRAGS,
  SHINFO_TSKEY,
  SHINFO_TX_FLAGS,
  SKB_DATA_LEN,
  SKB_LEN,
  SKB_TRUESIZE,
  SKB_TSTAMP,
  TCPCB_FLAG_APP_LIMITED,
  TCPCB_FLAG_EOR,
  TCPCB_FLAG_TXSTAMP_ACK,
  TCPCB_TX_DELIVERED,
  TCPCB_TX_DELIVERED_CE,
  TCPCB_TX_DELIVERED_MSTAMP,
  TCPCB_TX_FIRST_MSTAMP,
  TCPCB_TX_IN_FLIGHT,
} from "../../../assembly/layout.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { f64, u8, u32 } from "../../mm/mem.ts";
import {
  __skbHeaderRelease,
  skbCloned,
  skbDataLen,
  skbFrag,
  skbFragOffset,
  skbFragPage,
  skbFragSize,
  skbFragSizeAdd,
  skbHeadlen,
  skbLen,
  skbNext,
  skbNrFrags,
  skbSetNrFrags,
  skbShinfo,
  skbTailroom,
} from "../../mm/skb.ts";
import { EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { LINUX_MIB_TCPWQUEUETOOBIG } from "../../uapi/linux_mib.ts";
import { TCP_CA_Open, TCPHDR_ACK, TCPHDR_FIN, TCPHDR_PSH, TCPHDR_SYN } from "../../uapi/tcp.ts";
import { dstMtu } from "../core/dst.ts";
import { SKBTX_ANY_TSTAMP } from "../core/errqueue.ts";
import {
  __skbPull,
  consumeSkb,
  skbCopyBits,
  skbFillPageDesc,
  skbFragRef,
  skbFragUnref,
  skbPut,
  skbQueueAfter,
  skbShift,
  skbSplit,
  skbTruesizeOf,
  skbUnclone,
} from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { skForcedMemSchedule, skMemCharge, skMemUncharge, skWmemQueuedAdd } from "../core/sock.ts";
import { after, before, seqAdd, seqSub } from "./seq.ts";
import { tcpStreamAllocSkb } from "./tcp.ts";
import {
  TCP_HEADER_SIZE,
  TCP_MIN_GSO_SIZE,
  tcpBoundToHalfWnd,
  tcpHighestSackReplace,
  tcpInsertWriteQueueBefore,
  tcpIsReno,
  tcpJiffies32,
  tcpPacketsInFlight,
  tcpRtxQueueHead,
  tcpRtxQueueTail,
  tcpRtxQueueUnlinkAndFree,
  tcpSendHead,
  tcpSkbCanCollapse,
  tcpSkbIsLast,
  tcpSndCwnd,
  tcpSndCwndSet,
  tcpUnlinkWriteQueue,
  tcpWmemFreeSkb,
  tcpWndEnd,
} from "./tcp_h.ts";
import { tcpEstablishedOptions } from "./tcp_output.options.ts";
import { tcpEventNewDataSent, tcpTransmitSkb } from "./tcp_output.ts";
import type { TcpOutOptions, TcpSock } from "./tcp_sock.ts";
import {
  newTcpOutOptions,
  TCPCB_EVER_RETRANS,
  TCPCB_FLAG_RACK_LOST,
  TCPCB_LOST,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  tcpSkbCbFlags,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbMss,
  tcpSkbMssSet,
  tcpSkbPcount,
  tcpSkbPcountSet,
  tcpSkbSacked,
  tcpSkbSeq,
  tcpSkbSetCbFlags,
  tcpSkbSetEndSeq,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";

// Which queue an skb stands in.
export const TCP_FRAG_IN_WRITE_QUEUE = 0;
export const TCP_FRAG_IN_RTX_QUEUE = 1;

const GSO_LEGACY_MAX_SIZE = 65536;

/** The same skb, with the data unshared and its truesize kept (skb_unclone_keeptruesize). 0 or -ENOMEM. */
/* notrace */
export function skbUncloneKeeptruesize(skb: number): number {
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2];
  const err = skbUnclone(skb);
  u32[(skb + SKB_TRUESIZE) >>> 2] = truesize;
  return err;
}

/** tcp_set_skb_tso_segs: how many segments of `mssNow` the skb stands for. Invoked with MSS of the moment it is sent. */
/* notrace */
export function tcpSetSkbTsoSegs(skb: number, mssNow: number): number {
  const len = u32[(skb + SKB_LEN) >>> 2];
  if (len <= mssNow) {
    tcpSkbMssSet(skb, 0);
    tcpSkbPcountSet(skb, 1);
    return 1;
  }
  tcpSkbMssSet(skb, mssNow);
  const tsoSegs = Math.ceil(len / mssNow);
  tcpSkbPcountSet(skb, tsoSegs);
  return tsoSegs;
}

/** tcp_init_tso_segs: the same, unless it holds already. */
/* notrace */
export function tcpInitTsoSegs(skb: number, mssNow: number): number {
  const tsoSegs = tcpSkbPcount(skb);
  if (tsoSegs === 0 || (tsoSegs > 1 && tcpSkbMss(skb) !== mssNow)) return tcpSetSkbTsoSegs(skb, mssNow);
  return tsoSegs;
}

/** tcp_adjust_pcount: `decr` segments less are outstanding because `skb` was cut or joined differently. */
export function tcpAdjustPcount(sk: TcpSock, skb: number, decr: number): void {
  const sacked = tcpSkbSacked(skb);
  sk.packetsOut -= decr;
  if ((sacked & TCPCB_SACKED_ACKED) !== 0) sk.sackedOut -= decr;
  if ((sacked & TCPCB_SACKED_RETRANS) !== 0) sk.retransOut -= decr;
  if ((sacked & TCPCB_LOST) !== 0) sk.lostOut -= decr;
  // Without SACK, sacked_out counts duplicate ACKs, and nobody knows of which skb.
  if (tcpIsReno(sk) && decr > 0) sk.sackedOut -= Math.min(sk.sackedOut, decr);
}

/** tcp_has_tx_tstamp. */
/* notrace */
export function tcpHasTxTstamp(skb: number): boolean {
  return (
    (tcpSkbCbFlags(skb) & TCPCB_FLAG_TXSTAMP_ACK) !== 0 ||
    (u8[skbShinfo(skb) + SHINFO_TX_FLAGS] & SKBTX_ANY_TSTAMP) !== 0
  );
}

/** tcp_fragment_tstamp: the timestamp request goes with the byte that it was made for. */
function tcpFragmentTstamp(skb: number, skb2: number): void {
  if (!tcpHasTxTstamp(skb)) return;
  const shinfo = skbShinfo(skb);
  const tskey = u32[(shinfo + SHINFO_TSKEY) >>> 2];
  if (((tskey - (tcpSkbSeq(skb2) as unknown as number)) | 0) < 0) return;
  const shinfo2 = skbShinfo(skb2);
  const tsflags = u8[shinfo + SHINFO_TX_FLAGS] & SKBTX_ANY_TSTAMP;
  u8[shinfo + SHINFO_TX_FLAGS] &= ~tsflags;
  u8[shinfo2 + SHINFO_TX_FLAGS] |= tsflags;
  u32[(shinfo + SHINFO_TSKEY) >>> 2] = u32[(shinfo2 + SHINFO_TSKEY) >>> 2];
  u32[(shinfo2 + SHINFO_TSKEY) >>> 2] = tskey;
  const ack = tcpSkbCbFlags(skb) & TCPCB_FLAG_TXSTAMP_ACK;
  tcpSkbSetCbFlags(skb2, (tcpSkbCbFlags(skb2) & ~TCPCB_FLAG_TXSTAMP_ACK) | ack);
  tcpSkbSetCbFlags(skb, tcpSkbCbFlags(skb) & ~TCPCB_FLAG_TXSTAMP_ACK);
}

/** tcp_skb_collapse_tstamp: a joined skb keeps the request of its last part. */
export function tcpSkbCollapseTstamp(skb: number, nextSkb: number): void {
  if (!tcpHasTxTstamp(nextSkb)) return;
  const shinfo = skbShinfo(skb);
  const next = skbShinfo(nextSkb);
  u8[shinfo + SHINFO_TX_FLAGS] |= u8[next + SHINFO_TX_FLAGS] & SKBTX_ANY_TSTAMP;
  u32[(shinfo + SHINFO_TSKEY) >>> 2] = u32[(next + SHINFO_TSKEY) >>> 2];
  tcpSkbSetCbFlags(skb, tcpSkbCbFlags(skb) | (tcpSkbCbFlags(nextSkb) & TCPCB_FLAG_TXSTAMP_ACK));
}

/** tcp_skb_fragment_eor: MSG_EOR's mark belongs to the end of the data. */
/* notrace */
function tcpSkbFragmentEor(skb: number, skb2: number): void {
  const eor = tcpSkbCbFlags(skb) & TCPCB_FLAG_EOR;
  tcpSkbSetCbFlags(skb2, (tcpSkbCbFlags(skb2) & ~TCPCB_FLAG_EOR) | eor);
  tcpSkbSetCbFlags(skb, tcpSkbCbFlags(skb) & ~TCPCB_FLAG_EOR);
}

/** TCP_SKB_CB(buff)->tx = TCP_SKB_CB(skb)->tx: both parts were sent at the same time. */
/* notrace */
function tcpSkbCopyTx(buff: number, skb: number): void {
  u32[(buff + TCPCB_TX_DELIVERED) >>> 2] = u32[(skb + TCPCB_TX_DELIVERED) >>> 2];
  u32[(buff + TCPCB_TX_DELIVERED_CE) >>> 2] = u32[(skb + TCPCB_TX_DELIVERED_CE) >>> 2];
  u32[(buff + TCPCB_TX_IN_FLIGHT) >>> 2] = u32[(skb + TCPCB_TX_IN_FLIGHT) >>> 2];
  f64[(buff + TCPCB_TX_FIRST_MSTAMP) >>> 3] = f64[(skb + TCPCB_TX_FIRST_MSTAMP) >>> 3];
  f64[(buff + TCPCB_TX_DELIVERED_MSTAMP) >>> 3] = f64[(skb + TCPCB_TX_DELIVERED_MSTAMP) >>> 3];
  const mask = TCPCB_FLAG_APP_LIMITED | TCPCB_FLAG_RACK_LOST;
  tcpSkbSetCbFlags(buff, (tcpSkbCbFlags(buff) & ~mask) | (tcpSkbCbFlags(skb) & mask));
}

/**
 * What tcp_fragment and tso_fragment share: a new skb, charged to the socket, that takes everything of `skb` from `len`
 * on, with its sequence numbers and flags. 0 = no memory. PSH and FIN belong to the end of the data.
 */
/* notrace */
function tcpSplitOff(sk: TcpSock, skb: number, len: number): number {
  const linear = skbHeadlen(skb);
  // Linear bytes are copied to the new head; frags move and carry their truesize along.
  const nsize = linear > len ? linear - len : 0;
  const buff = tcpStreamAllocSkb(sk, nsize, true);
  if (buff === 0) return 0;
  const truesize = u32[(buff + SKB_TRUESIZE) >>> 2];
  skForcedMemSchedule(sk, truesize);
  skWmemQueuedAdd(sk, truesize);
  skMemCharge(sk, truesize);
  const nlen = skbLen(skb) - len - nsize;
  u32[(buff + SKB_TRUESIZE) >>> 2] += nlen;
  u32[(skb + SKB_TRUESIZE) >>> 2] -= nlen;

  const cut = seqAdd(tcpSkbSeq(skb), len);
  tcpSkbSetSeq(buff, cut);
  tcpSkbSetEndSeq(buff, tcpSkbEndSeq(skb));
  tcpSkbSetEndSeq(skb, cut);
  const flags = tcpSkbFlags(skb);
  tcpSkbSetFlags(skb, flags & ~(TCPHDR_FIN | TCPHDR_PSH));
  tcpSkbSetFlags(buff, flags);
  tcpSkbSetSacked(buff, 0);
  tcpSkbSetCbFlags(buff, 0);
  tcpSkbFragmentEor(skb, buff);
  skbSplit(skb, buff, len);
  tcpFragmentTstamp(skb, buff);
  return buff;
}

/**
 * tcp_fragment: cuts `skb` after `len` bytes; the rest becomes a new skb behind it. 0, -EINVAL or -ENOMEM. Works for what
 * was sent already, too: the counters follow.
 */
export function tcpFragment(sk: TcpSock, tcpQueue: number, skb: number, len: number, mssNow: number): number {
  if (len > skbLen(skb)) return -EINVAL;
  // sendmsg can overshoot sk_sndbuf by one skb, and the first and the last of the rtx queue may always be cut; beyond
  // that, a peer that SACKs single bytes could make the queue grow without bound (CVE-2019-11478).
  const limit = sk.skSndbuf + 2 * skbTruesizeOf(GSO_LEGACY_MAX_SIZE);
  if (
    sk.skWmemQueued >> 1 > limit &&
    tcpQueue !== TCP_FRAG_IN_WRITE_QUEUE &&
    skb !== tcpRtxQueueHead(sk) &&
    skb !== tcpRtxQueueTail(sk)
  ) {
    netIncStats(sk.net, LINUX_MIB_TCPWQUEUETOOBIG);
    return -ENOMEM;
  }
  if (skbUncloneKeeptruesize(skb) !== 0) return -ENOMEM;
  const buff = tcpSplitOff(sk, skb, len);
  if (buff === 0) return -ENOMEM;
  tcpSkbSetSacked(buff, tcpSkbSacked(skb));
  f64[(buff + SKB_TSTAMP) >>> 3] = f64[(skb + SKB_TSTAMP) >>> 3];

  const oldFactor = tcpSkbPcount(skb);
  tcpSetSkbTsoSegs(skb, mssNow);
  tcpSetSkbTsoSegs(buff, mssNow);
  tcpSkbCopyTx(buff, skb);
  // If this packet has been sent out already, the counters must follow.
  if (!before(sk.sndNxt, tcpSkbEndSeq(buff))) {
    const diff = oldFactor - tcpSkbPcount(skb) - tcpSkbPcount(buff);
    if (diff !== 0) tcpAdjustPcount(sk, skb, diff);
  }
  __skbHeaderRelease(buff);
  skbQueueAfter(tcpQueue === TCP_FRAG_IN_RTX_QUEUE ? sk.tcpRtxQueue : sk.skWriteQueue, skb, buff);
  return 0;
}

/** tso_fragment: the cheap form for an skb that is all frags and was never sent. 0 or -ENOMEM. */
export function tsoFragment(sk: TcpSock, skb: number, len: number, mssNow: number): number {
  // All of a TSO frame must be composed of paged data.
  if (skbLen(skb) !== skbDataLen(skb)) return tcpFragment(sk, TCP_FRAG_IN_WRITE_QUEUE, skb, len, mssNow);
  const buff = tcpSplitOff(sk, skb, len);
  if (buff === 0) return -ENOMEM;
  tcpSetSkbTsoSegs(skb, mssNow);
  tcpSetSkbTsoSegs(buff, mssNow);
  __skbHeaderRelease(buff);
  skbQueueAfter(sk.skWriteQueue, skb, buff);
  return 0;
}

/** __pskb_trim_head: drops the first `len` bytes. Returns the truesize that was freed. */
export function __pskbTrimHead(skb: number, len: number): number {
  const linear = skbHeadlen(skb);
  if (linear !== 0) {
    const eat = linear < len ? linear : len;
    __skbPull(skb, eat);
    len -= eat;
    if (len === 0) return 0;
  }
  let eat = len;
  let k = 0;
  const nr = skbNrFrags(skb);
  for (let i = 0; i < nr; i++) {
    const size = skbFragSize(skb, i);
    if (size <= eat) {
      skbFragUnref(skb, i);
      eat -= size;
      continue;
    }
    const from = skbFrag(skb, i);
    const to = skbFrag(skb, k);
    u32[(to + FRAG_PAGE) >>> 2] = u32[(from + FRAG_PAGE) >>> 2];
    u32[(to + FRAG_OFFSET) >>> 2] = u32[(from + FRAG_OFFSET) >>> 2] + eat;
    u32[(to + FRAG_LEN) >>> 2] = size - eat;
    eat = 0;
    k++;
  }
  skbSetNrFrags(skb, k);
  u32[(skb + SKB_DATA_LEN) >>> 2] -= len;
  u32[(skb + SKB_LEN) >>> 2] -= len;
  return len;
}

/** tcp_trim_head: the first `len` bytes were acknowledged. 0 or -ENOMEM. */
export function tcpTrimHead(sk: TcpSock, skb: number, len: number): number {
  if (skbUncloneKeeptruesize(skb) !== 0) return -ENOMEM;
  const delta = __pskbTrimHead(skb, len);
  tcpSkbSetSeq(skb, seqAdd(tcpSkbSeq(skb), len));
  u32[(skb + SKB_TRUESIZE) >>> 2] -= delta;
  skWmemQueuedAdd(sk, -delta);
  skMemUncharge(sk, delta);
  // Any change of the length changes the number of segments.
  if (tcpSkbPcount(skb) > 1) tcpSetSkbTsoSegs(skb, tcpSkbMss(skb));
  return 0;
}

/** tcp_eat_one_skb: `src`, the one behind `dst` in the write queue, has given its bytes away. */
function tcpEatOneSkb(sk: Sock, dst: number, src: number): void {
  tcpSkbSetFlags(dst, tcpSkbFlags(dst) | tcpSkbFlags(src));
  const eor = tcpSkbCbFlags(src) & TCPCB_FLAG_EOR;
  tcpSkbSetCbFlags(dst, (tcpSkbCbFlags(dst) & ~TCPCB_FLAG_EOR) | eor);
  tcpSkbCollapseTstamp(dst, src);
  tcpUnlinkWriteQueue(src, sk);
  tcpWmemFreeSkb(sk, src);
}

/** tcp_grow_skb: fills the head of the write queue up from the one behind it, so that fewer and fuller packets leave. */
export function tcpGrowSkb(sk: TcpSock, skb: number, amount: number): void {
  if (tcpSkbIsLast(sk, skb)) return;
  const nextSkb = skbNext(skb);
  if (!tcpSkbCanCollapse(skb, nextSkb)) return;
  const nlen = Math.min(amount, skbLen(nextSkb));
  if (nlen === 0 || skbShift(skb, nextSkb, nlen) === 0) return;
  tcpSkbSetEndSeq(skb, seqAdd(tcpSkbEndSeq(skb), nlen));
  tcpSkbSetSeq(nextSkb, seqAdd(tcpSkbSeq(nextSkb), nlen));
  if (skbLen(nextSkb) === 0) {
    // A FIN on the emptied skb takes a sequence number of its own.
    tcpSkbSetEndSeq(skb, tcpSkbEndSeq(nextSkb));
    tcpEatOneSkb(sk, skb, nextSkb);
  }
}

// ---- joining what is retransmitted ------------------------------------------------------------------------------------------

/** Moves all bytes of `from` to the end of `to`: frags by reference, linear bytes into linear room. False = impossible. */
function tcpSkbAppend(to: number, from: number, len: number): boolean {
  if (skbLen(to) + len >= 65535 * TCP_MIN_GSO_SIZE) return false;
  if (skbDataLen(to) === 0 && len <= skbTailroom(to) && skbHeadlen(to) !== 0) {
    skbCopyBits(from, 0, skbPut(to, len), len);
    return true;
  }
  return skbShift(to, from, len) !== 0;
}

/** tcp_collapse_retrans: joins the skb behind `skb` into it. False if that cannot be done. */
function tcpCollapseRetrans(sk: TcpSock, skb: number): boolean {
  const nextSkb = skbNext(skb);
  const nextSkbSize = skbLen(nextSkb);
  if (nextSkbSize !== 0 && !tcpSkbAppend(skb, nextSkb, nextSkbSize)) return false;
  tcpHighestSackReplace(sk, nextSkb, skb);
  tcpSkbSetEndSeq(skb, tcpSkbEndSeq(nextSkb));
  // Merge over control information. This moves PSH and FIN.
  tcpSkbSetFlags(skb, tcpSkbFlags(skb) | tcpSkbFlags(nextSkb));
  // All done, get rid of the second skb and account for it.
  tcpSkbSetSacked(skb, tcpSkbSacked(skb) | (tcpSkbSacked(nextSkb) & TCPCB_EVER_RETRANS));
  const eor = tcpSkbCbFlags(nextSkb) & TCPCB_FLAG_EOR;
  tcpSkbSetCbFlags(skb, (tcpSkbCbFlags(skb) & ~TCPCB_FLAG_EOR) | eor);
  // Changed transmit queue under us so clear hints.
  if (nextSkb === sk.retransmitSkbHint) sk.retransmitSkbHint = skb;
  tcpAdjustPcount(sk, nextSkb, tcpSkbPcount(nextSkb));
  tcpSkbCollapseTstamp(skb, nextSkb);
  tcpRtxQueueUnlinkAndFree(nextSkb, sk);
  return true;
}

/** tcp_can_collapse. */
function tcpCanCollapse(skb: number): boolean {
  if (tcpSkbPcount(skb) > 1 || skbCloned(skb)) return false;
  return (tcpSkbSacked(skb) & TCPCB_SACKED_ACKED) === 0;
}

/**
 * tcp_retrans_try_collapse: small skbs behind a small one that is retransmitted go along, up to `space` bytes (the MSS),
 * like the repacketization that RFC 1122 §4.2.2.15 allows.
 */
export function tcpRetransTryCollapse(sk: TcpSock, to: number, space: number): void {
  if (sk.net.ipv4.sysctlTcpRetransCollapse === 0) return;
  if ((tcpSkbFlags(to) & TCPHDR_SYN) !== 0) return;
  let first = true;
  let next = 0;
  for (let skb = to; skb !== 0; skb = next) {
    next = skbNext(skb);
    if (!tcpCanCollapse(skb)) break;
    if (!tcpSkbCanCollapse(to, skb)) break;
    space -= skbLen(skb);
    if (first) {
      first = false;
      continue;
    }
    if (space < 0) break;
    if (after(tcpSkbEndSeq(skb), tcpWndEnd(sk))) break;
    if (!tcpCollapseRetrans(sk, to)) break;
  }
}

// ---- MSS and path MTU --------------------------------------------------------------------------------------------------------

/** __tcp_mtu_to_mss: payload of a packet of `pmtu` bytes, options not counted. */
export function __tcpMtuToMss(sk: TcpSock, pmtu: number): number {
  // RFC 1122 §4.2.2.6: MMS_S minus the TCP header.
  let mss = pmtu - sk.icskAfOps.netHeaderLen - TCP_HEADER_SIZE;
  if (mss > sk.rxOpt.mssClamp) mss = sk.rxOpt.mssClamp;
  mss -= sk.icskExtHdrLen;
  // Room for a full set of options and 8 bytes of data stays, whatever the peer says (CVE-2019-11479).
  return Math.max(mss, sk.net.ipv4.sysctlTcpMinSndMss);
}

/** tcp_mtu_to_mss: less the options that every segment carries; SACK blocks are not counted. */
export function tcpMtuToMss(sk: TcpSock, pmtu: number): number {
  return __tcpMtuToMss(sk, pmtu) - (sk.tcpHeaderLen - TCP_HEADER_SIZE);
}

/** tcp_mss_to_mtu: the inverse. */
export function tcpMssToMtu(sk: TcpSock, mss: number): number {
  return mss + sk.tcpHeaderLen + sk.icskExtHdrLen + sk.icskAfOps.netHeaderLen;
}

/** tcp_mtup_init: packetization layer path MTU discovery (RFC 4821) starts. */
export function tcpMtupInit(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  sk.icskMtupEnabled = ipv4.sysctlTcpMtuProbing > 1;
  sk.icskMtupSearchHigh = sk.rxOpt.mssClamp + TCP_HEADER_SIZE + sk.icskAfOps.netHeaderLen;
  sk.icskMtupSearchLow = tcpMssToMtu(sk, ipv4.sysctlTcpBaseMss);
  sk.icskMtupProbeSize = 0;
  if (sk.icskMtupEnabled) sk.icskMtupProbeTimestamp = tcpJiffies32();
}

/**
 * tcp_sync_mss: the path MTU is `pmtu` now; computes and caches the effective MSS. It accounts for the options of every
 * segment and for half of the peer's largest window, not for SACK blocks.
 */
export function tcpSyncMss(sk: TcpSock, pmtu: number): number {
  if (sk.icskMtupSearchHigh > pmtu) sk.icskMtupSearchHigh = pmtu;
  let mssNow = tcpBoundToHalfWnd(sk, tcpMtuToMss(sk, pmtu));
  sk.icskPmtuCookie = pmtu;
  if (sk.icskMtupEnabled) mssNow = Math.min(mssNow, tcpMtuToMss(sk, sk.icskMtupSearchLow));
  sk.mssCache = mssNow;
  return mssNow;
}

const mssOpts: TcpOutOptions = newTcpOutOptions();

/** tcp_current_mss: payload that the next segment may have, SACK blocks that are due counted. */
export function tcpCurrentMss(sk: TcpSock): number {
  let mssNow = sk.mssCache;
  const dst = sk.skDstCache;
  if (dst !== null) {
    const mtu = dstMtu(dst);
    if (mtu !== sk.icskPmtuCookie) mssNow = tcpSyncMss(sk, mtu);
  }
  const headerLen = tcpEstablishedOptions(sk, 0, mssOpts) + TCP_HEADER_SIZE;
  // mss_cache is sized for tcp_header_len; this segment may carry more.
  return mssNow - (headerLen - sk.tcpHeaderLen);
}

/** tcp_mtu_check_reprobe: after tcp_probe_interval the search starts again from the top. */
function tcpMtuCheckReprobe(sk: TcpSock): void {
  const delta = tcpJiffies32() - sk.icskMtupProbeTimestamp;
  if (delta < sk.net.ipv4.sysctlTcpProbeInterval * 1000) return;
  const mss = tcpCurrentMss(sk);
  sk.icskMtupProbeSize = 0;
  sk.icskMtupSearchHigh = sk.rxOpt.mssClamp + TCP_HEADER_SIZE + sk.icskAfOps.netHeaderLen;
  sk.icskMtupSearchLow = tcpMssToMtu(sk, mss);
  sk.icskMtupProbeTimestamp = tcpJiffies32();
}

/** tcp_can_coalesce_send_queue_head: may the first `len` unsent bytes be one packet? */
function tcpCanCoalesceSendQueueHead(sk: TcpSock, len: number): boolean {
  let next = 0;
  for (let skb = tcpSendHead(sk); skb !== 0; skb = next) {
    next = skbNext(skb);
    if (len <= skbLen(skb)) break;
    if (next === 0 || tcpHasTxTstamp(skb) || !tcpSkbCanCollapse(skb, next)) return false;
    len -= skbLen(skb);
  }
  return true;
}

/** tcp_clone_payload: the first `probeSize` unsent bytes, by reference where they are frags. False = it does not fit. */
function tcpClonePayload(sk: TcpSock, to: number, probeSize: number): boolean {
  let len = 0;
  let nr = 0;
  for (let skb = tcpSendHead(sk); skb !== 0 && len < probeSize; skb = skbNext(skb)) {
    if (skbHeadlen(skb) !== 0) return false;
    const frags = skbNrFrags(skb);
    for (let i = 0; i < frags && len < probeSize; i++) {
      const page = skbFragPage(skb, i);
      const off = skbFragOffset(skb, i);
      const todo = Math.min(skbFragSize(skb, i), probeSize - len);
      len += todo;
      if (nr !== 0 && skbFragPage(to, nr - 1) === page && skbFragOffset(to, nr - 1) + skbFragSize(to, nr - 1) === off) {
        skbFragSizeAdd(to, nr - 1, todo);
        continue;
      }
      if (nr === MAX_SKB_FRAGS) {
        skbSetNrFrags(to, 0);
        return false;
      }
      skbFillPageDesc(to, nr++, page, off, todo);
    }
  }
  for (let i = 0; i < nr; i++) skbFragRef(to, i);
  u32[(to + SKB_TRUESIZE) >>> 2] += probeSize;
  u32[(to + SKB_LEN) >>> 2] += probeSize;
  u32[(to + SKB_DATA_LEN) >>> 2] += probeSize;
  __skbHeaderRelease(to);
  return true;
}

/** The same by copying, for linear skbs. */
function tcpCopyPayload(sk: TcpSock, to: number, probeSize: number): void {
  let len = 0;
  for (let skb = tcpSendHead(sk); skb !== 0 && len < probeSize; skb = skbNext(skb)) {
    const todo = Math.min(skbLen(skb), probeSize - len);
    skbCopyBits(skb, 0, skbPut(to, todo), todo);
    len += todo;
  }
}

/**
 * tcp_mtu_probe (RFC 4821 §7): sends one packet that is larger than the MSS, if that is the time for it. 1 = sent, 0 = wait
 * (do not send anything else), -1 = no probe now.
 */
export function tcpMtuProbe(sk: TcpSock): number {
  if (
    !sk.icskMtupEnabled ||
    sk.icskMtupProbeSize !== 0 ||
    sk.icskCaState !== TCP_CA_Open ||
    tcpSndCwnd(sk) < 11 ||
    sk.rxOpt.numSacks !== 0 ||
    sk.rxOpt.dsack
  ) {
    return -1;
  }
  // Binary search between the base and what the interface allows.
  const mssNow = tcpCurrentMss(sk);
  const probeSize = tcpMtuToMss(sk, (sk.icskMtupSearchHigh + sk.icskMtupSearchLow) >> 1);
  const sizeNeeded = probeSize + (sk.reordering + 1) * sk.mssCache;
  const interval = sk.icskMtupSearchHigh - sk.icskMtupSearchLow;
  if (probeSize > tcpMtuToMss(sk, sk.icskMtupSearchHigh) || interval >>> 0 < sk.net.ipv4.sysctlTcpProbeThreshold) {
    tcpMtuCheckReprobe(sk);
    return -1;
  }
  // Have enough data in the send queue to probe, so that the loss of the probe is seen?
  if (seqSub(sk.writeSeq, sk.sndNxt) < sizeNeeded || sk.sndWnd < sizeNeeded) return -1;
  if (after(seqAdd(sk.sndNxt, sizeNeeded), tcpWndEnd(sk))) return 0;
  // Do we need to wait to drain cwnd? With none in flight, that would take forever.
  const inFlight = tcpPacketsInFlight(sk);
  if (inFlight + 2 > tcpSndCwnd(sk)) return inFlight === 0 ? -1 : 0;
  if (!tcpCanCoalesceSendQueueHead(sk, probeSize)) return -1;

  // We're allowed to probe. Build it now.
  const head = tcpSendHead(sk);
  const linear = skbHeadlen(head) !== 0;
  const nskb = tcpStreamAllocSkb(sk, linear ? probeSize : 0, false);
  if (nskb === 0) return -1;
  if (linear) {
    tcpCopyPayload(sk, nskb, probeSize);
  } else if (!tcpClonePayload(sk, nskb, probeSize)) {
    consumeSkb(nskb);
    return -1;
  }
  const truesize = u32[(nskb + SKB_TRUESIZE) >>> 2];
  skForcedMemSchedule(sk, truesize);
  skWmemQueuedAdd(sk, truesize);
  skMemCharge(sk, truesize);
  tcpSkbSetSeq(nskb, tcpSkbSeq(head));
  tcpSkbSetEndSeq(nskb, seqAdd(tcpSkbSeq(head), probeSize));
  tcpSkbSetFlags(nskb, TCPHDR_ACK);
  tcpSkbSetSacked(nskb, 0);
  tcpSkbSetCbFlags(nskb, 0);
  tcpInsertWriteQueueBefore(nskb, head, sk);
  tcpHighestSackReplace(sk, head, nskb);

  let len = 0;
  let next = 0;
  for (let skb = head; skb !== 0; skb = next) {
    next = skbNext(skb);
    const copy = Math.min(skbLen(skb), probeSize - len);
    if (skbLen(skb) <= copy) {
      // All of it is in the probe. EOR goes along.
      tcpEatOneSkb(sk, nskb, skb);
    } else {
      tcpSkbSetFlags(nskb, tcpSkbFlags(nskb) | (tcpSkbFlags(skb) & ~(TCPHDR_FIN | TCPHDR_PSH)));
      __pskbTrimHead(skb, copy);
      tcpSetSkbTsoSegs(skb, mssNow);
      tcpSkbSetSeq(skb, seqAdd(tcpSkbSeq(skb), copy));
    }
    len += copy;
    if (len >= probeSize) break;
  }
  tcpInitTsoSegs(nskb, skbLen(nskb));

  // If this fails, the probe is cut into ordinary segments by tcp_write_xmit.
  if (tcpTransmitSkb(sk, nskb, 1) !== 0) return -1;
  // One packet counts as two: it carries as much.
  tcpSndCwndSet(sk, tcpSndCwnd(sk) - 1);
  tcpEventNewDataSent(sk, nskb);
  sk.icskMtupProbeSize = tcpMssToMtu(sk, skbLen(nskb));
  sk.mtuProbeProbeSeqStart = tcpSkbSeq(nskb);
  sk.mtuProbeProbeSeqEnd = tcpSkbEndSeq(nskb);
  return 1;
}
