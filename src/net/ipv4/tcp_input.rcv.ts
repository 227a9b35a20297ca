/**
 * TCP input, the receiving half: what is done with a segment's text. The receive queue and the out-of-order queue, the
 * window that they leave room for, and when an ACK is due (RFC 9293 §3.10.7.4 "seventh" and "eighth", RFC 5681 §4.2,
 * RFC 2018 §4, RFC 2883).
 *
 * ```
 *            copied_seq         rcv_nxt                  rcv_wup + rcv_wnd
 *  ------------|------------------|-----[ofo]---[ ofo ]------|-------- sequence numbers
 *   read by the|sk_receive_queue: |out_of_order_queue: holes |
 *   user       |in order, may     |before each               |
 *              |overlap slightly  |                          |
 * ```
 */

import { SKB_SHARED_INFO_SIZE, SKB_SIZE, TCPCB_FLAG_HAS_RXTSTAMP } from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { netAddStats, netIncStats } from "../../kernel/mib.ts";
import { delTimer, modTimer, timerPending } from "../../kernel/timer.ts";
import { u8 } from "../../mm/mem.ts";
import {
  skbData,
  skbEnd,
  skbGsoSegs,
  skbGsoSize,
  skbHead,
  skbHeadlen,
  skbLen,
  skbNext,
  skbPrev,
  skbSetGsoSegs,
  skbSetTstamp,
  skbTruesize,
  skbTstamp,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PROTO_MEM,
  SKB_DROP_REASON_TCP_OFO_DROP,
  SKB_DROP_REASON_TCP_OFO_QUEUE_PRUNE,
  SKB_DROP_REASON_TCP_OFOMERGE,
  SKB_DROP_REASON_TCP_OLD_DATA,
  SKB_DROP_REASON_TCP_OVERWINDOW,
  SKB_DROP_REASON_TCP_ZEROWINDOW,
} from "../../uapi/dropreason.ts";
import { EFAULT, ENOMEM } from "../../uapi/errno.ts";
import { INET_ECN_CE, INET_ECN_MASK, INET_ECN_NOT_ECT } from "../../uapi/ip.ts";
import {
  LINUX_MIB_BEYONDWINDOW,
  LINUX_MIB_DELAYEDACKLOST,
  LINUX_MIB_OFOPRUNED,
  LINUX_MIB_PRUNECALLED,
  LINUX_MIB_RCVPRUNED,
  LINUX_MIB_TCPACKCOMPRESSED,
  LINUX_MIB_TCPDSACKOFOSENT,
  LINUX_MIB_TCPDSACKOLDSENT,
  LINUX_MIB_TCPOFODROP,
  LINUX_MIB_TCPOFOMERGE,
  LINUX_MIB_TCPOFOQUEUE,
  LINUX_MIB_TCPRCVCOALESCE,
  LINUX_MIB_TCPRCVCOLLAPSED,
  LINUX_MIB_TCPRCVQDROP,
  LINUX_MIB_TCPZEROWINDOWDROP,
} from "../../uapi/linux_mib.ts";
import { RTAX_QUICKACK } from "../../uapi/rtnetlink.ts";
import {
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_MSS_DEFAULT,
  TCP_SYN_RECV,
  TCP_TIME_WAIT,
  TCPHDR_FIN,
  TCPHDR_PSH,
  TCPHDR_SYN,
  TCPHDR_URG,
} from "../../uapi/tcp.ts";
import { dstMetric } from "../core/dst.ts";
import { msgIterCopyTo } from "../core/iov_iter.ts";
import type { SkBuffHead } from "../core/skbuff.ts";
import {
  __skbPull,
  allocSkb,
  consumeSkb,
  kfreeSkbPartial,
  kfreeSkbReason,
  skbCopyBits,
  skbCopyToUser,
  skbDstDrop,
  skbPeek,
  skbPeekTail,
  skbPut,
  skbQueueAfter,
  skbQueueBefore,
  skbQueueHead,
  skbQueuePurge,
  skbQueueTail,
  skbTryCoalesce,
  skbUnlink,
} from "../core/skbuff.ts";
import type { Msghdr } from "../core/sock.ts";
import {
  RCV_SHUTDOWN,
  SOCK_DEAD,
  SOCK_DONE,
  SOCK_RCVBUF_LOCK,
  SOCK_SNDBUF_LOCK,
  SOCK_URGINLINE,
  skbSetOwnerR,
  skForcedMemSchedule,
  skMemCharge,
  skMemoryAllocated,
  skProtMemLimits,
  skRmemSchedule,
  skSendSigurg,
  sockFlag,
  sockSetFlag,
} from "../core/sock.ts";
import {
  inetCskAckScheduled,
  inetCskEnterPingpongMode,
  inetCskExitPingpongMode,
  inetCskInPingpongMode,
  inetCskScheduleAck,
} from "./inet_connection_sock.ts";
import { ICSK_ACK_NOMEM, ICSK_ACK_NOW, ICSK_ACK_PUSHED, ICSK_ACK_PUSHED2 } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { after, before, seqAdd, seqSub } from "./seq.ts";
import { tcpSetState, tcpStreamIsReadable } from "./tcp.ts";
import { CA_EVENT_ECN_IS_CE, CA_EVENT_ECN_NO_CE } from "./tcp_cong.ts";
import { tcpAccecnSpuriousRetrans, tcpCaNeedsEcn, tcpEcnModeAny, tcpEcnModeRfc3168 } from "./tcp_ecn.ts";
import {
  TCP_ATO_MIN,
  TCP_CHRONO_SNDBUF_LIMITED,
  TCP_DELACK_MAX,
  TCP_ECN_DEMAND_CWR,
  TCP_ECN_SEEN,
  TCP_FASTRETRANS_THRESH,
  TCP_FLAG_FIN,
  TCP_FLAG_PSH,
  TCP_FLAG_SYN,
  TCP_FLAG_URG,
  TCP_HEADER_SIZE,
  TCP_INIT_CWND,
  TCP_MAX_QUICKACKS,
  TCP_MIN_MSS,
  TCP_RMEM_TO_WIN_SCALE,
  TCP_URG_NOTYET,
  TCP_URG_VALID,
  tcpAdjustRcvSsthresh,
  tcpCaEvent,
  tcpFastPathCheck,
  tcpFlagWord,
  tcpFullSpace,
  tcpHdr,
  tcpHdrlen,
  tcpIsSack,
  tcpJiffies32,
  tcpMstampRefresh,
  tcpPacketsInFlight,
  tcpPushPendingFrames,
  tcpReceiveWindow,
  tcpSndCwnd,
  tcpSpace,
  tcpSpaceFromWin,
  tcpStampUsDelta,
  tcpTimeStampTs,
  tcpUnderMemoryPressure,
  tcpWinFromSpace,
  thDoff,
  thFlags,
  thSeq,
  thUrgPtr,
} from "./tcp_h.ts";
import { tcpSackReset } from "./tcp_input.sack.ts";
import { tcpTimeWait } from "./tcp_minisocks.ts";
import { __tcpSelectWindow, tcpChronoStop, tcpSendAck, tcpSendDelayedAck } from "./tcp_output.ts";
import type { TcpSackBlock, TcpSock } from "./tcp_sock.ts";
import {
  tcpSkbAckSeq,
  tcpSkbCbFlags,
  tcpSkbDsfield,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbSeq,
  tcpSkbSetAckSeq,
  tcpSkbSetCbFlags,
  tcpSkbSetDsfield,
  tcpSkbSetEndSeq,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";

/** The kernel's sizes of what every skb carries besides its payload (x86-64): send buffers are sized with them. */
const SKB_OVERHEAD = 256;
const SKB_SHINFO_OVERHEAD = 320;
const MAX_TCP_HEADER_ROOM = 320;
/** At most this many SACK blocks fit beside a timestamp, so this many are kept (RFC 2018 §3). */
const TCP_NUM_SACKS = 4;
/** A third hole in the sequence space ends the compression of ACKs. */
const TCP_SACK_BLOCKS_EXPECTED = 2;
/** Flags of the fourth word whose absence says that a segment should be full sized. */
const TCP_REMNANT = TCP_FLAG_FIN | TCP_FLAG_URG | TCP_FLAG_SYN | TCP_FLAG_PSH;
/** Payload bytes of one buffer of a collapsed queue. */
const COLLAPSE_BYTES: number = 16384 - SKB_SHARED_INFO_SIZE;

// ---- what the sender's segments look like ---------------------------------------------------------------------------

/**
 * tcp_measure_rcv_mss: how large the peer's full-sized segments are, which decides when an ACK is due, and what part
 * of the buffer memory of its segments is payload, which decides how much window the buffer is worth.
 * Runs while data starts behind the TCP header.
 */
export function tcpMeasureRcvMss(sk: TcpSock, skb: number): void {
  const ack = sk.icskAck;
  const lss = ack.lastSegSize;
  ack.lastSegSize = 0;
  const gsoSize = skbGsoSize(skb);
  let len = gsoSize !== 0 ? gsoSize : skbLen(skb);
  if (len >= ack.rcvMss) {
    if (len !== ack.rcvMss) {
      const ratio = Math.floor((skbLen(skb) * (1 << TCP_RMEM_TO_WIN_SCALE)) / skbTruesize(skb)) & 0xff;
      const newRatio = ratio !== 0 ? ratio : 1;
      if (newRatio !== sk.scalingRatio) {
        sk.scalingRatio = newRatio;
        sk.windowClamp = tcpWinFromSpace(sk, sk.skRcvbuf);
        if (sk.windowClamp < sk.rcvqSpaceSpace) sk.rcvqSpaceSpace = sk.windowClamp;
      }
    }
    ack.rcvMss = Math.min(len, sk.advmss);
    // Exactly one MSS with PSH: probably the end of a write, so that a reader that takes all of it acknowledges it.
    if ((tcpSkbFlags(skb) & TCPHDR_PSH) !== 0) ack.pending |= ICSK_ACK_PUSHED;
    return;
  }
  // SACK blocks make the payload of full-sized segments vary: compare lengths with the header included.
  len += skbData(skb) - tcpHdr(skb);
  if (
    len >= TCP_MSS_DEFAULT + TCP_HEADER_SIZE ||
    // Without PSH the segment should be full sized, unless the peer is broken.
    (len >= TCP_MIN_MSS + TCP_HEADER_SIZE && (tcpFlagWord(tcpHdr(skb)) & TCP_REMNANT) === 0)
  ) {
    len -= sk.tcpHeaderLen;
    ack.lastSegSize = len;
    if (len === lss) {
      ack.rcvMss = len;
      return;
    }
  }
  if ((ack.pending & ICSK_ACK_PUSHED) !== 0) ack.pending |= ICSK_ACK_PUSHED2;
  ack.pending |= ICSK_ACK_PUSHED;
}

// ---- quick ACKs -----------------------------------------------------------------------------------------------------

/** tcp_incr_quickack: the next segments are acknowledged at once: half a window of them, at most `maxQuickacks`. */
function tcpIncrQuickack(sk: TcpSock, maxQuickacks: number): void {
  let quickacks = Math.floor(sk.rcvWnd / (2 * sk.icskAck.rcvMss));
  if (quickacks === 0) quickacks = 2;
  if (quickacks > maxQuickacks) quickacks = maxQuickacks;
  if (quickacks > sk.icskAck.quick) sk.icskAck.quick = quickacks;
}

/** tcp_enter_quickack_mode: the sender may be waiting (loss, a tiny window): no ACK is delayed for a while. */
export function tcpEnterQuickackMode(sk: TcpSock, maxQuickacks: number): void {
  tcpIncrQuickack(sk, maxQuickacks);
  inetCskExitPingpongMode(sk);
  sk.icskAck.ato = TCP_ATO_MIN;
}

/** tcp_in_quickack_mode. */
function tcpInQuickackMode(sk: TcpSock): boolean {
  const dst = sk.skDstCache;
  if (dst !== null && dstMetric(dst, RTAX_QUICKACK) !== 0) return true;
  return sk.icskAck.quick !== 0 && !inetCskInPingpongMode(sk);
}

/** tcp_data_ecn_check: what the IP header of a data segment says about congestion (RFC 3168 §6.1.3). */
function tcpDataEcnCheck(sk: TcpSock, skb: number): void {
  if (!tcpEcnModeAny(sk)) return;
  switch (tcpSkbDsfield(skb) & INET_ECN_MASK) {
    case INET_ECN_NOT_ECT:
      // A sender that uses ECT and now does not: RFC 3168 §6.1.5, it is a retransmission.
      if ((sk.ecnFlags & TCP_ECN_SEEN) !== 0) tcpEnterQuickackMode(sk, 2);
      break;
    case INET_ECN_CE:
      if (tcpCaNeedsEcn(sk)) tcpCaEvent(sk, CA_EVENT_ECN_IS_CE);
      if (!tcpEcnModeRfc3168(sk)) break;
      if ((sk.ecnFlags & TCP_ECN_DEMAND_CWR) === 0) {
        // The sender can have a very low cwnd: better not to delay ACKs.
        tcpEnterQuickackMode(sk, 2);
        sk.ecnFlags |= TCP_ECN_DEMAND_CWR;
      }
      sk.ecnFlags |= TCP_ECN_SEEN;
      break;
    default:
      if (tcpCaNeedsEcn(sk)) tcpCaEvent(sk, CA_EVENT_ECN_NO_CE);
      if (tcpEcnModeRfc3168(sk)) sk.ecnFlags |= TCP_ECN_SEEN;
  }
}

// ---- buffers and windows --------------------------------------------------------------------------------------------

/** tcp_sndbuf_expand: room for what cwnd lets be in flight, twice (RFC 5681 §3.2: recovery sends beyond it). */
export function tcpSndbufExpand(sk: TcpSock): void {
  // The worst case is one segment an skb, whose head is a power of two.
  let perMss = Math.max(sk.rxOpt.mssClamp, sk.mssCache) + MAX_TCP_HEADER_ROOM + SKB_SHINFO_OVERHEAD;
  perMss = 2 ** (32 - Math.clz32(perMss - 1)) + SKB_OVERHEAD;
  const nrSegs = Math.max(TCP_INIT_CWND, tcpSndCwnd(sk), sk.reordering + 1);
  const factor = sk.icskCaOps.sndbufExpand !== undefined ? sk.icskCaOps.sndbufExpand(sk) : 2;
  const sndmem = factor * nrSegs * perMss;
  if (sk.skSndbuf < sndmem) sk.skSndbuf = Math.min(sndmem, sk.net.ipv4.sysctlTcpWmem[2] as number);
}

/** truesize_adjust: what of the skb's memory a stream of such segments costs (an empty head costs nothing). */
export function truesizeAdjust(adjust: boolean, skb: number): number {
  const truesize = skbTruesize(skb);
  if (!adjust || skbHeadlen(skb) !== 0) return truesize;
  const adjusted = truesize - (skbEnd(skb) - skbHead(skb) + SKB_SIZE + SKB_SHARED_INFO_SIZE);
  // A driver that accounts less than it uses is not believed.
  return adjusted < skbLen(skb) ? truesize : adjusted;
}

/** __tcp_grow_window: bloated segments let the window grow slower, and not at all near the top. */
function __tcpGrowWindow(sk: TcpSock, len: number, skbTruesize: number): number {
  let truesize = tcpWinFromSpace(sk, skbTruesize) >> 1;
  let window = tcpWinFromSpace(sk, sk.net.ipv4.sysctlTcpRmem[2] as number) >> 1;
  while (sk.rcvSsthresh <= window) {
    if (truesize <= len) return 2 * sk.icskAck.rcvMss;
    truesize >>= 1;
    window >>= 1;
  }
  return 0;
}

/** tcp_grow_window: slow start of the receive window: a segment of `len` bytes that cost `truesize` has come. */
export function tcpGrowWindow(sk: TcpSock, len: number, truesize: number): void {
  const room = Math.min(sk.windowClamp, tcpSpace(sk)) - sk.rcvSsthresh;
  if (room <= 0) return;
  if (tcpUnderMemoryPressure(sk)) {
    tcpAdjustRcvSsthresh(sk);
    return;
  }
  // Segments with this overhead will fit into the buffer: open by two of them; else look closer.
  let incr = tcpWinFromSpace(sk, truesize) <= len ? 2 * sk.advmss : __tcpGrowWindow(sk, len, truesize);
  if (incr !== 0) {
    if (incr < 2 * len) incr = 2 * len;
    sk.rcvSsthresh += Math.min(room, incr);
    sk.icskAck.quick |= 1;
  }
}

/** tcp_init_buffer_space: the connection stands: fixes its first window clamp and starts measuring the reader. */
export function tcpInitBufferSpace(sk: TcpSock): void {
  const appWin = sk.net.ipv4.sysctlTcpAppWin;
  if ((sk.skUserlocks & SOCK_SNDBUF_LOCK) === 0) tcpSndbufExpand(sk);
  tcpMstampRefresh(sk);
  sk.rcvqSpaceTime = sk.tcpMstamp;
  sk.rcvqSpaceSeq = sk.copiedSeq;

  const maxwin = tcpFullSpace(sk);
  if (sk.windowClamp >= maxwin) {
    sk.windowClamp = maxwin;
    if (appWin !== 0 && maxwin > 4 * sk.advmss) {
      sk.windowClamp = Math.max(maxwin - Math.floor(maxwin / 2 ** appWin), 4 * sk.advmss);
    }
  }
  // Leaves room for one segment.
  if (appWin !== 0 && sk.windowClamp > 2 * sk.advmss && sk.windowClamp + sk.advmss > maxwin) {
    sk.windowClamp = Math.max(2 * sk.advmss, maxwin - sk.advmss);
  }
  sk.rcvSsthresh = Math.min(sk.rcvSsthresh, sk.windowClamp);
  sk.sndCwndStamp = tcpJiffies32();
  sk.rcvqSpaceSpace = Math.min(sk.rcvSsthresh, sk.rcvWnd, TCP_INIT_CWND * sk.advmss);
}

/** tcp_clamp_window: the buffer is full: give it more memory if that is allowed, else shrink the window. */
export function tcpClampWindow(sk: TcpSock): void {
  const rmem2 = sk.net.ipv4.sysctlTcpRmem[2] as number;
  sk.icskAck.quick = 0;
  if (
    sk.skRcvbuf < rmem2 &&
    (sk.skUserlocks & SOCK_RCVBUF_LOCK) === 0 &&
    !tcpUnderMemoryPressure(sk) &&
    skMemoryAllocated(sk) < skProtMemLimits(sk, 0)
  ) {
    sk.skRcvbuf = Math.min(sk.skRmemAlloc, rmem2);
  }
  if (sk.skRmemAlloc > sk.skRcvbuf) sk.rcvSsthresh = Math.min(sk.windowClamp, 2 * sk.advmss);
}

/** tcp_initialize_rcv_mss: a guess of the peer's segment size; the first segments correct it. */
export function tcpInitializeRcvMss(sk: TcpSock): void {
  let hint = Math.min(sk.advmss, sk.mssCache);
  hint = Math.min(hint, sk.rcvWnd >>> 1, TCP_MSS_DEFAULT);
  sk.icskAck.rcvMss = Math.max(hint, TCP_MIN_MSS);
}

// ---- the receiver's own RTT, and the size of its buffer (dynamic right-sizing) --------------------------------------

/**
 * tcp_rcv_rtt_update: rtt_us holds the RTT times 8. Samples that are the time to fill a window (`winDep`) are upper
 * bounds, so only smaller ones count; those from timestamps are averaged while the reader keeps up.
 */
function tcpRcvRttUpdate(tp: TcpSock, sample: number, winDep: boolean): void {
  const old = tp.rcvRttEstRttUs;
  const m = sample * 8;
  if (old === 0 || m < old) {
    tp.rcvRttEstRttUs = m;
    return;
  }
  // With bytes still unread the sender may have been stopped by the window.
  if (winDep || tp.rcvNxt !== tp.copiedSeq) return;
  tp.rcvRttEstRttUs = old - Math.floor(old / 8) + sample;
}

/** tcp_rcv_rtt_measure: without timestamps: how long a whole window took. */
function tcpRcvRttMeasure(tp: TcpSock): void {
  if (tp.rcvRttEstTime !== 0) {
    if (before(tp.rcvNxt, tp.rcvRttEstSeq)) return;
    const delta = tcpStampUsDelta(tp.tcpMstamp, tp.rcvRttEstTime);
    tcpRcvRttUpdate(tp, delta !== 0 ? delta : 1, true);
  }
  tp.rcvRttEstSeq = seqAdd(tp.rcvNxt, tp.rcvWnd);
  tp.rcvRttEstTime = tp.tcpMstamp;
}

/** tcp_rtt_tsopt_us: RTT by the echoed timestamp in microseconds, -1 if it makes no sense. 0 becomes `minDelta` ms. */
export function tcpRttTsoptUs(tp: TcpSock, minDelta: number): number {
  let delta = (tcpTimeStampTs(tp) - tp.rxOpt.rcvTsecr) >>> 0;
  if (delta >= 0x7fffffff / 1000) return -1;
  if (delta === 0) delta = minDelta;
  return delta * 1000;
}

/** tcp_rcv_rtt_measure_ts: a full-sized segment echoes a timestamp that no earlier one did. */
export function tcpRcvRttMeasureTs(sk: TcpSock, skb: number): void {
  if (sk.rxOpt.rcvTsecr === sk.rcvRttLastTsecr) return;
  sk.rcvRttLastTsecr = sk.rxOpt.rcvTsecr;
  if (seqSub(tcpSkbEndSeq(skb), tcpSkbSeq(skb)) >= sk.icskAck.rcvMss) {
    const delta = tcpRttTsoptUs(sk, 0);
    if (delta > 0) tcpRcvRttUpdate(sk, delta, false);
  }
}

/** tcp_rcvbuf_grow: the reader takes `newval` bytes an RTT: the buffer should hold what may be in flight. */
function tcpRcvbufGrow(sk: TcpSock, newval: number): void {
  const oldval = sk.rcvqSpaceSpace;
  sk.rcvqSpaceSpace = newval;
  if (sk.net.ipv4.sysctlTcpModerateRcvbuf === 0 || (sk.skUserlocks & SOCK_RCVBUF_LOCK) !== 0) return;
  // The measurement is one RTT late.
  let rcvwin = newval * 2;
  const rttUs = Math.floor(sk.rcvRttEstRttUs / 8);
  const rttThreshold = sk.net.ipv4.sysctlTcpRcvbufLowRtt;
  if (rttUs < rttThreshold) {
    // The shorter the RTT the sooner the next measurement: a large buffer would only spoil the caches.
    rcvwin += Math.floor((rcvwin * rttUs) / rttThreshold);
  } else if (oldval !== 0) {
    // In slow start the sender doubles its rate every RTT.
    rcvwin += Math.floor((2 * rcvwin * (newval - oldval)) / oldval);
  }
  // Behind a hole nothing can be read, whatever the reader does.
  const last = skbPeekTail(sk.outOfOrderQueue);
  if (last !== 0) rcvwin += seqSub(tcpSkbEndSeq(last), sk.rcvNxt);
  const rcvbuf = Math.min(tcpSpaceFromWin(sk, rcvwin), sk.net.ipv4.sysctlTcpRmem[2] as number);
  if (rcvbuf > sk.skRcvbuf) {
    sk.skRcvbuf = rcvbuf;
    sk.windowClamp = tcpWinFromSpace(sk, rcvbuf);
  }
}

/**
 * tcp_rcv_space_adjust: the user has read: once an RTT, sees whether the buffer holds it back. What still waits to be
 * read does not count as taken.
 */
export function tcpRcvSpaceAdjust(sk: TcpSock): void {
  if (sk.rcvRttEstRttUs === 0) return;
  // By the time of the last segment: this runs with every read.
  if (tcpStampUsDelta(sk.tcpMstamp, sk.rcvqSpaceTime) < Math.floor(sk.rcvRttEstRttUs / 8)) return;
  const copied = seqSub(sk.copiedSeq, sk.rcvqSpaceSeq) - seqSub(sk.rcvNxt, sk.copiedSeq);
  if (copied > sk.rcvqSpaceSpace) tcpRcvbufGrow(sk, copied);
  sk.rcvqSpaceSeq = sk.copiedSeq;
  sk.rcvqSpaceTime = sk.tcpMstamp;
}

/**
 * tcp_event_data_recv: in-order data of `len` bytes has come: schedules its ACK and learns the pace of the sender (ato,
 * the delay of ACKs, follows the gaps between segments). tcp_measure_rcv_mss ran before the skb was queued, since it
 * may be merged away by now; `truesize` as of then.
 */
export function tcpEventDataRecv(sk: TcpSock, skb: number, len: number, truesize: number): void {
  const ack = sk.icskAck;
  inetCskScheduleAck(sk);
  tcpRcvRttMeasure(sk);
  const now = tcpJiffies32();
  if (ack.ato === 0) {
    // The first data segment: the sender is in slow start.
    tcpIncrQuickack(sk, TCP_MAX_QUICKACKS);
    ack.ato = TCP_ATO_MIN;
  } else {
    const m = (now - ack.lrcvtime) * USEC_PER_JIFFY;
    if (m <= TCP_ATO_MIN / 2) {
      ack.ato = halfJiffies(ack.ato) + TCP_ATO_MIN / 2;
    } else if (m < ack.ato) {
      ack.ato = Math.min(halfJiffies(ack.ato) + m, sk.icskRto, TCP_DELACK_MAX);
    } else if (m > sk.icskRto) {
      // So long a gap: the sender starts over with a small window.
      tcpIncrQuickack(sk, TCP_MAX_QUICKACKS);
    }
  }
  ack.lrcvtime = now;
  tcpDataEcnCheck(sk, skb);
  if (len >= 128) tcpGrowWindow(sk, len, truesize);
}

/** Half of a duration, in whole jiffies. */
function halfJiffies(us: number): number {
  return Math.floor(us / (2 * USEC_PER_JIFFY)) * USEC_PER_JIFFY;
}

// ---- SACK, receiver's side (RFC 2018 §4, RFC 2883 §4) ---------------------------------------------------------------

/** tcp_sack_extend: joins the range to the block if they touch. */
function tcpSackExtend(sp: TcpSackBlock, seq: Seq, endSeq: Seq): boolean {
  if (after(seq, sp.endSeq) || after(sp.startSeq, endSeq)) return false;
  if (before(seq, sp.startSeq)) sp.startSeq = seq;
  if (after(endSeq, sp.endSeq)) sp.endSeq = endSeq;
  return true;
}

/** tcp_dsack_set: the next ACK reports this range as received twice. */
function tcpDsackSet(sk: TcpSock, seq: Seq, endSeq: Seq): void {
  if (!tcpIsSack(sk) || sk.net.ipv4.sysctlTcpDsack === 0) return;
  netIncStats(sk.net, before(seq, sk.rcvNxt) ? LINUX_MIB_TCPDSACKOLDSENT : LINUX_MIB_TCPDSACKOFOSENT);
  sk.rxOpt.dsack = true;
  const block = sk.duplicateSack[0] as TcpSackBlock;
  block.startSeq = seq;
  block.endSeq = endSeq;
}

/** tcp_dsack_extend. */
function tcpDsackExtend(sk: TcpSock, seq: Seq, endSeq: Seq): void {
  if (!sk.rxOpt.dsack) tcpDsackSet(sk, seq, endSeq);
  else tcpSackExtend(sk.duplicateSack[0] as TcpSackBlock, seq, endSeq);
}

/** tcp_send_dupack: RFC 9293 §3.10.7.4, an unacceptable segment is answered with an ACK, and its data as a D-SACK. */
export function tcpSendDupack(sk: TcpSock, skb: number): void {
  const seq = tcpSkbSeq(skb);
  let endSeq = tcpSkbEndSeq(skb);
  if (endSeq !== seq && before(seq, sk.rcvNxt)) {
    netIncStats(sk.net, LINUX_MIB_DELAYEDACKLOST);
    tcpEnterQuickackMode(sk, TCP_MAX_QUICKACKS);
    if (tcpIsSack(sk) && sk.net.ipv4.sysctlTcpDsack !== 0) {
      tcpAccecnSpuriousRetrans(sk, skb);
      if (after(endSeq, sk.rcvNxt)) endSeq = sk.rcvNxt;
      tcpDsackSet(sk, seq, endSeq);
    }
  }
  tcpSendAck(sk);
}

/** Takes block `at` out of the list; its object goes to the end. */
function zapSack(tp: TcpSock, at: number): void {
  const acks = tp.selectiveAcks;
  const gone = acks[at] as TcpSackBlock;
  const last = --tp.rxOpt.numSacks;
  for (let i = at; i < last; i++) acks[i] = acks[i + 1] as TcpSackBlock;
  acks[last] = gone;
}

/** tcp_sack_maybe_coalesce: the first block has grown: it may have reached others. */
function tcpSackMaybeCoalesce(tp: TcpSock): void {
  const first = tp.selectiveAcks[0] as TcpSackBlock;
  for (let i = 1; i < tp.rxOpt.numSacks; ) {
    const walk = tp.selectiveAcks[i] as TcpSackBlock;
    if (tcpSackExtend(first, walk.startSeq, walk.endSeq)) zapSack(tp, i);
    else i++;
  }
}

/** tcp_sack_compress_send_ack: sends the ACK that compression has held back. */
export function tcpSackCompressSendAck(sk: TcpSock): void {
  if (sk.compressedAck === 0) return;
  delTimer(sk.compressedAckTimer);
  // One of them is sent after all.
  netAddStats(sk.net, LINUX_MIB_TCPACKCOMPRESSED, sk.compressedAck - 1);
  sk.compressedAck = 0;
  tcpSendAck(sk);
}

/** tcp_sack_new_ofo_skb: RFC 2018 §4: the block with the most recently received segment comes first. */
function tcpSackNewOfoSkb(sk: TcpSock, seq: Seq, endSeq: Seq): void {
  const acks = sk.selectiveAcks;
  const cur = sk.rxOpt.numSacks;
  let i = 0;
  for (; i < cur; i++) {
    if (!tcpSackExtend(acks[i] as TcpSackBlock, seq, endSeq)) continue;
    if (i >= TCP_SACK_BLOCKS_EXPECTED) tcpSackCompressSendAck(sk);
    const hit = acks[i] as TcpSackBlock;
    for (; i > 0; i--) acks[i] = acks[i - 1] as TcpSackBlock;
    acks[0] = hit;
    if (cur > 1) tcpSackMaybeCoalesce(sk);
    return;
  }
  if (i >= TCP_SACK_BLOCKS_EXPECTED) tcpSackCompressSendAck(sk);
  // A new block in front; the oldest one is forgotten if there are too many.
  if (i >= TCP_NUM_SACKS) {
    i--;
    sk.rxOpt.numSacks--;
  }
  const block = acks[i] as TcpSackBlock;
  for (; i > 0; i--) acks[i] = acks[i - 1] as TcpSackBlock;
  block.startSeq = seq;
  block.endSeq = endSeq;
  acks[0] = block;
  sk.rxOpt.numSacks++;
}

/** tcp_sack_remove: RCV.NXT has advanced: blocks that it covers are gone. */
function tcpSackRemove(tp: TcpSock): void {
  if (tp.outOfOrderQueue.qlen === 0) {
    tp.rxOpt.numSacks = 0;
    return;
  }
  for (let i = 0; i < tp.rxOpt.numSacks; ) {
    const sp = tp.selectiveAcks[i] as TcpSackBlock;
    if (!before(tp.rcvNxt, sp.startSeq)) zapSack(tp, i);
    else i++;
  }
}

// ---- the queues -----------------------------------------------------------------------------------------------------

/** tcp_drop_reason: an skb of this socket is dropped and counted. */
export function tcpDropReason(sk: TcpSock, skb: number, reason: number): void {
  sk.skDrops += Math.max(1, skbGsoSegs(skb));
  kfreeSkbReason(skb, reason);
}

/** tcp_try_coalesce: appends `from` to `to` if it continues it. The caller frees `from` then. */
function tcpTryCoalesce(sk: TcpSock, to: number, from: number): boolean {
  if (tcpSkbSeq(from) !== tcpSkbEndSeq(to)) return false;
  const delta = skbTryCoalesce(to, from);
  if (delta < 0) return false;
  sk.skRmemAlloc += delta;
  skMemCharge(sk, delta);
  netIncStats(sk.net, LINUX_MIB_TCPRCVCOALESCE);
  tcpSkbSetEndSeq(to, tcpSkbEndSeq(from));
  tcpSkbSetAckSeq(to, tcpSkbAckSeq(from));
  tcpSkbSetFlags(to, tcpSkbFlags(to) | tcpSkbFlags(from));
  const cbFlags = tcpSkbCbFlags(from);
  if ((cbFlags & TCPCB_FLAG_HAS_RXTSTAMP) !== 0) {
    tcpSkbSetCbFlags(to, tcpSkbCbFlags(to) | TCPCB_FLAG_HAS_RXTSTAMP);
    skbSetTstamp(to, skbTstamp(from));
  }
  return true;
}

/** tcp_ooo_try_coalesce. */
function tcpOooTryCoalesce(sk: TcpSock, to: number, from: number): boolean {
  const gsoSegs = Math.max(1, skbGsoSegs(to)) + Math.max(1, skbGsoSegs(from));
  if (!tcpTryCoalesce(sk, to, from)) return false;
  // tcp_drop() has to count the segments that were lost with it.
  skbSetGsoSegs(to, Math.min(gsoSegs, 0xffff));
  return true;
}

/** tcp_rcv_nxt_update. */
function tcpRcvNxtUpdate(tp: TcpSock, s: Seq): void {
  tp.bytesReceived += seqSub(s, tp.rcvNxt);
  tp.rcvNxt = s;
}

/** tcp_queue_rcv: puts in-order data on the receive queue. True if the tail took its bytes (the caller frees it). */
export function tcpQueueRcv(sk: TcpSock, skb: number): boolean {
  const tail = skbPeekTail(sk.skReceiveQueue);
  const eaten = tail !== 0 && tcpTryCoalesce(sk, tail, skb);
  tcpRcvNxtUpdate(sk, tcpSkbEndSeq(skb));
  if (!eaten) {
    skbQueueTail(sk.skReceiveQueue, skb);
    skbSetOwnerR(skb, sk);
  }
  return eaten;
}

/** tcp_ofo_queue: a hole was filled: moves what is in order now to the receive queue. */
function tcpOfoQueue(sk: TcpSock): void {
  const dsackHigh = sk.rcvNxt;
  const queue = sk.outOfOrderQueue;
  for (let skb = skbPeek(queue); skb !== 0; skb = skbPeek(queue)) {
    if (after(tcpSkbSeq(skb), sk.rcvNxt)) break;
    if (before(tcpSkbSeq(skb), dsackHigh)) {
      // RFC 2883 §4: only what really came twice is reported.
      const end = tcpSkbEndSeq(skb);
      tcpDsackExtend(sk, tcpSkbSeq(skb), before(end, dsackHigh) ? end : dsackHigh);
    }
    skbUnlink(skb, queue);
    if (!after(tcpSkbEndSeq(skb), sk.rcvNxt)) {
      tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_OFO_DROP);
      continue;
    }
    const tail = skbPeekTail(sk.skReceiveQueue);
    const eaten = tail !== 0 && tcpTryCoalesce(sk, tail, skb);
    tcpRcvNxtUpdate(sk, tcpSkbEndSeq(skb));
    const fin = (tcpSkbFlags(skb) & TCPHDR_FIN) !== 0;
    if (eaten) kfreeSkbPartial(skb);
    else skbQueueTail(sk.skReceiveQueue, skb);
    if (fin) {
      // It purges the out-of-order queue.
      tcpFin(sk);
      break;
    }
  }
  sk.oooLastSkb = skbPeekTail(queue);
}

