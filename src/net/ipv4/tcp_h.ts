/* notrace file */
/**
 * include/net/tcp.h: the constants and inline helpers that every part of TCP shares.
 *
 * Units. Every duration is in microseconds (`icskRto`, `tp.keepaliveTime`, `tp.linger2`, `TCP_RTO_MIN` ...), rounded to
 * whole jiffies (1 ms) where the kernel keeps jiffies; `icskUserTimeout` alone is in milliseconds, as in the kernel. Every
 * stamp that the kernel takes from tcp_jiffies32 (`lsndtime`, `rcvTstamp`, `lrcvtime`, `sndCwndStamp`,
 * `icskProbesTstamp` ...) is a whole millisecond, `retransStamp` and `rtoStamp` are milliseconds of the timestamp clock, and
 * `*Mstamp` stamps are whole microseconds. Sysctls are in the unit that netns.ts gives.
 */

export * from "./tcp_h.const.ts";

import { SKB_LEN, SKB_TRANSPORT_HEADER, SKB_TRUESIZE, SKB_TSTAMP, TCPCB_FLAG_EOR } from "../../../assembly/layout.ts";
import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { delTimer } from "../../kernel/timer.ts";
import { dv, f64, u8, u32 } from "../../mm/mem.ts";
import { skbGsoSegs, skbNext } from "../../mm/skb.ts";
import { LINUX_MIB_LISTENDROPS } from "../../uapi/linux_mib.ts";
import { RTAX_RTO_MIN } from "../../uapi/rtnetlink.ts";
import {
  TCP_MSS_DEFAULT,
  TCP_SYN_RECV,
  TCPF_CA_CWR,
  TCPF_CA_Recovery,
  TCPF_SYN_RECV,
  TCPF_SYN_SENT,
} from "../../uapi/tcp.ts";
import { dstMetric, dstMetricLocked } from "../core/dst.ts";
import { consumeSkb, skbPeek, skbPeekTail, skbQueueBefore, skbQueueTail, skbUnlink } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import {
  SOCK_DONE,
  SOCK_URGINLINE,
  skMemUncharge,
  skUnderMemoryPressure,
  skWmemQueuedAdd,
  sockFlag,
} from "../core/sock.ts";
import { inetCskClearXmitTimers, inetCskResetXmitTimer } from "./inet_connection_sock.ts";
import type { InetConnectionSock } from "./inet_sock.ts";
import { ICSK_ACK_SCHED, ICSK_TIME_PROBE0 } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { after, before, seqAdd, seqSub } from "./seq.ts";
import { CA_EVENT_TX_START } from "./tcp_cong.ts";
import { tcpEcnModeAccecn } from "./tcp_ecn.ts";
import {
  SK_PACING_NEEDED,
  TCP_ATO_MIN,
  TCP_CHRONO_BUSY,
  TCP_FLAG_ACK,
  TCP_INFINITE_SSTHRESH,
  TCP_PAWS_24DAYS,
  TCP_PAWS_MSL,
  TCP_RMEM_TO_WIN_SCALE,
  TCP_RTO_MIN,
  TCP_TIMEOUT_INIT,
  USEC_PER_MSEC,
  USEC_PER_SEC,
} from "./tcp_h.const.ts";
import { TCP_ACCECN_CEP_ACE_MASK, TCP_ACCECN_CEP_INIT_OFFSET } from "./tcp_h.ts";
import { __tcpPushPendingFrames, tcpChronoStart, tcpCurrentMss } from "./tcp_output.ts";
import type { TcpOptionsReceived, TcpSock } from "./tcp_sock.ts";
import { tcpSkbCbFlags, tcpSkbSeq } from "./tcp_sock.ts";

export { AckSample, RateSample } from "./tcp_sock.ts";
export { tcpClampProbe0ToUserTimeout } from "./tcp_timer.ts";
export { skWmemQueuedAdd };

// ---- the header on the wire ------------------------------------------------------------------------------------------------
//
//    0                   1                   2                   3
//   |          Source Port          |       Destination Port        |  0
//   |                        Sequence Number                        |  4
//   |                    Acknowledgment Number                      |  8
//   | Doff  |Rsrvd|A|C|E|U|A|P|R|S|F|            Window             | 12
//   |           Checksum            |         Urgent Pointer        | 16
//
// After tcp_v4_rcv's pskb_may_pull checks, no accessor reads outside of the linear part.

