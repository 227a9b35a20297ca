/**
 * TCP output: what of the write queue may leave now, in what pieces, and how a segment gets its header.
 *
 * ```
 *   sk_write_queue:  [ ... never sent ... ]          tcp_push_one, __tcp_push_pending_frames
 *                        | tcp_write_xmit: pacing, cwnd, window, Nagle, TSO deferral, TSQ
 *                        v
 *                    tcp_transmit_skb: clone + header -> icsk_af_ops->queue_xmit
 *                        |
 *                        v tcp_event_new_data_sent
 *   tcp_rtx_queue:   [ ... sent, not acknowledged ... ]
 * ```
 *
 * The queues keep the original, every layer below gets a clone and consumes it. Sections: options and ECN in
 * tcp_output.options.ts, cutting and the MSS in tcp_output.frag.ts, retransmission in tcp_output.rtx.ts, segments without
 * data (SYN, SYN-ACK, FIN, RST, ACK, probes) in tcp_output.ctl.ts.
 */

import {
  IPCB_FLAGS,
  SKB_DESTRUCTOR,
  SKB_DESTRUCTOR_TCP_WFREE,
  SKB_DESTRUCTOR_WFREE,
  SKB_DEV,
  SKB_FLAG_DST_PENDING_CONFIRM,
  SKB_FLAG_OOO_OKAY,
  SKB_FLAGS,
  SKB_HASH,
  SKB_LEN,
  SKB_SK,
  SKB_TRUESIZE,
  SKB_TSTAMP,
  TCPCB_FLAG_EOR,
  TCPCB_TCP_TW_ISN,
} from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import { type Kernel, kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { netAddStats, netIncStats, tcpAddStats } from "../../kernel/mib.ts";
import { type TaskletStruct, taskletSchedule, taskletSetup } from "../../kernel/softirq.ts";
import { delTimer, modTimer, type TimerList, timerPending } from "../../kernel/timer.ts";
import { dv, f64, u8, u32 } from "../../mm/mem.ts";
import {
  skbCloned,
  skbLen,
  skbNext,
  skbResetTransportHeader,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
} from "../../mm/skb.ts";
import { ENOBUFS } from "../../uapi/errno.ts";
import {
  LINUX_MIB_TCPACKCOMPRESSED,
  LINUX_MIB_TCPFROMZEROWINDOWADV,
  LINUX_MIB_TCPORIGDATASENT,
  LINUX_MIB_TCPTOZEROWINDOWADV,
  LINUX_MIB_TCPWANTZEROWINDOWADV,
  TCP_MIB_OUTSEGS,
} from "../../uapi/linux_mib.ts";
import {
  TCP_CA_Open,
  TCP_CA_Recovery,
  TCP_CLOSE,
  TCP_SEND_QUEUE,
  TCPF_CLOSE_WAIT,
  TCPF_CLOSING,
  TCPF_ESTABLISHED,
  TCPF_FIN_WAIT1,
  TCPF_LAST_ACK,
  TCPHDR_ACK,
  TCPHDR_FIN,
  TCPHDR_PSH,
  TCPHDR_SYN,
} from "../../uapi/tcp.ts";
import { NET_XMIT_CN } from "../core/dev.ts";
import {
  pskbCopy,
  registerSkbDestructor,
  skbClone,
  skbOrphan,
  skbPush,
  skbQueueTail,
  skbSk,
  skbTruesizeOf,
  skbUnlink,
} from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { skFree } from "../core/sock.ts";
import { inetCskClearXmitTimer, inetCskIncPingpongCnt } from "./inet_connection_sock.ts";
import { ICSK_ACK_NOMEM, ICSK_TIME_DACK, ICSK_TIME_LOSS_PROBE } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { after, before, seqAdd, seqRaw, seqSub } from "./seq.ts";
import { CA_EVENT_CWND_RESTART, CA_EVENT_TX_START } from "./tcp_cong.ts";
import { tcpAccecnOptionBeaconCheck, tcpEcnModeAccecn, tcpEcnSend } from "./tcp_ecn.ts";
import {
  MAX_TCP_WINDOW,
  SK_PACING_NONE,
  TCP_CHRONO_BUSY,
  TCP_CHRONO_RWND_LIMITED,
  TCP_CHRONO_SNDBUF_LIMITED,
  TCP_CHRONO_UNSPEC,
  TCP_HEADER_SIZE,
  TCP_NAGLE_CORK,
  TCP_NAGLE_PUSH,
  TCPF_ACK_DEFERRED,
  TCPF_DELACK_TIMER_DEFERRED,
  TCPF_MTU_REDUCED_DEFERRED,
  TCPF_TSQ_DEFERRED,
  TCPF_WRITE_TIMER_DEFERRED,
  TSQF_QUEUED,
  TSQF_THROTTLED,
  tcpAdjustRcvSsthresh,
  tcpCaEvent,
  tcpCheckProbeTimer,
  tcpCurrentSsthresh,
  tcpDecQuickackMode,
  tcpFullSpace,
  tcpInCwndReduction,
  tcpIsCwndLimited,
  tcpJiffies32,
  tcpMaxTsoDeferredMss,
  tcpMinRtt,
  tcpMstampRefresh,
  tcpNeedsInternalPacing,
  tcpPacketsInFlight,
  tcpReceiveWindow,
  tcpRtxAndWriteQueuesEmpty,
  tcpRtxQueueEmpty,
  tcpRtxQueueHead,
  tcpSendHead,
  tcpSkbIsLast,
  tcpSndCwnd,
  tcpSndCwndSet,
  tcpSpace,
  tcpUnderMemoryPressure,
  tcpUpdateMaxRcvWndSeq,
  tcpWndEnd,
  tcpWriteQueueEmpty,
  tcpWriteQueueTail,
} from "./tcp_h.ts";
import { tcpCheckSpace, tcpEnterCwr, tcpInitCwnd, tcpRearmRto } from "./tcp_input.ts";
import type { TcpMd5sigKey } from "./tcp_md5.ts";
import { tcpMd5SignSkb } from "./tcp_md5.ts";
import { __tcpSendAck } from "./tcp_output.ctl.ts";
import { tcpCurrentMss, tcpGrowSkb, tcpMtuProbe, tcpSetSkbTsoSegs, tsoFragment } from "./tcp_output.frag.ts";
import {
  OPTION_MD5,
  tcpEstablishedOptions,
  tcpOptionsWrite,
  tcpOutOptionsClear,
  tcpSynOptions,
} from "./tcp_output.options.ts";
import { tcpScheduleLossProbe, tcpXmitRetransmitQueue } from "./tcp_output.rtx.ts";
import { tcpRateSkbSent } from "./tcp_rate.ts";
import type { TcpOutOptions, TcpSock } from "./tcp_sock.ts";
import {
  newTcpOutOptions,
  tcpSkbCbFlags,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbMss,
  tcpSkbPcount,
  tcpSkbSeq,
  tcpSkbSetFlags,
} from "./tcp_sock.ts";
import { tcpDelackTimerHandler, tcpWriteTimerHandler } from "./tcp_timer.ts";

export {
  __tcpSendAck,
  tcpConnect,
  tcpDelackMax,
  tcpMakeSynack,
  tcpRtxSynack,
  tcpSelectInitialWindow,
  tcpSendAck,
  tcpSendActiveReset,
  tcpSendDelayedAck,
  tcpSendFin,
  tcpSendProbe0,
  tcpSendSynack,
  tcpSendWindowProbe,
  tcpWriteWakeup,
} from "./tcp_output.ctl.ts";
export {
  __pskbTrimHead,
  TCP_FRAG_IN_RTX_QUEUE,
  TCP_FRAG_IN_WRITE_QUEUE,
  tcpAdjustPcount,
  tcpCurrentMss,
  tcpFragment,
  tcpHasTxTstamp,
  tcpInitTsoSegs,
  tcpMssToMtu,
  tcpMtupInit,
  tcpMtuToMss,
  tcpSetSkbTsoSegs,
  tcpSkbCollapseTstamp,
  tcpSyncMss,
  tcpTrimHead,
  tsoFragment,
} from "./tcp_output.frag.ts";
export {
  tcpEstablishedOptions,
  tcpOptionsWrite,
  tcpSynackOptions,
  tcpSynOptions,
} from "./tcp_output.options.ts";
export {
  __tcpRetransmitSkb,
  tcpRetransmitSkb,
  tcpScheduleLossProbe,
  tcpSendLossProbe,
  tcpXmitRetransmitQueue,
} from "./tcp_output.rtx.ts";
export type { TcpInitialWindow, TcpOutOptions } from "./tcp_sock.ts";

/** u32 in the control block of a sent skb: its latest clone (receive uses the place for tcp_tw_isn). */
export const TCPCB_TX_CLONE: number = TCPCB_TCP_TW_ISN;

/** SKB_TRUESIZE(1): what the smallest skb is charged. */
/* notrace */
function skbTruesize1(): number {
  return skbTruesizeOf(1);
}

// ---- bookkeeping ---------------------------------------------------------------------------------------------------------

/** tcp_event_new_data_sent: the head of the write queue was sent for the first time. */
export function tcpEventNewDataSent(sk: TcpSock, skb: number): void {
  const priorPackets = sk.packetsOut;
  sk.sndNxt = tcpSkbEndSeq(skb);
  skbUnlink(skb, sk.skWriteQueue);
  skbQueueTail(sk.tcpRtxQueue, skb);
  if (sk.highestSack === 0) sk.highestSack = skb;
  const pcount = tcpSkbPcount(skb);
  sk.packetsOut += pcount;
  if (priorPackets === 0 || sk.icskPending === ICSK_TIME_LOSS_PROBE) tcpRearmRto(sk);
  netAddStats(sk.net, LINUX_MIB_TCPORIGDATASENT, pcount);
  tcpCheckSpace(sk);
}

/**
 * tcp_acceptable_seq: the sequence number of a segment without data. snd_nxt, unless the peer shrank its window so much
 * that it would call that out of window.
 */
export function tcpAcceptableSeq(sk: TcpSock): Seq {
  const wndEnd = tcpWndEnd(sk);
  if (!before(wndEnd, sk.sndNxt)) return sk.sndNxt;
  if (sk.rxOpt.wscaleOk && seqSub(sk.sndNxt, wndEnd) < 1 << sk.rxOpt.rcvWscale) return sk.sndNxt;
  return wndEnd;
}

/** tcp_cwnd_restart (RFC 5681 §4.1): cwnd decays by half an RTO of idleness; `delta` in microseconds. */
export function tcpCwndRestart(sk: TcpSock, delta: number): void {
  let restartCwnd = tcpInitCwnd(sk, sk.skDstCache);
  let cwnd = tcpSndCwnd(sk);
  tcpCaEvent(sk, CA_EVENT_CWND_RESTART);
  sk.sndSsthresh = tcpCurrentSsthresh(sk);
  restartCwnd = Math.min(restartCwnd, cwnd);
  while ((delta -= sk.icskRto) > 0 && cwnd > restartCwnd) cwnd >>>= 1;
  tcpSndCwndSet(sk, Math.max(cwnd, restartCwnd));
  sk.sndCwndStamp = tcpJiffies32();
  sk.sndCwndUsed = 0;
}

/** tcp_slow_start_after_idle_check: called when data is queued on a connection that may have been idle for an RTO. */
/* notrace */
export function tcpSlowStartAfterIdleCheck(sk: TcpSock): void {
  if (sk.net.ipv4.sysctlTcpSlowStartAfterIdle === 0 || sk.packetsOut !== 0 || sk.icskCaOps.congControl !== undefined) {
    return;
  }
  const delta = (tcpJiffies32() - sk.lsndtime) * USEC_PER_JIFFY;
  if (delta > sk.icskRto) tcpCwndRestart(sk, delta);
}

/** tcp_event_data_sent: congestion state accounting after a packet with data has been sent. */
function tcpEventDataSent(sk: TcpSock): void {
  const now = tcpJiffies32();
  if (tcpPacketsInFlight(sk) === 0) tcpCaEvent(sk, CA_EVENT_TX_START);
  sk.lsndtime = now;
  // A reply within ato of the last received packet: an interactive session.
  if ((now - sk.icskAck.lrcvtime) * USEC_PER_JIFFY < sk.icskAck.ato) inetCskIncPingpongCnt(sk);
}

/** tcp_event_ack_sent: an ACK left; delayed and compressed ones are done with. */
function tcpEventAckSent(sk: TcpSock, rcvNxt: Seq): void {
  if (sk.compressedAck !== 0) {
    netAddStats(sk.net, LINUX_MIB_TCPACKCOMPRESSED, sk.compressedAck);
    sk.compressedAck = 0;
    delTimer(sk.compressedAckTimer);
  }
  // A special ACK that DCTCP sends to reflect a change of CE.
  if (rcvNxt !== sk.rcvNxt) return;
  tcpDecQuickackMode(sk);
  inetCskClearXmitTimer(sk, ICSK_TIME_DACK);
}

/** tcp_urg_mode. */
/* notrace */
export function tcpUrgMode(tp: TcpSock): boolean {
  return tp.sndUna !== tp.sndUp;
}

// ---- chronographs: what a connection waits for (tcp_info) ----------------------------------------------------------------------

/* notrace */
function tcpChronoSet(tp: TcpSock, type: number): void {
  const now = tcpJiffies32();
  if (tp.chronoType > TCP_CHRONO_UNSPEC) tp.chronoStat[tp.chronoType - 1] += now - tp.chronoStart;
  tp.chronoStart = now;
  tp.chronoType = type;
}

/** tcp_chrono_start: the more interesting of two conditions that hold at once is the one that is timed. */
export function tcpChronoStart(sk: TcpSock, type: number): void {
  if (type > sk.chronoType) tcpChronoSet(sk, type);
}

/** tcp_chrono_stop: busy remains while anything is queued. */
export function tcpChronoStop(sk: TcpSock, type: number): void {
  if (tcpRtxAndWriteQueuesEmpty(sk)) tcpChronoSet(sk, TCP_CHRONO_UNSPEC);
  else if (type === sk.chronoType) tcpChronoSet(sk, TCP_CHRONO_BUSY);
}

// ---- the window that is offered ------------------------------------------------------------------------------------------------

/**
 * __tcp_select_window: the window to offer, in bytes (RFC 9293 §3.8.6.2.2, silly window avoidance at the receiver). 0 when
 * less than a segment, or less than 1/16 of the buffer, is free.
 */
export function __tcpSelectWindow(sk: TcpSock): number {
  const rcvWscale = sk.rxOpt.rcvWscale;
  const unit = 1 << rcvWscale;
  let mss = sk.icskAck.rcvMss;
  let freeSpace = tcpSpace(sk);
  const allowedSpace = tcpFullSpace(sk);
  const fullSpace = Math.min(sk.windowClamp, allowedSpace);
  if (mss > fullSpace) {
    mss = fullSpace;
    if (mss <= 0) return 0;
  }

  // RFC 7323 §2.4 allows a receiver to shrink its window; only done if asked for, and with scaling.
  if (sk.net.ipv4.sysctlTcpShrinkWindow !== 0 && rcvWscale !== 0) {
    freeSpace &= -unit;
    if (freeSpace < fullSpace >> 1) {
      sk.icskAck.quick = 0;
      if (tcpUnderMemoryPressure(sk)) tcpAdjustRcvSsthresh(sk);
      if (freeSpace < allowedSpace >> 4 || freeSpace < mss || freeSpace < unit) return 0;
    }
    if (freeSpace > sk.rcvSsthresh) freeSpace = (sk.rcvSsthresh + unit - 1) & -unit;
    return freeSpace;
  }

  if (freeSpace < fullSpace >> 1) {
    sk.icskAck.quick = 0;
    if (tcpUnderMemoryPressure(sk)) tcpAdjustRcvSsthresh(sk);
    // It might become the new window: it must not grow by being scaled.
    freeSpace &= -unit;
    // Try to move to a zero window before data has to be dropped for want of memory.
    if (freeSpace < allowedSpace >> 4 || freeSpace < mss) return 0;
  }
  if (freeSpace > sk.rcvSsthresh) freeSpace = sk.rcvSsthresh;

  // No rounding to the MSS with scaling: the scaled window does not line up with it anyway.
  if (rcvWscale !== 0) return (freeSpace + unit - 1) & -unit;

  let window = sk.rcvWnd;
  // The largest multiple of the MSS; kept as it is while it is within one MSS of what is free.
  if (window <= freeSpace - mss || window > freeSpace) window = freeSpace - (freeSpace % mss);
  else if (mss === fullSpace && freeSpace > window + (fullSpace >> 1)) window = freeSpace;
  return window;
}

/**
 * tcp_select_window: chooses the window for a segment and remembers it (rcv_wnd, rcv_wup). Returns the header's 16 bits. The
 * offered right edge never moves left (RFC 9293 §3.8.6.2.1: "shrinking the window" is strongly discouraged).
 */
export function tcpSelectWindow(sk: TcpSock): number {
  const oldWin = sk.rcvWnd;
  const ipv4 = sk.net.ipv4;
  const rcvWscale = sk.rxOpt.rcvWscale;
  // Data could not be queued for want of memory: close the window.
  if ((sk.icskAck.pending & ICSK_ACK_NOMEM) !== 0) {
    sk.predFlags = 0;
    sk.rcvWnd = 0;
    sk.rcvWup = sk.rcvNxt;
    tcpUpdateMaxRcvWndSeq(sk);
    return 0;
  }
  const curWin = tcpReceiveWindow(sk);
  let newWin = __tcpSelectWindow(sk);
  if (newWin < curWin && (ipv4.sysctlTcpShrinkWindow === 0 || rcvWscale === 0)) {
    if (newWin === 0) netIncStats(sk.net, LINUX_MIB_TCPWANTZEROWINDOWADV);
    const unit = 1 << rcvWscale;
    newWin = (curWin + unit - 1) & -unit;
  }
  sk.rcvWnd = newWin;
  sk.rcvWup = sk.rcvNxt;
  tcpUpdateMaxRcvWndSeq(sk);

  // Make sure we do not exceed the maximum possible scaled window.
  if (rcvWscale === 0 && ipv4.sysctlTcpWorkaroundSignedWindows !== 0) newWin = Math.min(newWin, MAX_TCP_WINDOW);
  else newWin = Math.min(newWin, 65535 << rcvWscale);
  newWin >>>= rcvWscale;

  // If we advertise zero window, disable fast path.
  if (newWin === 0) {
    sk.predFlags = 0;
    if (oldWin !== 0) netIncStats(sk.net, LINUX_MIB_TCPTOZEROWINDOWADV);
  } else if (oldWin === 0) {
    netIncStats(sk.net, LINUX_MIB_TCPFROMZEROWINDOWADV);
  }
  return newWin;
}

// ---- TCP small queues -------------------------------------------------------------------------------------------------------
// A socket keeps at most about 1 ms of its pacing rate, but two packets, below TCP (qdisc and driver). The skb that leaves
// the driver runs tcp_wfree, which lets the socket go on from a tasklet.

/** struct tsq_tasklet of one machine. */
class TsqTasklet {
  readonly head: TcpSock[] = [];
  readonly spare: TcpSock[] = [];
  tasklet: TaskletStruct = null as unknown as TaskletStruct;
}
const tsqTasklets: WeakMap<Kernel, TsqTasklet> = new WeakMap();
let tsqOwner: Kernel | null = null;
let tsqCurrent: TsqTasklet = new TsqTasklet();

/* notrace */
function tsqTasklet(): TsqTasklet {
  if (tsqOwner === kernel) return tsqCurrent;
  let t = tsqTasklets.get(kernel);
  if (t === undefined) {
    t = new TsqTasklet();
    t.tasklet = taskletSetup(tcpTaskletFunc, t);
    tsqTasklets.set(kernel, t);
  }
  tsqOwner = kernel;
  tsqCurrent = t;
  return t;
}

/** tcp_tsq_write: sends what TSQ held back, retransmissions first. */
function tcpTsqWrite(sk: TcpSock): void {
  const states = TCPF_ESTABLISHED | TCPF_FIN_WAIT1 | TCPF_CLOSING | TCPF_CLOSE_WAIT | TCPF_LAST_ACK;
  if (((1 << sk.skcState) & states) === 0) return;
  if (sk.lostOut > sk.retransOut && tcpSndCwnd(sk) > tcpPacketsInFlight(sk)) {
    tcpMstampRefresh(sk);
    tcpXmitRetransmitQueue(sk);
  }
  tcpWriteXmit(sk, tcpCurrentMss(sk), sk.nonagle, 0);
}

/** tcp_tsq_handler. */
export function tcpTsqHandler(sk: TcpSock): void {
  tcpTsqWrite(sk);
}

/** tcp_tasklet_func: runs the sockets whose skbs left the driver. */
function tcpTaskletFunc(t: TaskletStruct): void {
  const tsq = t.data as TsqTasklet;
  const list = tsq.spare;
  // The sockets that are queued while this runs wait for the next run.
  for (let i = 0; i < tsq.head.length; i++) list.push(tsq.head[i]);
  tsq.head.length = 0;
  for (let i = 0; i < list.length; i++) {
    const sk = list[i];
    sk.tsqFlags &= ~TSQF_QUEUED;
    tcpTsqHandler(sk);
    // The hold that tcp_wfree kept.
    skFree(sk);
  }
  list.length = 0;
}

/** TCP_DEFERRED_ALL: the bits TCP_TSQ_DEFERRED to TCP_ACK_DEFERRED. */
const TCP_DEFERRED_ALL = 0x7c;

/** tcp_release_cb: what timers and softirqs put off while a system call owned the socket. */
export function tcpReleaseCb(sk0: Sock): void {
  const sk = sk0 as TcpSock;
  const flags = sk.tsqFlags;
  if ((flags & TCP_DEFERRED_ALL) === 0) return;
  sk.tsqFlags = flags & ~TCP_DEFERRED_ALL;
  if ((flags & TCPF_TSQ_DEFERRED) !== 0) tcpTsqWrite(sk);
  if ((flags & TCPF_WRITE_TIMER_DEFERRED) !== 0) tcpWriteTimerHandler(sk);
  if ((flags & TCPF_DELACK_TIMER_DEFERRED) !== 0) tcpDelackTimerHandler(sk);
  if ((flags & TCPF_MTU_REDUCED_DEFERRED) !== 0) sk.icskAfOps.mtuReduced(sk);
  if ((flags & TCPF_ACK_DEFERRED) !== 0) __tcpSendAck(sk, sk.rcvNxt, 0);
}

/** tcp_wfree: the destructor of a data skb below TCP. If TSQ stopped the socket, it goes on from the tasklet. */
export function tcpWfree(skb: number): void {
  const sk = skbSk(skb) as TcpSock;
  // Keep one: it is given back by sk_free, here or when the tasklet has run.
  sk.skWmemAlloc -= u32[(skb + SKB_TRUESIZE) >>> 2] - 1;
  if ((sk.tsqFlags & TSQF_THROTTLED) === 0 || (sk.tsqFlags & TSQF_QUEUED) !== 0) {
    skFree(sk);
    return;
  }
  sk.tsqFlags = (sk.tsqFlags & ~TSQF_THROTTLED) | TSQF_QUEUED;
  const tsq = tsqTasklet();
  tsq.head.push(sk);
  taskletSchedule(tsq.tasklet);
}
registerSkbDestructor(SKB_DESTRUCTOR_TCP_WFREE, "tcp_wfree", tcpWfree);

/** tcp_pace_kick: the pacing timer: the next skb may leave. */
export function tcpPaceKick(t: TimerList): void {
  tcpTsqHandler(t.data as TcpSock);
}

/** tcp_update_skb_after_send: when the skb after this one may leave (earliest departure time), if somebody paces. */
function tcpUpdateSkbAfterSend(sk: TcpSock, skb: number, priorWstamp: number): void {
  if (sk.skPacingStatus === SK_PACING_NONE) return;
  const rate = sk.skPacingRate;
  // The first ten segments are not paced.
  if (rate === Infinity || rate === 0 || sk.dataSegsOut < 10) return;
  let lenUs = (u32[(skb + SKB_LEN) >>> 2] * 1e6) / rate;
  const credit = sk.tcpWstampNs - priorWstamp;
  // Take into account OS jitter: time lost by the last timer is made good.
  lenUs -= Math.min(lenUs / 2, credit);
  sk.tcpWstampNs += lenUs;
}

// ---- a segment leaves -----------------------------------------------------------------------------------------------------------

const txOpts: TcpOutOptions = newTcpOutOptions();

/** Microseconds between two transmissions of one instant, far below what anybody measures, and how many are told apart. */
const TX_TIE: number = 2 ** -12;
const TX_TIE_MAX = 2047;

/**
 * __tcp_transmit_skb: gives `skb` (or a clone of it, if `cloneIt`) a TCP header and hands it to IP. The skb's tcp_skb_cb says
 * what it is; `rcvNxt` is what it acknowledges. 0, or an error; the skb that went down is consumed in any case.
 */
export function __tcpTransmitSkb(sk: TcpSock, skb: number, cloneIt: number, rcvNxt: Seq): number {
  bugOn(skb === 0 || tcpSkbPcount(skb) === 0, "tcp_transmit_skb of an skb without segments");
  const priorWstamp = sk.tcpWstampNs;
  if (sk.tcpClockCache > sk.tcpWstampNs) sk.tcpWstampNs = sk.tcpClockCache;
  f64[(skb + SKB_TSTAMP) >>> 3] = sk.tcpWstampNs;

  let oskb = 0;
  if (cloneIt !== 0) {
    oskb = skb;
    skb = skbCloned(oskb) ? pskbCopy(oskb) : skbClone(oskb);
    if (skb === 0) return -ENOBUFS;
    u32[(skb + SKB_DEV) >>> 2] = 0;
    u32[(oskb + TCPCB_TX_CLONE) >>> 2] = skb;
    // What leaves at one instant (this clock stands still meanwhile) keeps its order in the queue: RACK asks what was sent
    // first. The clone keeps the plain time, which is its earliest departure.
    if (sk.tcpWstampNs === priorWstamp) {
      sk.txTie = Math.min(sk.txTie + 1, TX_TIE_MAX);
      f64[(oskb + SKB_TSTAMP) >>> 3] = sk.tcpWstampNs + sk.txTie * TX_TIE;
    } else {
      sk.txTie = 0;
    }
  }

  const opts = txOpts;
  let flags = tcpSkbFlags(skb);
  const pcount = tcpSkbPcount(skb);
  const syn = (flags & TCPHDR_SYN) !== 0;
  let tcpOptionsSize: number;
  tcpOutOptionsClear(opts);
  if (syn) {
    tcpOptionsSize = tcpSynOptions(sk, skb, opts);
  } else {
    tcpOptionsSize = tcpEstablishedOptions(sk, skb, opts);
    // PSH on every super-packet, so that the receiver's GRO does not wait for more.
    if (pcount > 1) {
      flags |= TCPHDR_PSH;
      tcpSkbSetFlags(skb, flags);
    }
  }
  const tcpHeaderSize = tcpOptionsSize + TCP_HEADER_SIZE;

  // Nothing of this connection is below TCP, or unacknowledged: it may change its transmit queue.
  if (sk.skWmemAlloc - 1 < skbTruesize1() || tcpRtxQueueEmpty(sk)) u8[skb + SKB_FLAGS] |= SKB_FLAG_OOO_OKAY;
  else u8[skb + SKB_FLAGS] &= ~SKB_FLAG_OOO_OKAY;

  const th = skbPush(skb, tcpHeaderSize);
  skbResetTransportHeader(skb);

  skbOrphan(skb);
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2];
  u32[(skb + SKB_SK) >>> 2] = sk.slot;
  u8[skb + SKB_DESTRUCTOR] = truesize === TCP_PURE_ACK_TRUESIZE ? SKB_DESTRUCTOR_WFREE : SKB_DESTRUCTOR_TCP_WFREE;
  sk.skWmemAlloc += truesize;
  if (sk.skDstPendingConfirm) u8[skb + SKB_FLAGS] |= SKB_FLAG_DST_PENDING_CONFIRM;

  // Build the TCP header.
  const seq = tcpSkbSeq(skb);
  const endSeq = tcpSkbEndSeq(skb);
  dv.setUint16(th, sk.inetSport);
  dv.setUint16(th + 2, sk.skcDport);
  dv.setUint32(th + 4, seqRaw(seq));
  dv.setUint32(th + 8, seqRaw(rcvNxt));
  dv.setUint16(th + 12, ((tcpHeaderSize >>> 2) << 12) | (flags & 0x1ff));
  dv.setUint32(th + 16, 0);
  // The urgent pointer is relative to this segment (RFC 6093 §2: it points behind the urgent byte).
  if (sk.sndUna !== sk.sndUp && before(seq, sk.sndUp)) {
    if (before(sk.sndUp, seqAdd(seq, 0x10000))) {
      dv.setUint16(th + 18, seqSub(sk.sndUp, seq));
      u8[th + 13] |= 0x20;
    } else if (after(seqAdd(seq, 0xffff), sk.sndNxt)) {
      dv.setUint16(th + 18, 0xffff);
      u8[th + 13] |= 0x20;
    }
  }

  skbSetGsoType(skb, sk.skGsoType);
  if (!syn) {
    dv.setUint16(th + 14, tcpSelectWindow(sk));
    tcpEcnSend(sk, skb, th, tcpHeaderSize);
  } else {
    // RFC 7323 §2.2: the window of a SYN is never scaled.
    dv.setUint16(th + 14, Math.min(sk.rcvWnd, 65535));
  }
  tcpOptionsWrite(th, sk, opts);

  if ((opts.options & OPTION_MD5) !== 0) {
    tcpMd5SignSkb(opts.md5Key as TcpMd5sigKey, sk.inetSaddr, sk.skcDaddr, skb, opts.hashLocation);
  }

  const ops = sk.icskAfOps;
  ops.sendCheck(sk, skb);

  if ((flags & TCPHDR_ACK) !== 0) tcpEventAckSent(sk, rcvNxt);
  const len = u32[(skb + SKB_LEN) >>> 2];
  if (len !== tcpHeaderSize) {
    tcpEventDataSent(sk);
    sk.dataSegsOut += pcount;
    sk.bytesSent += len - tcpHeaderSize;
  }
  if (after(endSeq, sk.sndNxt) || seq === endSeq) tcpAddStats(sk.net, TCP_MIB_OUTSEGS, pcount);
  sk.segsOut += pcount;
  u32[(skb + SKB_HASH) >>> 2] = sk.skTxhash;
  skbSetGsoSegs(skb, pcount);
  skbSetGsoSize(skb, tcpSkbMss(skb));

  // The earliest departure time stays in skb->tstamp; what IP keeps in its control block starts at zero.
  const ipcb = (skb + IPCB_FLAGS) >>> 2;
  u32[ipcb] = 0;
  u32[ipcb + 1] = 0;
  u32[ipcb + 2] = 0;
  u32[ipcb + 3] = 0;
  u32[ipcb + 4] = 0;

  // TCP_TX_DELAY: a longer path, as far as a qdisc that knows departure times (fq) can make one.
  if (sk.tcpTxDelay !== 0) f64[(skb + SKB_TSTAMP) >>> 3] += sk.tcpTxDelay;

  let err = ops.queueXmit(sk, skb, sk.corkFl);
  if (err > 0) {
    // Congestion below us: the window is reduced, and a mere notification is no failure.
    tcpEnterCwr(sk);
    if (err === NET_XMIT_CN) err = 0;
  }
  if (err === 0 && oskb !== 0) {
    tcpUpdateSkbAfterSend(sk, oskb, priorWstamp);
    tcpRateSkbSent(sk, oskb);
  }
  return err;
}