/** tcp_can_ingest: one skb may go beyond the buffer, whatever its size: the window was offered. */
function tcpCanIngest(sk: TcpSock): boolean {
  return sk.skRmemAlloc <= sk.skRcvbuf;
}

/** tcp_try_rmem_schedule: memory for an skb of `size`, if need be after tidying the queues up. False: none. */
function tcpTryRmemSchedule(sk: TcpSock, skb: number, size: number): boolean {
  if (!tcpCanIngest(sk) || !skRmemSchedule(sk, skb, size)) {
    if (tcpPruneQueue(sk, skb) < 0) return false;
    while (!skRmemSchedule(sk, skb, size)) if (!tcpPruneOfoQueue(sk, skb)) return false;
  }
  return true;
}

/**
 * tcp_data_queue_ofo: data beyond a hole. The queue is sorted by sequence number, no skb in it covers another one
 * whole; neighbours may overlap in part (tcp_recvmsg reads by sequence number).
 */
function tcpDataQueueOfo(sk: TcpSock, skb: number): void {
  tcpDataEcnCheck(sk, skb);
  if (!tcpTryRmemSchedule(sk, skb, skbTruesize(skb))) {
    netIncStats(sk.net, LINUX_MIB_TCPOFODROP);
    sk.skDataReady(sk);
    tcpDropReason(sk, skb, SKB_DROP_REASON_PROTO_MEM);
    return;
  }
  tcpMeasureRcvMss(sk, skb);
  // No header prediction while there is a hole.
  sk.predFlags = 0;
  inetCskScheduleAck(sk);
  sk.rcvOoopack += Math.max(1, skbGsoSegs(skb));
  netIncStats(sk.net, LINUX_MIB_TCPOFOQUEUE);

  const seq = tcpSkbSeq(skb);
  const endSeq = tcpSkbEndSeq(skb);
  const len = skbLen(skb);
  const truesize = truesizeAdjust(true, skb);
  const queue = sk.outOfOrderQueue;
  const last = skbPeekTail(queue);
  const isSack = tcpIsSack(sk);
  let queued = true;

  if (last === 0) {
    if (isSack) {
      sk.rxOpt.numSacks = 1;
      const block = sk.selectiveAcks[0] as TcpSackBlock;
      block.startSeq = seq;
      block.endSeq = endSeq;
    }
    skbQueueHead(queue, skb);
  } else {
    // The usual place is the end.
    let prev = last;
    while (prev !== 0 && before(seq, tcpSkbSeq(prev))) prev = skbPrev(prev);
    queued = tcpOfoInsert(sk, skb, prev);
    if (!queued && isSack && ofoMerged) tcpGrowWindow(sk, len, truesize);
    if (isSack) tcpSackNewOfoSkb(sk, seq, endSeq);
  }
  sk.oooLastSkb = skbPeekTail(queue);
  if (queued) {
    // Without SACK the window must not move, so that the ACK counts as a duplicate (RFC 5681 §2).
    if (isSack) tcpGrowWindow(sk, len, skbTruesize(skb));
    skbSetOwnerR(skb, sk);
  }
  // Nobody reads a socket that was not accepted yet, or is an orphan.
  if (sk.skSocket !== null) tcpRcvbufGrow(sk, sk.rcvqSpaceSpace);
}