/** Address of the TCP header. */
export function tcpHdr(skb: number): number {
  return u32[(skb + SKB_TRANSPORT_HEADER) >>> 2];
}
export function thSource(th: number): number {
  return dv.getUint16(th);
}
export function thDest(th: number): number {
  return dv.getUint16(th + 2);
}
export function thSeq(th: number): Seq {
  return dv.getUint32(th + 4) as unknown as Seq;
}
export function thAckSeq(th: number): Seq {
  return dv.getUint32(th + 8) as unknown as Seq;
}
/** Data offset in 32-bit words. */
export function thDoff(th: number): number {
  return u8[th + 12] >>> 4;
}
/** TCPHDR_* bits, AE included. */
export function thFlags(th: number): number {
  return u8[th + 13] | ((u8[th + 12] & 1) << 8);
}
export function thWindow(th: number): number {
  return dv.getUint16(th + 14);
}
export function thUrgPtr(th: number): number {
  return dv.getUint16(th + 18);
}
/** The fourth word (data offset, flags, window) in host order. */
export function tcpFlagWord(th: number): number {
  return dv.getUint32(th + 12);
}
/** tcp_hdrlen: bytes of the header with its options. */
export function tcpHdrlen(skb: number): number {
  return (u8[u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] + 12] >>> 4) << 2;
}

// ---- time ----------------------------------------------------------------------------------------------------------------

/** tcp_jiffies32: whole milliseconds. */
export function tcpJiffies32(): number {
  return kernel.jiffies;
}
/** tcp_clock_us: whole microseconds. */
export function tcpClockUs(): number {
  return Math.floor(kernel.now);
}
/** tcp_clock_ms. */
export function tcpClockMs(): number {
  return Math.floor(kernel.now / 1000);
}
/** tcp_clock_ts: what a timestamp option without offset would say now (u32, milliseconds). */
export function tcpClockTs(): number {
  return Math.floor(kernel.now / 1000) >>> 0;
}
/** tcp_mstamp_refresh: takes the time of this event; everything until the next refresh happens at it. */
export function tcpMstampRefresh(tp: TcpSock): void {
  tp.tcpClockCache = kernel.now;
  tp.tcpMstamp = Math.floor(kernel.now);
}
/** tcp_time_stamp_ms: milliseconds of the current event (u32). */
export function tcpTimeStampMs(tp: TcpSock): number {
  return Math.floor(tp.tcpMstamp / 1000) >>> 0;
}
/** tcp_time_stamp_ts: TSval of the current event without the offset (RFC 7323 §5.4: 1 ms a tick). */
export function tcpTimeStampTs(tp: TcpSock): number {
  return Math.floor(tp.tcpMstamp / 1000) >>> 0;
}
/** tcp_stamp_us_delta, never negative. */
export function tcpStampUsDelta(t1: number, t0: number): number {
  return t1 > t0 ? t1 - t0 : 0;
}
/** Microseconds when the skb was last (re)sent; 0 = never. */
export function tcpSkbTimestampUs(skb: number): number {
  return Math.floor(f64[(skb + SKB_TSTAMP) >>> 3]);
}
/** tcp_skb_timestamp: the same with the fraction that orders what was sent at one instant. */
export function tcpSkbTimestamp(skb: number): number {
  return f64[(skb + SKB_TSTAMP) >>> 3];
}
/** tcp_skb_timestamp_ts: the TSval that the skb was last sent with, without the offset. */
export function tcpSkbTimestampTs(skb: number): number {
  return Math.floor(f64[(skb + SKB_TSTAMP) >>> 3] / 1000) >>> 0;
}
/** ktime_get_seconds. */
export function ktimeGetSeconds(): number {
  return Math.floor(kernel.now / USEC_PER_SEC);
}
/** usecs_to_jiffies, times a jiffy: rounds a duration up to whole milliseconds. */
export function usecsRoundJiffies(us: number): number {
  return Math.ceil(us / USEC_PER_JIFFY) * USEC_PER_JIFFY;
}
/** tcp_skb_sent_after: t1/seq1 was sent after t2/seq2. */
export function tcpSkbSentAfter(t1: number, t2: number, seq1: Seq, seq2: Seq): boolean {
  return t1 > t2 || (t1 === t2 && after(seq1, seq2));
}