/** skb_set_tcp_pure_ack: the truesize that marks a pure ACK, which neither TSQ nor pacing should count. */
export const TCP_PURE_ACK_TRUESIZE = 2;

/** tcp_transmit_skb. */
export function tcpTransmitSkb(sk: TcpSock, skb: number, cloneIt: number): number {
  return __tcpTransmitSkb(sk, skb, cloneIt, sk.rcvNxt);
}

// ---- congestion window validation (RFC 2861, RFC 7661) ----------------------------------------------------------------------------

/** tcp_cwnd_application_limited: the window was not used for an RTO: it shrinks towards what was used. */
function tcpCwndApplicationLimited(sk: TcpSock): void {
  if (sk.icskCaState === TCP_CA_Open && sk.skSocket !== null && !sk.skNoSpace) {
    const initWin = tcpInitCwnd(sk, sk.skDstCache);
    const winUsed = Math.max(sk.sndCwndUsed, initWin);
    const cwnd = tcpSndCwnd(sk);
    if (winUsed < cwnd) {
      sk.sndSsthresh = tcpCurrentSsthresh(sk);
      tcpSndCwndSet(sk, (cwnd + winUsed) >>> 1);
    }
    sk.sndCwndUsed = 0;
  }
  sk.sndCwndStamp = tcpJiffies32();
}