/** Whether tcpOfoInsert, when it returned false, merged the skb (rather than dropped it as a duplicate). */
let ofoMerged = false;

/**
 * Puts `skb` behind `prev`, the last one that does not start after it (0 = in front). False if its bytes were there
 * already or went into `prev`: it is freed then.
 */
function tcpOfoInsert(sk: TcpSock, skb: number, prev: number): boolean {
  const queue = sk.outOfOrderQueue;
  const seq = tcpSkbSeq(skb);
  const endSeq = tcpSkbEndSeq(skb);
  ofoMerged = false;
  if (prev === 0) {
    skbQueueHead(queue, skb);
  } else if (before(seq, tcpSkbEndSeq(prev))) {
    if (!after(endSeq, tcpSkbEndSeq(prev))) {
      netIncStats(sk.net, LINUX_MIB_TCPOFOMERGE);
      tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_OFOMERGE);
      tcpDsackSet(sk, seq, endSeq);
      return false;
    }
    skbQueueAfter(queue, prev, skb);
    if (after(seq, tcpSkbSeq(prev))) {
      tcpDsackSet(sk, seq, tcpSkbEndSeq(prev));
    } else {
      // It covers prev, and more.
      tcpOfoEat(sk, prev);
    }
  } else if (tcpOooTryCoalesce(sk, prev, skb)) {
    kfreeSkbPartial(skb);
    ofoMerged = true;
    return false;
  } else {
    skbQueueAfter(queue, prev, skb);
  }
  // merge_right: those behind it that it covers go.
  for (let next = skbNext(skb); next !== 0; next = skbNext(skb)) {
    if (!after(endSeq, tcpSkbSeq(next))) break;
    if (before(endSeq, tcpSkbEndSeq(next))) {
      tcpDsackExtend(sk, tcpSkbSeq(next), endSeq);
      break;
    }
    tcpOfoEat(sk, next);
  }
  return true;
}