// ---- struct minmax (lib/win_minmax.c): Kathleen Nichols' windowed min and max filter ---------------------------------------------------
// m = [t0, v0, t1, v1, t2, v2]: the best, second and third best of the window, each later than the one before.

export function minmaxGet(m: Float64Array): number {
  return m[1];
}
export function minmaxReset(m: Float64Array, t: number, meas: number): number {
  m[0] = m[2] = m[4] = t;
  m[1] = m[3] = m[5] = meas;
  return meas;
}
/** `win` and `t` in the same unit. Returns the minimum of the last `win`. */
export function minmaxRunningMin(m: Float64Array, win: number, t: number, meas: number): number {
  if (meas <= m[1] || t - m[4] > win) return minmaxReset(m, t, meas);
  if (meas <= m[3]) {
    m[2] = m[4] = t;
    m[3] = m[5] = meas;
  } else if (meas <= m[5]) {
    m[4] = t;
    m[5] = meas;
  }
  return minmaxSubwinUpdate(m, win, t, meas);
}
/** `win` and `t` in the same unit. Returns the maximum of the last `win`. */
export function minmaxRunningMax(m: Float64Array, win: number, t: number, meas: number): number {
  if (meas >= m[1] || t - m[4] > win) return minmaxReset(m, t, meas);
  if (meas >= m[3]) {
    m[2] = m[4] = t;
    m[3] = m[5] = meas;
  } else if (meas >= m[5]) {
    m[4] = t;
    m[5] = meas;
  }
  return minmaxSubwinUpdate(m, win, t, meas);
}
/** minmax_subwin_update: ages the choices, so that each stays within its quarter of the window. */
function minmaxSubwinUpdate(m: Float64Array, win: number, t: number, meas: number): number {
  const dt = t - m[0];
  if (dt > win) {
    m[0] = m[2];
    m[1] = m[3];
    m[2] = m[4];
    m[3] = m[5];
    m[4] = t;
    m[5] = meas;
    if (t - m[0] > win) {
      m[0] = m[2];
      m[1] = m[3];
      m[2] = m[4];
      m[3] = m[5];
      m[4] = t;
      m[5] = meas;
    }
  } else if (m[2] === m[0] && dt > Math.floor(win / 4)) {
    m[2] = m[4] = t;
    m[3] = m[5] = meas;
  } else if (m[4] === m[2] && dt > Math.floor(win / 2)) {
    m[4] = t;
    m[5] = meas;
  }
  return m[1];
}
/** tcp_min_rtt: microseconds; 0xffffffff before the first sample. */
export function tcpMinRtt(tp: TcpSock): number {
  return tp.rttMin[1];
}

// ---- congestion: counters and states ---------------------------------------------------------------------------------------