/** tcp_cwnd_validate: after sending: was it cwnd that stopped us? */
function tcpCwndValidate(sk: TcpSock, isCwndLimited: boolean): void {
  // The strongest signal within a window of data counts.
  if (!before(sk.sndUna, sk.cwndUsageSeq) || isCwndLimited || (!sk.isCwndLimited && sk.packetsOut > sk.maxPacketsOut)) {
    sk.isCwndLimited = isCwndLimited;
    sk.maxPacketsOut = sk.packetsOut;
    sk.cwndUsageSeq = sk.sndNxt;
  }
  if (tcpIsCwndLimited(sk)) {
    // Network is fed fully.
    sk.sndCwndUsed = 0;
    sk.sndCwndStamp = tcpJiffies32();
    return;
  }
  // Network starves.
  if (sk.packetsOut > sk.sndCwndUsed) sk.sndCwndUsed = sk.packetsOut;
  if (
    sk.net.ipv4.sysctlTcpSlowStartAfterIdle !== 0 &&
    (tcpJiffies32() - sk.sndCwndStamp) * USEC_PER_JIFFY >= sk.icskRto &&
    sk.icskCaOps.congControl === undefined
  ) {
    tcpCwndApplicationLimited(sk);
  }
  // Just sent, not limited by cwnd, nothing left to send, and the application waits for room: the buffer is too small.
  if (
    sk.skNoSpace &&
    sk.skSocket !== null &&
    tcpWriteQueueEmpty(sk) &&
    ((1 << sk.skcState) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT)) !== 0
  ) {
    tcpChronoStart(sk, TCP_CHRONO_SNDBUF_LIMITED);
  }
}