/** An skb of the out-of-order queue is covered by a newer one. */
function tcpOfoEat(sk: TcpSock, skb: number): void {
  skbUnlink(skb, sk.outOfOrderQueue);
  tcpDsackExtend(sk, tcpSkbSeq(skb), tcpSkbEndSeq(skb));
  netIncStats(sk.net, LINUX_MIB_TCPOFOMERGE);
  tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_OFOMERGE);
}

/** tcp_send_rcvq (TCP_REPAIR): bytes of a checkpoint go straight to the receive queue. Returns `size` or -errno. */
export function tcpSendRcvq(sk: TcpSock, msg: Msghdr, size: number): number {
  if (size === 0) return 0;
  let left = size;
  while (left > 0) {
    const chunk = Math.min(left, COLLAPSE_BYTES);
    const skb = allocSkb(chunk);
    if (skb === 0) return left === size ? -ENOMEM : size - left;
    if (!tcpTryRmemSchedule(sk, skb, skbTruesize(skb))) {
      consumeSkb(skb);
      return left === size ? -ENOMEM : size - left;
    }
    if (msgIterCopyTo(skbPut(skb, chunk), msg, chunk) !== 0) {
      consumeSkb(skb);
      return left === size ? -EFAULT : size - left;
    }
    tcpSkbSetSeq(skb, sk.rcvNxt);
    tcpSkbSetEndSeq(skb, seqAdd(sk.rcvNxt, chunk));
    tcpSkbSetAckSeq(skb, seqAdd(sk.sndUna, -1));
    tcpSkbSetFlags(skb, 0);
    tcpSkbSetCbFlags(skb, 0);
    if (tcpQueueRcv(sk, skb)) kfreeSkbPartial(skb);
    left -= chunk;
  }
  return size;
}