export function tcpSndCwnd(tp: TcpSock): number {
  return tp.sndCwnd;
}
export function tcpSndCwndSet(tp: TcpSock, val: number): void {
  tp.sndCwnd = val;
}
export function tcpInSlowStart(tp: TcpSock): boolean {
  return tp.sndCwnd < tp.sndSsthresh;
}
export function tcpInInitialSlowstart(tp: TcpSock): boolean {
  return tp.sndSsthresh >= TCP_INFINITE_SSTHRESH;
}
export function tcpInCwndReduction(sk: InetConnectionSock): boolean {
  return ((TCPF_CA_CWR | TCPF_CA_Recovery) & (1 << sk.icskCaState)) !== 0;
}
/** The window to come back to: ssthresh while it is being reduced, else at least three quarters of cwnd. */
export function tcpCurrentSsthresh(sk: TcpSock): number {
  if (tcpInCwndReduction(sk)) return sk.sndSsthresh;
  return Math.max(sk.sndSsthresh, (sk.sndCwnd >>> 1) + (sk.sndCwnd >>> 2));
}
export function tcpIsSack(tp: TcpSock): boolean {
  return tp.rxOpt.sackOk !== 0;
}
export function tcpIsReno(tp: TcpSock): boolean {
  return tp.rxOpt.sackOk === 0;
}
/** RFC 6675: packets that left the network or are believed to have. */
export function tcpLeftOut(tp: TcpSock): number {
  return tp.sackedOut + tp.lostOut;
}
/** Packets believed to be in the network ("pipe"). */
export function tcpPacketsInFlight(tp: TcpSock): number {
  return tp.packetsOut - (tp.sackedOut + tp.lostOut) + tp.retransOut;
}
/** RFC 2861: is the window, rather than the application, what limits sending? */
export function tcpIsCwndLimited(tp: TcpSock): boolean {
  if (tp.isCwndLimited) return true;
  // In slow start, ensure that cwnd can grow to twice what was ACKed.
  if (tcpInSlowStart(tp)) return tp.sndCwnd < 2 * tp.maxPacketsOut;
  return false;
}
/** Segments that TSO deferral counts as bursting at most. */
export function tcpMaxTsoDeferredMss(_tp: TcpSock): number {
  return 3;
}
export function tcpStreamIsThin(tp: TcpSock): boolean {
  return tp.packetsOut < 4 && !tcpInInitialSlowstart(tp);
}
export function tcpCaEvent(sk: InetConnectionSock, event: number): void {
  const ops = sk.icskCaOps;
  if (event === CA_EVENT_TX_START) {
    if (ops.cwndEventTxStart !== undefined) ops.cwndEventTxStart(sk);
    return;
  }
  if (ops.cwndEvent !== undefined) ops.cwndEvent(sk, event);
}
export function tcpSetCaState(sk: InetConnectionSock, caState: number): void {
  const ops = sk.icskCaOps;
  if (ops.setState !== undefined) ops.setState(sk, caState);
  sk.icskCaState = caState;
}
/** tcp_needs_internal_pacing: is TCP's own pacing timer in use? */
export function tcpNeedsInternalPacing(sk: Sock): boolean {
  return sk.skPacingStatus === SK_PACING_NEEDED;
}
/** Microseconds until pacing lets the next skb leave, in whole jiffies; 0 = now. */
export function tcpPacingDelay(sk: TcpSock): number {
  const delay = sk.tcpWstampNs - sk.tcpClockCache;
  return delay > 0 ? delay - (delay % USEC_PER_JIFFY) : 0;
}

// ---- RTO, probe timer, keepalive ---------------------------------------------------------------------------------------------