// ---- may it leave, and how much of it ----------------------------------------------------------------------------------------------

/** tcp_minshall_check: a small packet of ours is still unacknowledged. */
/* notrace */
function tcpMinshallCheck(tp: TcpSock): boolean {
  return after(tp.sndSml, tp.sndUna) && !after(tp.sndSml, tp.sndNxt);
}

/** tcp_minshall_update: remembers the end of the last small packet. */
/* notrace */
function tcpMinshallUpdate(tp: TcpSock, mssNow: number, skb: number): void {
  if (u32[(skb + SKB_LEN) >>> 2] < tcpSkbPcount(skb) * mssNow) tp.sndSml = tcpSkbEndSeq(skb);
}

/**
 * tcp_nagle_check: true if a partial segment has to wait (RFC 1122 §4.2.3.4, in Minshall's variant: not for any
 * unacknowledged data, but for an unacknowledged small packet).
 */
/* notrace */
function tcpNagleCheck(partial: boolean, tp: TcpSock, nonagle: number): boolean {
  return (
    partial && ((nonagle & TCP_NAGLE_CORK) !== 0 || (nonagle === 0 && tp.packetsOut !== 0 && tcpMinshallCheck(tp)))
  );
}

/** tcp_nagle_test: true if the skb may go. */
/* notrace */
function tcpNagleTest(tp: TcpSock, skb: number, curMss: number, nonagle: number): boolean {
  // A frame in the middle of the queue gets no more data.
  if ((nonagle & TCP_NAGLE_PUSH) !== 0) return true;
  // Nor does Nagle concern urgent data and the final FIN.
  if (tcpUrgMode(tp) || (tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) return true;
  return !tcpNagleCheck(skbLen(skb) < curMss, tp, nonagle);
}

/** tcp_tso_autosize: segments of an skb so that about one leaves per millisecond (1 << sk_pacing_shift of a second). */
export function tcpTsoAutosize(sk: TcpSock, mssNow: number, minTsoSegs: number): number {
  const max = sk.skGsoMaxSize;
  let bytes = sk.skPacingRate / (1 << sk.skPacingShift);
  // Flows of a low RTT may burst more: min_rtt halves the share with every 2^tcp_tso_rtt_log microseconds.
  const rttLog = sk.net.ipv4.sysctlTcpTsoRttLog;
  const r = rttLog < 31 ? tcpMinRtt(sk) / (1 << rttLog) : 0;
  if (r < 32) bytes += max >>> r;
  bytes = bytes < max ? Math.floor(bytes) : max;
  return Math.max(Math.floor(bytes / mssNow), minTsoSegs);
}

/** tcp_tso_segs: how many segments an skb may have at most. */
export function tcpTsoSegs(sk: TcpSock, mssNow: number): number {
  const ops = sk.icskCaOps;
  const minTso = ops.minTsoSegs !== undefined ? ops.minTsoSegs(sk) : sk.net.ipv4.sysctlTcpMinTsoSegs;
  return Math.min(tcpTsoAutosize(sk, mssNow, minTso), sk.skGsoMaxSegs);
}

/** tcp_mss_split_point: bytes of `skb` that may be sent now: `maxSegs` segments, the window, and no partial tail if Nagle. */
function tcpMssSplitPoint(sk: TcpSock, skb: number, mssNow: number, maxSegs: number, nonagle: number): number {
  const window = seqSub(tcpWndEnd(sk), tcpSkbSeq(skb));
  const maxLen = mssNow * maxSegs;
  if (maxLen <= window && skb !== tcpWriteQueueTail(sk)) return maxLen;
  const needed = Math.min(skbLen(skb), window);
  if (maxLen <= needed) return maxLen;
  const partial = needed % mssNow;
  if (tcpNagleCheck(partial !== 0, sk, nonagle)) return needed - partial;
  return needed;
}

/** tcp_cwnd_test: how many segments the congestion window allows; at most half of it, so that two bursts are in flight. */
/* notrace */
function tcpCwndTest(tp: TcpSock, skb: number): number {
  // The final FIN need not wait for the congestion window: it carries nothing that could congest. (Kernels to 6.9 do so.)
  if ((tcpSkbFlags(skb) & TCPHDR_FIN) !== 0 && tcpSkbPcount(skb) === 1) return 1;
  const inFlight = tcpPacketsInFlight(tp);
  const cwnd = tcpSndCwnd(tp);
  if (inFlight >= cwnd) return 0;
  return Math.min(Math.max(cwnd >>> 1, 1), cwnd - inFlight);
}

/** tcp_snd_wnd_test: does at least the first segment of the skb fit the peer's window? */
/* notrace */
export function tcpSndWndTest(tp: TcpSock, skb: number, curMss: number): boolean {
  const endSeq = skbLen(skb) > curMss ? seqAdd(tcpSkbSeq(skb), curMss) : tcpSkbEndSeq(skb);
  return !after(endSeq, tcpWndEnd(tp));
}

/** Out parameters of tcp_tso_should_defer: what it waits for. */
let deferCwndLimited = false;
let deferRwndLimited = false;

/**
 * tcp_tso_should_defer: true if a super-packet that is not full yet should wait for the ACK that will let it grow. Sets
 * deferCwndLimited / deferRwndLimited when it is a window that limits it.
 */
function tcpTsoShouldDefer(sk: TcpSock, skb: number, maxSegs: number): boolean {
  if (sk.icskCaState >= TCP_CA_Recovery) return false;
  // Only if the last write was recent (1 ms): no burst after idleness. wstamp is in the future while pacing.
  if (sk.tcpClockCache - sk.tcpWstampNs - 1000 > 0) return false;

  const inFlight = tcpPacketsInFlight(sk);
  bugOn(tcpSkbPcount(skb) <= 1, "TSO deferral of a single segment");
  bugOn(tcpSndCwnd(sk) <= inFlight, "TSO deferral without congestion window");
  const sendWin = seqSub(tcpWndEnd(sk), tcpSkbSeq(skb));
  const congWin = (tcpSndCwnd(sk) - inFlight) * sk.mssCache;
  const limit = Math.min(sendWin, congWin);

  // If a full-sized TSO skb can be sent, do it.
  if (limit >= maxSegs * sk.mssCache) return false;
  const len = skbLen(skb);
  // In the middle of the queue it gets no more data: is it fully sendable already?
  if (skb !== tcpWriteQueueTail(sk) && limit >= len) return false;

  const winDivisor = sk.net.ipv4.sysctlTcpTsoWinDivisor;
  if (winDivisor !== 0) {
    // If at least some fraction of a window is available, just use it.
    const chunk = Math.floor(Math.min(sk.sndWnd, tcpSndCwnd(sk) * sk.mssCache) / winDivisor);
    if (limit >= chunk) return false;
  } else if (limit > tcpMaxTsoDeferredMss(sk) * sk.mssCache) {
    // Not past a single ACK: the receiver acknowledges every other segment, so three is what one ACK may release.
    return false;
  }

  const head = tcpRtxQueueHead(sk);
  if (head === 0) return false;
  // If the next ACK is likely to come too late (half of the RTT, or 1 ms), do not defer.
  const srtt = sk.srttUs / 8;
  const howFarIsTheAck = f64[(head + SKB_TSTAMP) >>> 3] + srtt - sk.tcpClockCache;
  const threshold = Math.min(srtt / 2, 1000);
  if (howFarIsTheAck - threshold > 0) return false;

  // It is advisable to wait. For cwnd, for the receiver, or for the application?
  if (congWin < sendWin) {
    if (congWin <= len) {
      deferCwndLimited = true;
      return true;
    }
  } else if (sendWin <= len) {
    deferRwndLimited = true;
    return true;
  }
  // If this packet won't get more data, do not wait.
  return (tcpSkbFlags(skb) & TCPHDR_FIN) === 0 && (tcpSkbCbFlags(skb) & TCPCB_FLAG_EOR) === 0;
}

/** tcp_pacing_check: true if the next skb may not leave yet; then the pacing timer is armed for it. */
/* notrace */
export function tcpPacingCheck(sk: TcpSock): boolean {
  if (!tcpNeedsInternalPacing(sk)) return false;
  if (sk.tcpWstampNs <= sk.tcpClockCache) return false;
  if (!timerPending(sk.pacingTimer)) modTimer(sk.pacingTimer, sk.tcpWstampNs);
  return true;
}

/** tcp_small_queue_check: true if enough of this socket is below TCP already (`factor` 1 doubles the limit). */
export function tcpSmallQueueCheck(sk: TcpSock, skb: number, factor: number): boolean {
  let limit = Math.max(2 * u32[(skb + SKB_TRUESIZE) >>> 2], sk.skPacingRate / (1 << sk.skPacingShift));
  limit = Math.min(limit, sk.net.ipv4.sysctlTcpLimitOutputBytes) * (1 << factor);
  // What TCP_TX_DELAY keeps below TCP comes on top; about half of an skb's truesize is payload, and 2^19 near 10^6 / 2.
  if (sk.tcpTxDelay !== 0) limit += Math.floor((sk.skPacingRate * sk.tcpTxDelay) / (1 << 19));
  if (sk.skWmemAlloc <= limit) return false;
  // Always send if the rtx queue is empty or holds one skb: the completion may come late.
  const head = tcpRtxQueueHead(sk);
  if (head === 0 || skbNext(head) === 0) return false;
  sk.tsqFlags |= TSQF_THROTTLED;
  return true;
}

/**
 * tcp_write_xmit: sends from the write queue as much as pacing, congestion window, peer's window, Nagle and TSQ allow.
 * `pushOne`: 1 = at most one skb, 2 = a tail loss probe, whatever cwnd says. True if nothing is in flight, something is
 * queued and nothing was sent: the caller arms the probe timer.
 */
export function tcpWriteXmit(sk: TcpSock, mssNow: number, nonagle: number, pushOne: number): boolean {
  let sentPkts = 0;
  let isCwndLimited = false;
  let isRwndLimited = false;

  tcpMstampRefresh(sk);
  // The option that is due now takes room.
  if (tcpEcnModeAccecn(sk) && tcpAccecnOptionBeaconCheck(sk)) mssNow = tcpCurrentMss(sk);
  if (pushOne === 0) {
    // Do MTU probing.
    const result = tcpMtuProbe(sk);
    if (result === 0) return false;
    if (result > 0) sentPkts = 1;
  }

  const maxSegs = tcpTsoSegs(sk, mssNow);
  let skb = 0;
  while ((skb = tcpSendHead(sk)) !== 0) {
    if (sk.repair && sk.repairQueue === TCP_SEND_QUEUE) {
      // TCP_REPAIR: it was sent before; its retransmission timer starts now.
      sk.tcpWstampNs = sk.tcpClockCache;
      f64[(skb + SKB_TSTAMP) >>> 3] = sk.tcpWstampNs;
      tcpSetSkbTsoSegs(skb, mssNow);
      tcpEventNewDataSent(sk, skb);
      tcpMinshallUpdate(sk, mssNow, skb);
      sentPkts += tcpSkbPcount(skb);
      if (pushOne !== 0) break;
      continue;
    }
    if (tcpPacingCheck(sk)) break;

    let cwndQuota = tcpCwndTest(sk, skb);
    if (cwndQuota === 0) {
      if (pushOne !== 2) break;
      // Force out a loss probe pkt.
      cwndQuota = 1;
    }
    if (cwndQuota > maxSegs) cwndQuota = maxSegs;
    const missingBytes = cwndQuota * mssNow - skbLen(skb);
    if (missingBytes > 0) tcpGrowSkb(sk, skb, missingBytes);

    const tsoSegs = tcpSetSkbTsoSegs(skb, mssNow);
    if (!tcpSndWndTest(sk, skb, mssNow)) {
      isRwndLimited = true;
      break;
    }
    if (tsoSegs === 1) {
      if (!tcpNagleTest(sk, skb, mssNow, tcpSkbIsLast(sk, skb) ? nonagle : TCP_NAGLE_PUSH)) break;
    } else if (pushOne === 0) {
      deferCwndLimited = false;
      deferRwndLimited = false;
      if (tcpTsoShouldDefer(sk, skb, maxSegs)) {
        if (deferCwndLimited) isCwndLimited = true;
        if (deferRwndLimited) isRwndLimited = true;
        break;
      }
    }

    let limit = mssNow;
    if (tsoSegs > 1 && !tcpUrgMode(sk)) limit = tcpMssSplitPoint(sk, skb, mssNow, cwndQuota, nonagle);
    if (skbLen(skb) > limit && tsoFragment(sk, skb, limit, mssNow) !== 0) break;

    if (tcpSmallQueueCheck(sk, skb, 0)) break;

    // An empty skb: sendmsg has queued it and waits for memory. It is no ACK.
    if (tcpSkbEndSeq(skb) === tcpSkbSeq(skb)) break;

    if (tcpTransmitSkb(sk, skb, 1) !== 0) break;

    // Advance the send head: this one is sent out.
    tcpEventNewDataSent(sk, skb);
    tcpMinshallUpdate(sk, mssNow, skb);
    sentPkts += tcpSkbPcount(skb);
    if (pushOne !== 0) break;
  }

  if (isRwndLimited) tcpChronoStart(sk, TCP_CHRONO_RWND_LIMITED);
  else tcpChronoStop(sk, TCP_CHRONO_RWND_LIMITED);

  if (tcpPacketsInFlight(sk) >= tcpSndCwnd(sk)) isCwndLimited = true;
  if (sentPkts !== 0 || isCwndLimited) tcpCwndValidate(sk, isCwndLimited);

  if (sentPkts !== 0) {
    if (tcpInCwndReduction(sk)) sk.prrOut += sentPkts;
    // Send one loss probe per tail loss episode.
    if (pushOne !== 2) tcpScheduleLossProbe(sk, false);
    return false;
  }
  return sk.packetsOut === 0 && !tcpWriteQueueEmpty(sk);
}

/** __tcp_push_pending_frames: sends what is queued; if the window is closed, sees to it that it is probed. */
export function __tcpPushPendingFrames(sk: TcpSock, curMss: number, nonagle: number): void {
  // If we are closed, the bytes will have to remain here.
  if (sk.skcState === TCP_CLOSE) return;
  if (tcpWriteXmit(sk, curMss, nonagle, 0)) tcpCheckProbeTimer(sk);
}

/** tcp_push_one: sends the head of the write queue, a full skb that sendmsg has just finished. */
export function tcpPushOne(sk: TcpSock, mssNow: number): void {
  const skb = tcpSendHead(sk);
  bugOn(skb === 0 || skbLen(skb) < mssNow, "tcp_push_one without a full segment");
  tcpWriteXmit(sk, mssNow, TCP_NAGLE_PUSH, 1);
}