/** tcp_data_ready: wakes the reader once SO_RCVLOWAT bytes wait. */
export function tcpDataReady(sk: TcpSock): void {
  if (tcpStreamIsReadable(sk, sk.skRcvlowat) || sockFlag(sk, SOCK_DONE)) sk.skDataReady(sk);
}

/** What the kernel does at out_of_window: the sender should hear at once where we are. */
function tcpDropOutOfWindow(sk: TcpSock, skb: number, reason: number): void {
  tcpEnterQuickackMode(sk, TCP_MAX_QUICKACKS);
  inetCskScheduleAck(sk);
  tcpDropReason(sk, skb, reason);
}

/** tcp_data_queue: RFC 9293 §3.10.7.4 "seventh, process the segment text". Consumes the skb. */
export function tcpDataQueue(sk: TcpSock, skb: number): void {
  const seq = tcpSkbSeq(skb);
  const endSeq = tcpSkbEndSeq(skb);
  if (seq === endSeq) {
    consumeSkb(skb);
    return;
  }
  skbDstDrop(skb);
  __skbPull(skb, tcpHdrlen(skb));
  sk.rxOpt.dsack = false;

  if (seq === sk.rcvNxt) {
    // In sequence. A bare FIN is let through a closed window: it takes no memory worth the name.
    if (tcpReceiveWindow(sk) === 0 && (skbLen(skb) !== 0 || (tcpSkbFlags(skb) & TCPHDR_FIN) === 0)) {
      netIncStats(sk.net, LINUX_MIB_TCPZEROWINDOWDROP);
      tcpDropOutOfWindow(sk, skb, SKB_DROP_REASON_TCP_ZEROWINDOW);
      return;
    }
    tcpQueueAndOut(sk, skb);
    return;
  }
  if (!after(endSeq, sk.rcvNxt)) {
    // All of it is old: our ACK was lost, or the retransmission was spurious.
    tcpAccecnSpuriousRetrans(sk, skb);
    netIncStats(sk.net, LINUX_MIB_DELAYEDACKLOST);
    tcpDsackSet(sk, seq, endSeq);
    tcpDropOutOfWindow(sk, skb, SKB_DROP_REASON_TCP_OLD_DATA);
    return;
  }
  // Beyond the window: a zero window probe, for instance.
  if (!before(seq, seqAdd(sk.rcvNxt, tcpReceiveWindow(sk)))) {
    netIncStats(sk.net, LINUX_MIB_BEYONDWINDOW);
    tcpDropOutOfWindow(sk, skb, SKB_DROP_REASON_TCP_OVERWINDOW);
    return;
  }
  if (before(seq, sk.rcvNxt)) {
    // The front of it is old.
    tcpDsackSet(sk, seq, sk.rcvNxt);
    if (tcpReceiveWindow(sk) === 0) {
      netIncStats(sk.net, LINUX_MIB_TCPZEROWINDOWDROP);
      tcpDropOutOfWindow(sk, skb, SKB_DROP_REASON_TCP_ZEROWINDOW);
      return;
    }
    tcpQueueAndOut(sk, skb);
    return;
  }
  tcpDataQueueOfo(sk, skb);
}