/** tcp_rto_min: microseconds; the route's `rto_min` wins when it is locked. */
export function tcpRtoMin(sk: InetConnectionSock): number {
  const dst = sk.skDstCache;
  if (dst !== null && dstMetricLocked(dst, RTAX_RTO_MIN)) return dstMetric(dst, RTAX_RTO_MIN) * USEC_PER_MSEC;
  return sk.icskRtoMin;
}
/** The same: durations are in microseconds here. */
export function tcpRtoMinUs(sk: InetConnectionSock): number {
  return tcpRtoMin(sk);
}
/** tcp_rto_max: TCP_RTO_MAX_MS or net.ipv4.tcp_rto_max_ms. */
export function tcpRtoMax(sk: InetConnectionSock): number {
  return sk.icskRtoMax;
}
/** tcp_timeout_init: the RTO of a SYN. */
export function tcpTimeoutInit(_sk: Sock): number {
  return TCP_TIMEOUT_INIT;
}
/** RFC 6298 §2: SRTT + max(G, 4*RTTVAR), in whole jiffies; srtt_us is scaled by 8 and rttvar_us already holds 4*RTTVAR. */
export function __tcpSetRto(tp: TcpSock): number {
  return usecsRoundJiffies(Math.floor(tp.srttUs / 8) + tp.rttvarUs);
}
export function tcpBoundRto(sk: InetConnectionSock): void {
  if (sk.icskRto > sk.icskRtoMax) sk.icskRto = sk.icskRtoMax;
}
/** tcp_set_rto: the lower bound came in through rttvar_us (tcp_rtt_estimator). */
export function tcpSetRto(sk: TcpSock): void {
  sk.icskRto = __tcpSetRto(sk);
  tcpBoundRto(sk);
}
/** Microseconds until the RTO of the oldest unacknowledged skb; may be negative. */
export function tcpRtoDeltaUs(sk: TcpSock): number {
  const skb = tcpRtxQueueHead(sk);
  if (skb !== 0) return tcpSkbTimestampUs(skb) + sk.icskRto - sk.tcpMstamp;
  return sk.icskRto;
}
/** tcp_reset_xmit_timer: arms `what` for `when` µs from now, after the pacing delay if `paceDelay`. */
export function tcpResetXmitTimer(sk: TcpSock, what: number, when: number, paceDelay: boolean): void {
  if (paceDelay) when += tcpPacingDelay(sk);
  inetCskResetXmitTimer(sk, what, when, tcpRtoMax(sk));
}
/** RFC 1122 §4.2.2.17: the first window probe goes out after one RTO. */
export function tcpProbe0Base(sk: InetConnectionSock): number {
  return Math.max(sk.icskRto, TCP_RTO_MIN);
}
/** The n-th one after an exponentially longer time: 10 doublings take TCP_RTO_MIN beyond TCP_RTO_MAX. */
export function tcpProbe0When(sk: InetConnectionSock, maxWhen: number): number {
  const backoff = Math.min(10, sk.icskBackoff);
  return Math.min(tcpProbe0Base(sk) * (1 << backoff), maxWhen);
}
export function tcpCheckProbeTimer(sk: TcpSock): void {
  if (sk.packetsOut === 0 && sk.icskPending === 0) {
    tcpResetXmitTimer(sk, ICSK_TIME_PROBE0, tcpProbe0Base(sk), true);
  }
}
/** Stops every timer of the connection. */
export function tcpClearXmitTimers(sk: TcpSock): void {
  delTimer(sk.pacingTimer);
  delTimer(sk.compressedAckTimer);
  inetCskClearXmitTimers(sk);
}
/** Microseconds of idleness before the first probe: TCP_KEEPIDLE or the sysctl. */
export function keepaliveTimeWhen(tp: TcpSock): number {
  return tp.keepaliveTime !== 0 ? tp.keepaliveTime : tp.net.ipv4.sysctlTcpKeepaliveTime * USEC_PER_JIFFY;
}
/** Microseconds between two probes: TCP_KEEPINTVL or the sysctl. */
export function keepaliveIntvlWhen(tp: TcpSock): number {
  return tp.keepaliveIntvl !== 0 ? tp.keepaliveIntvl : tp.net.ipv4.sysctlTcpKeepaliveIntvl * USEC_PER_JIFFY;
}
export function keepaliveProbes(tp: TcpSock): number {
  return tp.keepaliveProbes !== 0 ? tp.keepaliveProbes : tp.net.ipv4.sysctlTcpKeepaliveProbes;
}
/** Microseconds since anything was received. */
export function keepaliveTimeElapsed(tp: TcpSock): number {
  const now = tcpJiffies32();
  return Math.min(now - tp.icskAck.lrcvtime, now - tp.rcvTstamp) * USEC_PER_JIFFY;
}
/** How long FIN-WAIT-2 lasts, in microseconds: TCP_LINGER2 or the sysctl, but at least 3.5 RTO. */
export function tcpFinTime(sk: TcpSock): number {
  const timeout = sk.linger2 !== 0 ? sk.linger2 : sk.net.ipv4.sysctlTcpFinTimeout * USEC_PER_JIFFY;
  return Math.max(timeout, sk.icskRto * 3.5);
}

// ---- windows -----------------------------------------------------------------------------------------------------------------

export function __tcpWinFromSpace(scalingRatio: number, space: number): number {
  return Math.floor((space * scalingRatio) / (1 << TCP_RMEM_TO_WIN_SCALE));
}
/** Bytes of window that `space` bytes of receive buffer can hold. */
export function tcpWinFromSpace(sk: TcpSock, space: number): number {
  return __tcpWinFromSpace(sk.scalingRatio, space);
}
export function __tcpSpaceFromWin(scalingRatio: number, win: number): number {
  return Math.floor((win * (1 << TCP_RMEM_TO_WIN_SCALE)) / scalingRatio);
}
/** The inverse: bytes of receive buffer for a window of `win` bytes. */
export function tcpSpaceFromWin(sk: TcpSock, win: number): number {
  return __tcpSpaceFromWin(sk.scalingRatio, win);
}
/** Free window space; negative when the buffer is overcommitted. */
export function tcpSpace(sk: TcpSock): number {
  return tcpWinFromSpace(sk, sk.skRcvbuf - sk.skRmemAlloc);
}
export function tcpFullSpace(sk: TcpSock): number {
  return tcpWinFromSpace(sk, sk.skRcvbuf);
}
export function __tcpAdjustRcvSsthresh(sk: TcpSock, newSsthresh: number): void {
  sk.rcvSsthresh = Math.min(sk.rcvSsthresh, newSsthresh);
}
export function tcpAdjustRcvSsthresh(sk: TcpSock): void {
  __tcpAdjustRcvSsthresh(sk, 4 * sk.advmss);
}
/** What is left of the window that the peer was told: rcv_wup + rcv_wnd - rcv_nxt, never negative. */
export function tcpReceiveWindow(tp: TcpSock): number {
  const win = seqSub(tp.rcvWup, tp.rcvNxt) + tp.rcvWnd;
  return win < 0 ? 0 : win;
}
/** tcp_max_receive_window: the same for the largest right edge that was ever offered (RFC 7323 §2.4). */
export function tcpMaxReceiveWindow(tp: TcpSock): number {
  const win = seqSub(tp.rcvMwndSeq, tp.rcvNxt);
  return win < 0 ? 0 : win;
}
/** tcp_update_max_rcv_wnd_seq. */
export function tcpUpdateMaxRcvWndSeq(tp: TcpSock): void {
  const wre = seqAdd(tp.rcvWup, tp.rcvWnd);
  if (after(wre, tp.rcvMwndSeq)) tp.rcvMwndSeq = wre;
}
/** The first sequence number that the peer's window does not allow. */
export function tcpWndEnd(tp: TcpSock): Seq {
  return seqAdd(tp.sndUna, tp.sndWnd);
}
export function tcpInitWl(tp: TcpSock, s: Seq): void {
  tp.sndWl1 = s;
}
export function tcpUpdateWl(tp: TcpSock, s: Seq): void {
  tp.sndWl1 = s;
}
/** Header prediction (Van Jacobson): the fourth word that the next in-order segment is expected to carry. */
export function __tcpFastPathOn(tp: TcpSock, sndWnd: number): void {
  // With Accurate ECN, the ACE field that says "nothing new".
  const ace = tcpEcnModeAccecn(tp) ? (tp.deliveredCe + TCP_ACCECN_CEP_INIT_OFFSET) & TCP_ACCECN_CEP_ACE_MASK : 0;
  tp.predFlags = ((tp.tcpHeaderLen << 26) | (ace << 22) | TCP_FLAG_ACK | sndWnd) >>> 0;
}
export function tcpFastPathOn(tp: TcpSock): void {
  __tcpFastPathOn(tp, tp.sndWnd >>> tp.rxOpt.sndWscale);
}
export function tcpFastPathCheck(sk: TcpSock): void {
  if (sk.outOfOrderQueue.qlen === 0 && sk.rcvWnd !== 0 && sk.skRmemAlloc < sk.skRcvbuf && sk.urgData === 0) {
    tcpFastPathOn(sk);
  }
}
/** tcp_mem says that TCP as a whole uses too much. */
export function tcpUnderMemoryPressure(sk: Sock): boolean {
  return skUnderMemoryPressure(sk);
}
/** TCP_MAXSEG caps the MSS. */
export function tcpMssClamp(tp: TcpSock, mss: number): number {
  const userMss = tp.rxOpt.userMss;
  return userMss !== 0 && userMss < mss ? userMss : mss;
}
/**
 * Bound a packet to half of the largest window seen, so that at least two packets are in the pipe (silly window); a
 * peer of tiny windows is served as it is.
 */