/** tcp_data_queue from queue_and_out on: data that continues the stream. */
function tcpQueueAndOut(sk: TcpSock, skb: number): void {
  const ack = sk.icskAck;
  if (!tcpTryRmemSchedule(sk, skb, skbTruesize(skb))) {
    ack.pending |= ICSK_ACK_NOMEM | ICSK_ACK_NOW;
    inetCskScheduleAck(sk);
    sk.skDataReady(sk);
    if (sk.skReceiveQueue.qlen !== 0 && skbLen(skb) !== 0) {
      netIncStats(sk.net, LINUX_MIB_TCPRCVQDROP);
      tcpDropReason(sk, skb, SKB_DROP_REASON_PROTO_MEM);
      return;
    }
    // The reader would wait for ever if not even one skb got through.
    skForcedMemSchedule(sk, skbTruesize(skb));
  }
  const len = skbLen(skb);
  const truesize = truesizeAdjust(true, skb);
  if (len !== 0) tcpMeasureRcvMss(sk, skb);
  const eaten = tcpQueueRcv(sk, skb);
  if (len !== 0) tcpEventDataRecv(sk, skb, len, truesize);
  if ((tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) tcpFin(sk);
  if (sk.outOfOrderQueue.qlen !== 0) {
    tcpOfoQueue(sk);
    // RFC 5681 §4.2: an ACK SHOULD be sent at once when a gap is filled.
    if (sk.outOfOrderQueue.qlen === 0) ack.pending |= ICSK_ACK_NOW;
  }
  if (sk.rxOpt.numSacks !== 0) tcpSackRemove(sk);
  tcpFastPathCheck(sk);
  if (eaten) kfreeSkbPartial(skb);
  if (!sockFlag(sk, SOCK_DEAD)) tcpDataReady(sk);
}

// ---- collapsing and pruning: the buffer is full ---------------------------------------------------------------------

/** tcp_collapse_one: frees an skb whose bytes are elsewhere now. Returns the next one. */
function tcpCollapseOne(sk: TcpSock, skb: number, list: SkBuffHead): number {
  const next = skbNext(skb);
  skbUnlink(skb, list);
  consumeSkb(skb);
  netIncStats(sk.net, LINUX_MIB_TCPRCVCOLLAPSED);
  return next;
}

/**
 * tcp_collapse: copies the bytes [start, end) of the skbs from `head` up to (not including) `tail` into full buffers.
 * Segments with FIN or SYN are left, and so is what is dense and in order already.
 */
export function tcpCollapse(sk: TcpSock, list: SkBuffHead, head: number, tail: number, start: Seq, end: Seq): void {
  let skb = head;
  let found = false;
  // Where does it begin to be worth it?
  while (skb !== 0 && skb !== tail) {
    if (!before(start, tcpSkbEndSeq(skb))) {
      // No new bits: possible in the out-of-order queue.
      skb = tcpCollapseOne(sk, skb, list);
      continue;
    }
    const synFin = (tcpSkbFlags(skb) & (TCPHDR_SYN | TCPHDR_FIN)) !== 0;
    if (!synFin && (tcpWinFromSpace(sk, skbTruesize(skb)) > skbLen(skb) || before(tcpSkbSeq(skb), start))) {
      found = true;
      break;
    }
    const next = skbNext(skb);
    if (next !== 0 && next !== tail && tcpSkbEndSeq(skb) !== tcpSkbSeq(next)) {
      found = true;
      break;
    }
    start = tcpSkbEndSeq(skb);
    skb = next;
  }
  if (!found || (tcpSkbFlags(skb) & (TCPHDR_SYN | TCPHDR_FIN)) !== 0) return;

  while (before(start, end)) {
    let copy = Math.min(COLLAPSE_BYTES, seqSub(end, start));
    const nskb = allocSkb(copy);
    if (nskb === 0) return;
    tcpSkbSetSeq(nskb, start);
    tcpSkbSetEndSeq(nskb, start);
    tcpSkbSetAckSeq(nskb, tcpSkbAckSeq(skb));
    tcpSkbSetFlags(nskb, tcpSkbFlags(skb));
    tcpSkbSetSacked(nskb, 0);
    tcpSkbSetDsfield(nskb, tcpSkbDsfield(skb));
    tcpSkbSetCbFlags(nskb, tcpSkbCbFlags(skb));
    skbSetTstamp(nskb, skbTstamp(skb));
    skbQueueBefore(list, skb, nskb);
    skbSetOwnerR(nskb, sk);
    while (copy > 0) {
      const offset = seqSub(start, tcpSkbSeq(skb));
      let size = seqSub(tcpSkbEndSeq(skb), start);
      bugOn(offset < 0, "tcp_collapse: hole in a range");
      if (size > 0) {
        size = Math.min(copy, size);
        bugOn(skbCopyBits(skb, offset, skbPut(nskb, size), size) < 0, "tcp_collapse: skb shorter than its range");
        start = seqAdd(start, size);
        tcpSkbSetEndSeq(nskb, start);
        copy -= size;
      }
      if (!before(start, tcpSkbEndSeq(skb))) {
        skb = tcpCollapseOne(sk, skb, list);
        if (skb === 0 || skb === tail || (tcpSkbFlags(skb) & (TCPHDR_SYN | TCPHDR_FIN)) !== 0) return;
      }
    }
  }
}

/** tcp_collapse_ofo_queue: every run of contiguous out-of-order data is made dense. */
function tcpCollapseOfoQueue(sk: TcpSock): void {
  const queue = sk.outOfOrderQueue;
  let sumTiny = 0;
  let skb = skbPeek(queue);
  while (skb !== 0) {
    const head = skb;
    let start = tcpSkbSeq(head);
    let end = tcpSkbEndSeq(head);
    let rangeTruesize = skbTruesize(head);
    const headTruesize = rangeTruesize;
    for (skb = skbNext(skb); skb !== 0; skb = skbNext(skb)) {
      // The range ends at a gap.
      if (after(tcpSkbSeq(skb), end) || before(tcpSkbEndSeq(skb), start)) break;
      rangeTruesize += skbTruesize(skb);
      if (before(tcpSkbSeq(skb), start)) start = tcpSkbSeq(skb);
      if (after(tcpSkbEndSeq(skb), end)) end = tcpSkbEndSeq(skb);
    }
    if (rangeTruesize !== headTruesize || seqSub(end, start) >= 4096 - SKB_SHARED_INFO_SIZE) {
      tcpCollapse(sk, queue, head, skb, start, end);
    } else {
      // Tiny lone skbs gain nothing; a queue full of them is an attack that must not cost time.
      sumTiny += rangeTruesize;
      if (sumTiny > sk.skRcvbuf >> 3) break;
    }
  }
  sk.oooLastSkb = skbPeekTail(queue);
}

/**
 * tcp_prune_ofo_queue: throws away out-of-order data, the highest first, until `inSkb` fits. Reneging is what RFC 2018
 * §8 allows as a last resort. False if nothing was pruned.
 */
function tcpPruneOfoQueue(sk: TcpSock, inSkb: number): boolean {
  const queue = sk.outOfOrderQueue;
  let pruned = false;
  let goal = sk.skRcvbuf >> 3;
  for (let skb = skbPeekTail(queue); skb !== 0; skb = skbPeekTail(queue)) {
    // The newcomer would be the last one: it is not worth more than what is there.
    if (after(tcpSkbSeq(inSkb), tcpSkbSeq(skb))) break;
    pruned = true;
    goal -= skbTruesize(skb);
    skbUnlink(skb, queue);
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_OFO_QUEUE_PRUNE);
    if (queue.qlen === 0 || goal <= 0) {
      if (tcpCanIngest(sk) && !tcpUnderMemoryPressure(sk)) break;
      goal = sk.skRcvbuf >> 3;
    }
  }
  sk.oooLastSkb = skbPeekTail(queue);
  if (pruned) {
    netIncStats(sk.net, LINUX_MIB_OFOPRUNED);
    // The peer learns from the next ACK that its SACKed data is gone.
    if (sk.rxOpt.sackOk !== 0) tcpSackReset(sk.rxOpt);
  }
  return pruned;
}

/** tcp_prune_queue: tidies the queues up until `inSkb` fits: 0, or -1 if it does not. */
export function tcpPruneQueue(sk: TcpSock, inSkb: number): number {
  if (sk.skRmemAlloc === 0) return -1;
  netIncStats(sk.net, LINUX_MIB_PRUNECALLED);
  if (!tcpCanIngest(sk)) tcpClampWindow(sk);
  else if (tcpUnderMemoryPressure(sk)) tcpAdjustRcvSsthresh(sk);
  if (tcpCanIngest(sk)) return 0;

  tcpCollapseOfoQueue(sk);
  if (sk.skReceiveQueue.qlen !== 0) {
    tcpCollapse(sk, sk.skReceiveQueue, skbPeek(sk.skReceiveQueue), 0, sk.copiedSeq, sk.rcvNxt);
  }
  if (tcpCanIngest(sk)) return 0;

  tcpPruneOfoQueue(sk, inSkb);
  if (tcpCanIngest(sk)) return 0;

  netIncStats(sk.net, LINUX_MIB_RCVPRUNED);
  // The slow path checks the memory.
  sk.predFlags = 0;
  return -1;
}

// ---- send buffer space ----------------------------------------------------------------------------------------------

/** tcp_should_expand_sndbuf. */
function tcpShouldExpandSndbuf(sk: TcpSock): boolean {
  if ((sk.skUserlocks & SOCK_SNDBUF_LOCK) !== 0) return false;
  if (tcpUnderMemoryPressure(sk)) return false;
  if (skMemoryAllocated(sk) >= skProtMemLimits(sk, 0)) return false;
  // With cwnd full, a larger buffer would only hold more.
  return tcpPacketsInFlight(sk) < tcpSndCwnd(sk);
}