export function tcpBoundToHalfWnd(tp: TcpSock, pktsize: number): number {
  const cutoff = tp.maxWindow > TCP_MSS_DEFAULT ? tp.maxWindow >>> 1 : tp.maxWindow;
  if (cutoff !== 0 && pktsize > cutoff) return Math.max(cutoff, 68 - tp.tcpHeaderLen);
  return pktsize;
}
/** TCP_NOTSENT_LOWAT: unsent bytes above which the socket is not writable. */
export function tcpNotsentLowat(tp: TcpSock): number {
  return tp.notsentLowat !== 0 ? tp.notsentLowat : tp.net.ipv4.sysctlTcpNotsentLowat;
}
/** SIOCINQ: bytes that can be read without meeting the urgent mark or the FIN. */
export function tcpInq(sk: TcpSock): number {
  if (((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0) return 0;
  if (
    sockFlag(sk, SOCK_URGINLINE) ||
    sk.urgData === 0 ||
    before(sk.urgSeq, sk.copiedSeq) ||
    !before(sk.urgSeq, sk.rcvNxt)
  ) {
    const answ = seqSub(sk.rcvNxt, sk.copiedSeq);
    return answ !== 0 && sockFlag(sk, SOCK_DONE) ? answ - 1 : answ;
  }
  return seqSub(sk.urgSeq, sk.copiedSeq);
}
/** tcp_segs_in: counts a received segment; the transport header is set, data starts at it. */
export function tcpSegsIn(tp: TcpSock, skb: number): void {
  const segs = Math.max(1, skbGsoSegs(skb));
  tp.segsIn += segs;
  if (u32[(skb + SKB_LEN) >>> 2] > tcpHdrlen(skb)) tp.dataSegsIn += segs;
}
export function tcpListendrop(sk: Sock): void {
  sk.skDrops++;
  netIncStats(sk.net, LINUX_MIB_LISTENDROPS);
}
/** fastopen_queue_tune: how many Fast Open requests of a listener may be pending. */
export function fastopenQueueTune(sk: InetConnectionSock, backlog: number): void {
  sk.icskAcceptQueue.fastopenq.maxQlen = Math.min(backlog >>> 0, sk.net.core.sysctlSomaxconn);
}
export function tcpPassiveFastopen(sk: TcpSock): boolean {
  return sk.skcState === TCP_SYN_RECV && sk.fastopenRsk !== null;
}
/** A quick ACK was used up (or, for an ACK that was not scheduled, not). */
export function tcpDecQuickackMode(sk: InetConnectionSock): void {
  const ack = sk.icskAck;
  if (ack.quick === 0) return;
  // How many ACKs S/ACKing new data have we sent?
  const pkts = (ack.pending & ICSK_ACK_SCHED) !== 0 ? 1 : 0;
  if (pkts >= ack.quick) {
    ack.quick = 0;
    // Leaving quickack mode we deflate ATO.
    ack.ato = TCP_ATO_MIN;
  } else {
    ack.quick -= pkts;
  }
}

// ---- PAWS (RFC 7323 §5) --------------------------------------------------------------------------------------------------

/** True if the timestamp is acceptable: not older than ts_recent by more than `pawsWin` ticks, or ts_recent has expired. */
export function tcpPawsCheck(rxOpt: TcpOptionsReceived, pawsWin: number): boolean {
  if (((rxOpt.tsRecent - rxOpt.rcvTsval) | 0) <= pawsWin) return true;
  // RFC 7323 §5.5: outdated timestamps.
  if (ktimeGetSeconds() >= rxOpt.tsRecentStamp + TCP_PAWS_24DAYS) return true;
  // Some OSes send SYN and SYN-ACK with a tsval of 0; it must not make every later one look old.
  return rxOpt.tsRecent === 0;
}
/** True if the segment has to be dropped. A RST is believed sooner: after 60 s ts_recent no longer protects. */
export function tcpPawsReject(rxOpt: TcpOptionsReceived, rst: boolean): boolean {
  if (tcpPawsCheck(rxOpt, 0)) return false;
  // RFC 7323 §5.2: RST segments are not required to carry timestamps, and some stacks send stale ones.
  if (rst && ktimeGetSeconds() >= rxOpt.tsRecentStamp + TCP_PAWS_MSL) return false;
  return true;
}
/** tcp_clear_options: what the SYN negotiates. */
export function tcpClearOptions(rxOpt: TcpOptionsReceived): void {
  rxOpt.tstampOk = false;
  rxOpt.sackOk = 0;
  rxOpt.wscaleOk = false;
  rxOpt.sndWscale = 0;
}

// ---- the queues ------------------------------------------------------------------------------------------------------------
// sk_write_queue: what was never sent. tcp_rtx_queue: what was sent and is not acknowledged, in sequence order.

export function tcpRtxQueueHead(sk: TcpSock): number {
  return skbPeek(sk.tcpRtxQueue);
}
export function tcpRtxQueueTail(sk: TcpSock): number {
  return skbPeekTail(sk.tcpRtxQueue);
}
export function tcpWriteQueueTail(sk: Sock): number {
  return skbPeekTail(sk.skWriteQueue);
}
/** The next skb to send; 0 = none. */
export function tcpSendHead(sk: Sock): number {
  return skbPeek(sk.skWriteQueue);
}
export function tcpSkbIsLast(sk: Sock, skb: number): boolean {
  return skbPeekTail(sk.skWriteQueue) === skb;
}
export function tcpWriteQueueEmpty(sk: TcpSock): boolean {
  return sk.writeSeq === sk.sndNxt;
}
export function tcpRtxQueueEmpty(sk: TcpSock): boolean {
  return sk.tcpRtxQueue.qlen === 0;
}
export function tcpRtxAndWriteQueuesEmpty(sk: TcpSock): boolean {
  return tcpRtxQueueEmpty(sk) && tcpWriteQueueEmpty(sk);
}
export function tcpInsertWriteQueueBefore(newSkb: number, skb: number, sk: Sock): void {
  skbQueueBefore(sk.skWriteQueue, skb, newSkb);
}
export function tcpUnlinkWriteQueue(skb: number, sk: Sock): void {
  skbUnlink(skb, sk.skWriteQueue);
}
export function tcpRtxQueueUnlink(skb: number, sk: TcpSock): void {
  skbUnlink(skb, sk.tcpRtxQueue);
}
/** tcp_wmem_free_skb: gives the memory back to the socket and frees the skb. */
export function tcpWmemFreeSkb(sk: Sock, skb: number): void {
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2];
  sk.skWmemQueued -= truesize;
  skMemUncharge(sk, truesize);
  consumeSkb(skb);
}
export function tcpRtxQueueUnlinkAndFree(skb: number, sk: TcpSock): void {
  tcpRtxQueueUnlink(skb, sk);
  tcpWmemFreeSkb(sk, skb);
}
/** tcp_add_write_queue_tail: the connection is busy from the first unsent skb on. */
export function tcpAddWriteQueueTail(sk: TcpSock, skb: number): void {
  skbQueueTail(sk.skWriteQueue, skb);
  if (skbPeek(sk.skWriteQueue) === skb) tcpChronoStart(sk, TCP_CHRONO_BUSY);
}
export function tcpPushPendingFrames(sk: TcpSock): void {
  if (tcpSendHead(sk) !== 0) __tcpPushPendingFrames(sk, tcpCurrentMss(sk), sk.nonagle);
}
/** The start of the highest SACKed skb, or snd_una (snd_nxt if everything was SACKed). */
export function tcpHighestSackSeq(tp: TcpSock): Seq {
  if (tp.sackedOut === 0) return tp.sndUna;
  if (tp.highestSack === 0) return tp.sndNxt;
  return tcpSkbSeq(tp.highestSack);
}
export function tcpAdvanceHighestSack(sk: TcpSock, skb: number): void {
  sk.highestSack = skbNext(skb);
}
export function tcpHighestSack(sk: TcpSock): number {
  return sk.highestSack;
}
export function tcpHighestSackReset(sk: TcpSock): void {
  sk.highestSack = tcpRtxQueueHead(sk);
}
/** Called when `oldSkb` is about to be replaced by `newSkb`. */
export function tcpHighestSackReplace(sk: TcpSock, oldSkb: number, newSkb: number): void {
  if (oldSkb === sk.highestSack) sk.highestSack = newSkb;
}
/** MSG_EOR: nothing may be appended to this skb. */
export function tcpSkbCanCollapseTo(skb: number): boolean {
  return (tcpSkbCbFlags(skb) & TCPCB_FLAG_EOR) === 0;
}
/** May `from`, the next one, be merged into `to`? */
export function tcpSkbCanCollapse(to: number, _from: number): boolean {
  return tcpSkbCanCollapseTo(to);
}