/** tcp_new_space: ACKs have freed send buffer that a writer waits for. */
function tcpNewSpace(sk: TcpSock): void {
  if (tcpShouldExpandSndbuf(sk)) {
    tcpSndbufExpand(sk);
    sk.sndCwndStamp = tcpJiffies32();
  }
  sk.skWriteSpace(sk);
}

/** tcp_check_space. */
export function tcpCheckSpace(sk: TcpSock): void {
  if (sk.skSocket === null || !sk.skNoSpace) return;
  tcpNewSpace(sk);
  if (!sk.skNoSpace) tcpChronoStop(sk, TCP_CHRONO_SNDBUF_LIMITED);
}

/** tcp_data_snd_check: an ACK may have opened the window. */
export function tcpDataSndCheck(sk: TcpSock): void {
  tcpPushPendingFrames(sk);
  tcpCheckSpace(sk);
}

// ---- when to acknowledge --------------------------------------------------------------------------------------------

/**
 * __tcp_ack_snd_check: now, delayed (RFC 1122 §4.2.3.2: within 500 ms, and at least every second full-sized segment),
 * or, beside a hole, compressed with others.
 */
export function __tcpAckSndCheck(sk: TcpSock, ofoPossible: boolean): void {
  if (
    // More than one full frame received, and the window moves far enough (else tcp_recvmsg sends the ACK) ...
    (seqSub(sk.rcvNxt, sk.rcvWup) > sk.icskAck.rcvMss &&
      // ... or a reader with SO_RCVLOWAT waits for more.
      (seqSub(sk.rcvNxt, sk.copiedSeq) < sk.skRcvlowat || __tcpSelectWindow(sk) >= sk.rcvWnd)) ||
    tcpInQuickackMode(sk) ||
    // Something demands an ACK at once.
    (sk.icskAck.pending & ICSK_ACK_NOW) !== 0
  ) {
    tcpSendAck(sk);
    return;
  }
  if (!ofoPossible || sk.outOfOrderQueue.qlen === 0) {
    tcpSendDelayedAck(sk);
    return;
  }
  const ipv4 = sk.net.ipv4;
  if (!tcpIsSack(sk) || sk.compressedAck >= ipv4.sysctlTcpCompSackNr) {
    tcpSendAck(sk);
    return;
  }
  if (sk.compressedAckRcvNxt !== sk.rcvNxt) {
    sk.compressedAckRcvNxt = sk.rcvNxt;
    sk.dupAckCounter = 0;
  }
  // RFC 5681 §3.2: the first three are what fast retransmit counts.
  if (sk.dupAckCounter < TCP_FASTRETRANS_THRESH) {
    sk.dupAckCounter++;
    tcpSendAck(sk);
    return;
  }
  sk.compressedAck++;
  if (timerPending(sk.compressedAckTimer)) return;
  // A third of the RTT (both estimates are RTT times 8) but at most 1 ms, unless the sysctls say otherwise.
  let rtt = sk.rcvRttEstRttUs;
  if (sk.srttUs !== 0 && sk.srttUs < rtt) rtt = sk.srttUs;
  const delay = Math.min(ipv4.sysctlTcpCompSackDelayNs / 1000, (rtt * ipv4.sysctlTcpCompSackRttPercent) / 800);
  modTimer(sk.compressedAckTimer, kernel.now + delay);
}

/** tcp_ack_snd_check. */
export function tcpAckSndCheck(sk: TcpSock): void {
  // Nothing to acknowledge.
  if (!inetCskAckScheduled(sk)) return;
  __tcpAckSndCheck(sk, true);
}

// ---- urgent data (RFC 9293 §3.8.5, RFC 6093) ------------------------------------------------------------------------

/**
 * tcp_check_urg: a new urgent mark. Unless tcp_stdurg is set the pointer is taken to point one byte behind the urgent
 * byte, as BSD did and RFC 6093 §3.1 describes.
 */
function tcpCheckUrg(sk: TcpSock, th: number): void {
  let ptr = thUrgPtr(th);
  if (ptr !== 0 && sk.net.ipv4.sysctlTcpStdurg === 0) ptr--;
  const urgSeq = seqAdd(thSeq(th), ptr);
  // Read already, or a replay, or not newer than the one that is there.
  if (after(sk.copiedSeq, urgSeq)) return;
  if (before(urgSeq, sk.rcvNxt)) return;
  if (sk.urgData !== 0 && !after(urgSeq, sk.urgSeq)) return;
  skSendSigurg(sk);
  // The last byte that was read up to is an urgent byte that nobody took: it is skipped, since a read would otherwise
  // find two marks.
  if (sk.urgSeq === sk.copiedSeq && sk.urgData !== 0 && !sockFlag(sk, SOCK_URGINLINE) && sk.copiedSeq !== sk.rcvNxt) {
    const skb = skbPeek(sk.skReceiveQueue);
    sk.copiedSeq = seqAdd(sk.copiedSeq, 1);
    if (skb !== 0 && !before(sk.copiedSeq, tcpSkbEndSeq(skb))) {
      skbUnlink(skb, sk.skReceiveQueue);
      consumeSkb(skb);
    }
  }
  sk.urgData = TCP_URG_NOTYET;
  sk.urgSeq = urgSeq;
  sk.predFlags = 0;
}

const urgByte = new Uint8Array(1);

/** tcp_urg: "sixth, check the URG bit". Data still starts at the TCP header. */
export function tcpUrg(sk: TcpSock, skb: number, th: number): void {
  const flags = thFlags(th);
  if ((flags & TCPHDR_URG) !== 0) tcpCheckUrg(sk, th);
  if (sk.urgData !== TCP_URG_NOTYET) return;
  const ptr = (seqSub(sk.urgSeq, thSeq(th)) + thDoff(th) * 4 - ((flags & TCPHDR_SYN) >> 1)) >>> 0;
  // The urgent byte may be just before a segment that came too early: there the header lies, which Linux takes it from.
  if (ptr < thDoff(th) * 4 || ptr >= skbLen(skb)) return;
  if (ptr < skbHeadlen(skb)) urgByte[0] = u8[skbData(skb) + ptr] as number;
  else skbCopyToUser(skb, ptr, urgByte, 0, 1);
  sk.urgData = TCP_URG_VALID | (urgByte[0] as number);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skDataReady(sk);
}

// ---- FIN ------------------------------------------------------------------------------------------------------------

/** tcp_fin: RFC 9293 §3.10.7.4 "eighth, check the FIN bit". The FIN is in sequence and takes effect now. */
export function tcpFin(sk: TcpSock): void {
  inetCskScheduleAck(sk);
  sk.skShutdown |= RCV_SHUTDOWN;
  sockSetFlag(sk, SOCK_DONE);
  switch (sk.skcState) {
    case TCP_SYN_RECV:
    case TCP_ESTABLISHED:
      tcpSetState(sk, TCP_CLOSE_WAIT);
      inetCskEnterPingpongMode(sk);
      break;
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
      // A retransmitted FIN: remain in the state.
      break;
    case TCP_FIN_WAIT1:
      // Our FIN has not been acknowledged: simultaneous close.
      tcpSendAck(sk);
      tcpSetState(sk, TCP_CLOSING);
      break;
    case TCP_FIN_WAIT2:
      tcpSendAck(sk);
      tcpTimeWait(sk, TCP_TIME_WAIT, 0);
      break;
    default:
      bugOn(true, "tcp_fin in LISTEN or CLOSE");
  }
  // Whatever came from beyond the FIN is not part of the stream.
  skbQueuePurge(sk.outOfOrderQueue, SKB_DROP_REASON_NOT_SPECIFIED);
  sk.oooLastSkb = 0;
  if (tcpIsSack(sk)) tcpSackReset(sk.rxOpt);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skStateChange(sk);
}
