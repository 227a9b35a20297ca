/**
 * The small socks at both ends of a connection's life: requests, which stand for it while it is in SYN_RECV, and
 * TIME_WAIT socks, which bury it.
 *
 * ```
 *   SYN --> RequestSock (NEW_SYN_RECV) --ACK--> TcpSock (SYN_RECV, ESTABLISHED ...) --FIN--> TcpTimewaitSock
 *           tcp_conn_request            tcp_check_req                                tcp_time_wait
 * ```
 */

import { kernel } from "../../kernel/kernel.ts";
import { netIncStats, tcpIncStats } from "../../kernel/mib.ts";
import { modTimer, timerPending } from "../../kernel/timer.ts";
import { skbLen } from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_TCP_LISTEN_OVERFLOW,
  SKB_DROP_REASON_TCP_OVERWINDOW,
  SKB_DROP_REASON_TCP_RFC7323_PAWS,
  SKB_DROP_REASON_TCP_RFC7323_TSECR,
  SKB_DROP_REASON_TCP_RFC7323_TW_PAWS,
} from "../../uapi/dropreason.ts";
import {
  LINUX_MIB_EMBRYONICRSTS,
  LINUX_MIB_PAWS_TW_REJECTED,
  LINUX_MIB_PAWSESTABREJECTED,
  LINUX_MIB_TCPACKSKIPPEDFINWAIT2,
  LINUX_MIB_TCPACKSKIPPEDSYNRECV,
  LINUX_MIB_TCPACKSKIPPEDTIMEWAIT,
  LINUX_MIB_TCPDEFERACCEPTDROP,
  LINUX_MIB_TCPTIMEWAITOVERFLOW,
  LINUX_MIB_TSECRREJECTED,
  TCP_MIB_ATTEMPTFAILS,
  TCP_MIB_PASSIVEOPENS,
} from "../../uapi/linux_mib.ts";
import { RTAX_CC_ALGO, RTAX_INITRWND, RTAX_WINDOW } from "../../uapi/rtnetlink.ts";
import {
  TCP_CA_Open,
  TCP_FIN_WAIT2,
  TCP_MSS_DEFAULT,
  TCP_SYN_RECV,
  TCP_TIME_WAIT,
  TCPHDR_ACK,
  TCPHDR_FIN,
  TCPHDR_RST,
  TCPHDR_SYN,
  TCPOLEN_TSTAMP_ALIGNED,
} from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetric, dstMetricAdvmss } from "../core/dst.ts";
import type { Sock } from "../core/sock.ts";
import { ErrBox, SOCK_KEEPOPEN, SOCK_RCVBUF_LOCK, sockFlag, sockPut } from "../core/sock.ts";
import {
  inetCskCloneLock,
  inetCskCompleteHashdance,
  inetCskReqskQueueDropAndPut,
  inetCskResetKeepaliveTimer,
  inetRtxSynAck,
} from "./inet_connection_sock.ts";
import type { InetConnectionSock, RequestSock, TcpTimewaitSock } from "./inet_sock.ts";
import {
  inetTwskAlloc,
  inetTwskDeschedulePut,
  inetTwskHashdanceSchedule,
  inetTwskReschedule,
} from "./inet_timewait_sock.ts";
import type { Seq } from "./seq.ts";
import { after, before, between, seq, seqAdd, seqRaw } from "./seq.ts";
import { tcpDone } from "./tcp.ts";
import { tcpAssignCongestionControl, tcpCaFindKey } from "./tcp_cong.ts";
import {
  tcpAccecnReqSawOpt,
  tcpAccecnReqSynAgain,
  tcpAccecnSynackRetransmitted,
  tcpEcnOpenreqChild,
} from "./tcp_ecn.ts";
import { reqskFastopenRemove } from "./tcp_fastopen.ts";
import {
  keepaliveTimeWhen,
  ktimeGetSeconds,
  minmaxReset,
  TCP_HEADER_SIZE,
  TCP_TIMEWAIT_LEN,
  tcpClockMs,
  tcpFullSpace,
  tcpHdr,
  tcpInitWl,
  tcpJiffies32,
  tcpMssClamp,
  tcpPawsReject,
  tcpReceiveWindow,
  tcpSegsIn,
  tcpSetCaState,
  thDoff,
  thFlags,
  thWindow,
  USEC_PER_SEC,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import { tcpReqskSendChallengeAck } from "./tcp_input.ack.ts";
import { tcpOowRateLimited, tcpParseOptions, tcpRcvStateProcess, tcpReset, tcpSynackRttMeas } from "./tcp_input.ts";
import { tcpMd5DoLookup } from "./tcp_md5.ts";
import { tcpUpdateMetrics } from "./tcp_metrics.ts";
import { tcpSelectInitialWindow } from "./tcp_output.ts";
import type { TcpInitialWindow, TcpSock } from "./tcp_sock.ts";
import { newTcpInitialWindow, TcpOptionsReceived, tcpSkbAckSeq, tcpSkbEndSeq, tcpSkbSeq } from "./tcp_sock.ts";
import { tcpInitXmitTimers } from "./tcp_timer.ts";

// What tcp_timewait_state_process found (enum tcp_tw_status).
/** Nothing more to do. */
export const TCP_TW_SUCCESS = 0;
export const TCP_TW_RST = 1;
export const TCP_TW_ACK = 2;
/** A new connection may begin, from `isn`. */
export const TCP_TW_SYN = 3;
/** TCP_TW_ACK, for a segment that is out of the window. */
export const TCP_TW_ACK_OOW = 4;

/** tcp_in_window: RFC 9293 §3.10.7.4 for a segment [seq, endSeq) and the window [sWin, eWin). */
function tcpInWindow(s: Seq, endSeq: Seq, sWin: Seq, eWin: Seq): boolean {
  if (s === sWin) return true;
  if (after(endSeq, sWin) && before(s, eWin)) return true;
  return s === eWin && s === endSeq;
}

const twStamp: { lastOowAckTime: number } = { lastOowAckTime: 0 };

/** tcp_timewait_check_oow_rate_limit. */
function tcpTimewaitCheckOowRateLimit(tw: TcpTimewaitSock, skb: number, mibIdx: number): number {
  twStamp.lastOowAckTime = tw.twLastOowAckTime;
  const limited = tcpOowRateLimited(tw.net, skb, mibIdx, twStamp);
  tw.twLastOowAckTime = twStamp.lastOowAckTime;
  return limited ? TCP_TW_SUCCESS : TCP_TW_ACK_OOW;
}

const tmpOpt: TcpOptionsReceived = new TcpOptionsReceived();

/** The timestamp of the segment is stored: RFC 7323 §5.5 works across connections. */
function twStoreTs(tw: TcpTimewaitSock, opt: TcpOptionsReceived): void {
  tw.twTsRecent = opt.rcvTsval;
  tw.twTsRecentStamp = ktimeGetSeconds();
}

/**
 * tcp_timewait_state_process: a segment for a connection in TIME_WAIT (RFC 9293 §3.10.7.4 "TIME-WAIT STATE"), or of
 * which this host forgot everything else in FIN_WAIT2. Returns TCP_TW_*, with the new connection's ISN in `isn.value`
 * for TCP_TW_SYN. `dropReason` is set if the segment was refused for its timestamp. The skb stays the caller's.
 */
export function tcpTimewaitStateProcess(tw: TcpTimewaitSock, skb: number, isn: ErrBox, dropReason: ErrBox): number {
  const th = tcpHdr(skb);
  const flags = thFlags(th);
  const rst = (flags & TCPHDR_RST) !== 0;
  const s = tcpSkbSeq(skb);
  const endSeq = tcpSkbEndSeq(skb);
  const rcvNxt = seq(tw.twRcvNxt);
  const opt = tmpOpt;
  let pawsReject = false;
  opt.sawTstamp = false;
  opt.sackOk = 0;
  opt.userMss = 0;
  if (thDoff(th) > TCP_HEADER_SIZE / 4 && tw.twTsRecentStamp !== 0) {
    tcpParseOptions(tw.net, skb, opt, 0, null);
    if (opt.sawTstamp) {
      if (opt.rcvTsecr !== 0) opt.rcvTsecr = (opt.rcvTsecr - tw.twTsOffset) >>> 0;
      opt.tsRecent = tw.twTsRecent;
      opt.tsRecentStamp = tw.twTsRecentStamp;
      pawsReject = tcpPawsReject(opt, rst);
    }
  }

  if (tw.twSubstate === TCP_FIN_WAIT2) {
    // The checks of tcp_rcv_state_process again.
    if (pawsReject || !tcpInWindow(s, endSeq, rcvNxt, seqAdd(rcvNxt, tw.twRcvWnd))) {
      return tcpTimewaitCheckOowRateLimit(tw, skb, LINUX_MIB_TCPACKSKIPPEDFINWAIT2);
    }
    if (rst) {
      inetTwskDeschedulePut(tw);
      return TCP_TW_SUCCESS;
    }
    if ((flags & TCPHDR_SYN) !== 0 && !before(s, rcvNxt)) return TCP_TW_RST;
    // A duplicate ACK.
    if ((flags & TCPHDR_ACK) === 0 || !after(endSeq, rcvNxt) || endSeq === s) return TCP_TW_SUCCESS;
    // RFC 1122 §4.2.2.13: new data after close(): reset.
    if ((flags & TCPHDR_FIN) === 0 || endSeq !== seqAdd(rcvNxt, 1)) return TCP_TW_RST;
    // The FIN: true TIME_WAIT from now on.
    tw.twSubstate = TCP_TIME_WAIT;
    tw.twRcvNxt = seqRaw(endSeq);
    if (opt.sawTstamp) {
      tw.twEntryStamp = tcpClockMs();
      twStoreTs(tw, opt);
    }
    inetTwskReschedule(tw, TCP_TIMEWAIT_LEN);
    return TCP_TW_ACK;
  }

  // TIME_WAIT.
  if (!pawsReject && s === rcvNxt && (s === endSeq || rst)) {
    // In the window it can only be a reset or a bare ACK.
    if (rst) {
      // TIME-WAIT assassination: tolerated, unless RFC 1337 §4 fix (F1) is wanted.
      if (tw.net.ipv4.sysctlTcpRfc1337 === 0) {
        inetTwskDeschedulePut(tw);
        return TCP_TW_SUCCESS;
      }
    } else {
      inetTwskReschedule(tw, TCP_TIMEWAIT_LEN);
    }
    if (opt.sawTstamp) twStoreTs(tw, opt);
    return TCP_TW_SUCCESS;
  }

  // RFC 6191, RFC 1122 §4.2.2.13: a SYN with a larger sequence number, or a newer timestamp, may reopen the connection.
  if (
    (flags & (TCPHDR_SYN | TCPHDR_RST | TCPHDR_ACK)) === TCPHDR_SYN &&
    !pawsReject &&
    (after(s, rcvNxt) || (opt.sawTstamp && ((tw.twTsRecent - opt.rcvTsval) | 0) < 0))
  ) {
    // Beyond everything that the old connection can have sent.
    isn.value = (tw.twSndNxt + 65535 + 2) >>> 0;
    if (isn.value === 0) isn.value++;
    return TCP_TW_SYN;
  }

  if (pawsReject) {
    dropReason.value = SKB_DROP_REASON_TCP_RFC7323_TW_PAWS;
    netIncStats(tw.net, LINUX_MIB_PAWS_TW_REJECTED);
  }
  if (rst) return TCP_TW_SUCCESS;
  // "Restart the 2 MSL timeout". Not for a bare SYN: it may be a new one with a smaller sequence number.
  if (pawsReject || (flags & TCPHDR_ACK) !== 0) inetTwskReschedule(tw, TCP_TIMEWAIT_LEN);
  return tcpTimewaitCheckOowRateLimit(tw, skb, LINUX_MIB_TCPACKSKIPPEDTIMEWAIT);
}

/**
 * tcp_time_wait: the connection lives on as a TIME_WAIT sock, in state TIME_WAIT, or in FIN_WAIT2 for `timeo`
 * microseconds; `sk` is done.
 */
export function tcpTimeWait(sk: TcpSock, state: number, timeo: number): void {
  const tw = inetTwskAlloc(sk, state);
  if (tw !== null) {
    const rto = usecsRoundJiffies(sk.icskRto * 3.5);
    tw.twRcvWscale = sk.rxOpt.rcvWscale;
    tw.twEntryStamp = tcpClockMs();
    tw.twRcvNxt = seqRaw(sk.rcvNxt);
    tw.twSndNxt = seqRaw(sk.sndNxt);
    tw.twRcvWnd = tcpReceiveWindow(sk);
    tw.twTsRecent = sk.rxOpt.tsRecent;
    tw.twTsRecentStamp = sk.rxOpt.tsRecentStamp;
    tw.twTsOffset = sk.tsoffset;
    tw.twLastOowAckTime = 0;
    tw.twTxhash = sk.skTxhash;
    tw.twPriority = sk.skPriority;
    tw.skMark = sk.skMark;
    tw.twMd5Key = sk.md5sigInfo !== null ? tcpMd5DoLookup(sk, sk.skcDaddr) : null;
    if (timeo < rto) timeo = rto;
    if (state === TCP_TIME_WAIT) timeo = TCP_TIMEWAIT_LEN;
    inetTwskHashdanceSchedule(tw, sk, timeo);
  } else {
    // Too many of them: the connection ends without one (tcp_max_tw_buckets).
    netIncStats(sk.net, LINUX_MIB_TCPTIMEWAITOVERFLOW);
  }
  tcpUpdateMetrics(sk);
  tcpDone(sk);
}

const openreqWindow: TcpInitialWindow = newTcpInitialWindow();

/** tcp_openreq_init_rwin: the window of the SYN-ACK. */
export function tcpOpenreqInitRwin(req: RequestSock, skListener: TcpSock, dst: DstEntry): void {
  let fullSpace = tcpFullSpace(skListener);
  const mss = tcpMssClamp(skListener, dstMetricAdvmss(dst));
  const w = openreqWindow;
  w.windowClamp = skListener.windowClamp !== 0 ? skListener.windowClamp : dstMetric(dst, RTAX_WINDOW);
  // The user's buffer limits it.
  if ((skListener.skUserlocks & SOCK_RCVBUF_LOCK) !== 0 && (w.windowClamp > fullSpace || w.windowClamp === 0)) {
    w.windowClamp = fullSpace;
  }
  const rcvWnd = dstMetric(dst, RTAX_INITRWND);
  if (rcvWnd !== 0 && fullSpace < rcvWnd * mss) fullSpace = rcvWnd * mss;
  w.rcvWnd = req.rskRcvWnd;
  tcpSelectInitialWindow(
    skListener,
    fullSpace,
    mss - (req.tstampOk ? TCPOLEN_TSTAMP_ALIGNED : 0),
    w,
    req.wscaleOk,
    rcvWnd,
  );
  req.rskRcvWnd = w.rcvWnd;
  req.rskWindowClamp = w.windowClamp;
  req.rcvWscale = w.rcvWscale;
}

/** tcp_ca_openreq_child: the route's congestion control, else the listener's own choice, else the default. */
export function tcpCaOpenreqChild(sk: TcpSock, dst: DstEntry): void {
  const key = dstMetric(dst, RTAX_CC_ALGO);
  const ca = key !== 0 ? tcpCaFindKey(key) : null;
  if (ca !== null) {
    sk.icskCaDstLocked = (dst.metricsLock & (1 << RTAX_CC_ALGO)) !== 0;
    sk.icskCaOps = ca;
    sk.icskCaOpsSetBy = "tcp_ca_openreq_child";
  } else if (!sk.icskCaSetsockopt) {
    tcpAssignCongestionControl(sk);
  }
  tcpSetCaState(sk, TCP_CA_Open);
}

/**
 * tcp_create_openreq_child: the sock of a connection whose handshake `skb` completes: a copy of the listener with the
 * state that the request has kept. Null = no memory.
 */
export function tcpCreateOpenreqChild(sk: Sock, req: RequestSock, skb: number): TcpSock | null {
  const newtp = inetCskCloneLock(sk as InetConnectionSock, req) as TcpSock | null;
  if (newtp === null) return null;
  newtp.predFlags = 0;
  const rcvNxt = seq(req.rcvIsn + 1);
  newtp.rcvWup = rcvNxt;
  newtp.copiedSeq = rcvNxt;
  newtp.rcvNxt = rcvNxt;
  newtp.segsIn = 1;
  const sndNxt = seq(req.sntIsn + 1);
  newtp.sndSml = sndNxt;
  newtp.sndUna = sndNxt;
  newtp.sndNxt = sndNxt;
  newtp.sndUp = sndNxt;
  newtp.writeSeq = sndNxt;
  newtp.pushedSeq = sndNxt;
  tcpInitWl(newtp, seq(req.rcvIsn));

  minmaxReset(newtp.rttMin, tcpJiffies32(), 0xffffffff);
  newtp.icskAck.lrcvtime = tcpJiffies32();
  newtp.lsndtime = tcpJiffies32();
  newtp.skTxhash = req.txhash;
  newtp.totalRetrans = req.numRetrans;
  tcpInitXmitTimers(newtp);
  if (sockFlag(newtp, SOCK_KEEPOPEN)) inetCskResetKeepaliveTimer(newtp, keepaliveTimeWhen(newtp));

  const rxOpt = newtp.rxOpt;
  rxOpt.tstampOk = req.tstampOk;
  rxOpt.sackOk = req.sackOk ? 1 : 0;
  newtp.windowClamp = req.rskWindowClamp;
  newtp.rcvSsthresh = req.rskRcvWnd;
  newtp.rcvWnd = req.rskRcvWnd;
  newtp.rcvMwndSeq = seqAdd(newtp.rcvWup, req.rskRcvWnd);
  rxOpt.wscaleOk = req.wscaleOk;
  if (req.wscaleOk) {
    rxOpt.sndWscale = req.sndWscale;
    rxOpt.rcvWscale = req.rcvWscale;
  } else {
    rxOpt.sndWscale = 0;
    rxOpt.rcvWscale = 0;
    newtp.windowClamp = Math.min(newtp.windowClamp, 65535);
  }
  newtp.sndWnd = thWindow(tcpHdr(skb)) * (1 << rxOpt.sndWscale);
  newtp.maxWindow = newtp.sndWnd;

  if (req.tstampOk) {
    rxOpt.tsRecent = req.tsRecent;
    rxOpt.tsRecentStamp = ktimeGetSeconds();
    newtp.tcpHeaderLen = TCP_HEADER_SIZE + TCPOLEN_TSTAMP_ALIGNED;
  } else {
    rxOpt.tsRecentStamp = 0;
    newtp.tcpHeaderLen = TCP_HEADER_SIZE;
  }
  if (req.numTimeout !== 0) {
    // The SYN-ACK was retransmitted: the ACK may show (by its timestamp) that this was not needed.
    newtp.totalRto = req.numTimeout;
    newtp.undoMarker = seq(req.sntIsn);
    newtp.undoMarkerSet = true;
    newtp.retransStamp = Math.floor(req.snt_synack / 1000) >>> 0;
    newtp.totalRtoTime = (tcpClockMs() - newtp.retransStamp) >>> 0;
    newtp.totalRtoRecoveries = 1;
  }
  newtp.tsoffset = req.tsOff;
  if (skbLen(skb) >= TCP_MSS_DEFAULT + newtp.tcpHeaderLen) {
    newtp.icskAck.lastSegSize = skbLen(skb) - newtp.tcpHeaderLen;
  }
  rxOpt.mssClamp = req.mss;
  tcpEcnOpenreqChild(newtp, req, skb);
  // The key of the peer is copied later, the others not at all.
  newtp.md5sigInfo = null;
  newtp.fastopenReq = null;
  newtp.fastopenRsk = null;
  tcpIncStats(sk.net, TCP_MIB_PASSIVEOPENS);
  return newtp;
}

/** Why the last tcp_check_req that returned null dropped the segment. */
export const checkReqDrop: ErrBox = new ErrBox();
const ownReqBox: ErrBox = new ErrBox();

/** tcp_reqsk_timeout: microseconds. */
function tcpReqskTimeout(req: RequestSock): number {
  return Math.min(req.timeout * 2 ** req.numTimeout, req.rskListener.icskRtoMax);
}

/**
 * tcp_check_req: a segment for a connection in SYN_RECV (RFC 9293 §3.10.7.4, as corrected by RFC 1122 §4.2.2.20).
 * Returns the new sock; the listener `sk` itself if the segment has to be processed (answered) by it; or null if it was
 * dropped, for
 * `checkReqDrop`. With `fastopen`, `sk` is the child that exists already. The skb stays the caller's.
 */
export function tcpCheckReq(
  sk: TcpSock,
  skb: number,
  req: RequestSock,
  fastopen: boolean,
  _lostRace: ErrBox | null,
): TcpSock | null {
  const th = tcpHdr(skb);
  const net = sk.net;
  let flg = thFlags(th) & (TCPHDR_RST | TCPHDR_SYN | TCPHDR_ACK);
  const s = tcpSkbSeq(skb);
  const endSeq = tcpSkbEndSeq(skb);
  const rcvIsn = seq(req.rcvIsn);
  const opt = tmpOpt;
  let pawsReject = false;
  let tsecrReject = false;
  checkReqDrop.value = SKB_DROP_REASON_NOT_SPECIFIED;
  opt.sawTstamp = false;
  opt.accecn = 0;
  opt.sackOk = 0;
  opt.userMss = 0;
  if (thDoff(th) > TCP_HEADER_SIZE / 4) {
    tcpParseOptions(net, skb, opt, 0, null);
    if (opt.sawTstamp) {
      opt.tsRecent = req.tsRecent;
      if (opt.rcvTsecr !== 0) {
        if (req.tstampOk && !fastopen) {
          tsecrReject = !between(seq(opt.rcvTsecr), seq(req.sntTsvalFirst), seq(req.sntTsvalLast));
        }
        opt.rcvTsecr = (opt.rcvTsecr - req.tsOff) >>> 0;
      }
      // The true stamp was not kept; it cannot be older than this.
      opt.tsRecentStamp = ktimeGetSeconds() - Math.floor(tcpReqskTimeout(req) / USEC_PER_SEC);
      pawsReject = tcpPawsReject(opt, (flg & TCPHDR_RST) !== 0);
    }
  }

  // A retransmitted SYN: the SYN-ACK was lost; it is sent again, and its timer starts anew.
  if (s === rcvIsn && flg === TCPHDR_SYN && !pawsReject) {
    if (tcpOowRateLimited(net, skb, LINUX_MIB_TCPACKSKIPPEDSYNRECV, req)) return null;
    tcpAccecnReqSynAgain(req, skb);
    if (inetRtxSynAck(sk, req) === 0) {
      tcpAccecnSynackRetransmitted(req);
      if (req.rskTimer !== null && timerPending(req.rskTimer)) {
        modTimer(req.rskTimer, usecsRoundJiffies(kernel.now + tcpReqskTimeout(req)));
      }
    }
    return null;
  }

  // "If the segment acknowledgment is not acceptable, form a reset segment": the listener does. Not in answer to a RST.
  if ((flg & (TCPHDR_ACK | TCPHDR_RST)) === TCPHDR_ACK && !fastopen && tcpSkbAckSeq(skb) !== seq(req.sntIsn + 1)) {
    return sk;
  }

  // "first, check sequence number".
  const rcvNxt = seq(req.rcvNxt);
  const inWindow = tcpInWindow(s, endSeq, rcvNxt, seqAdd(rcvNxt, Math.min(req.rskRcvWnd, 65535)));
  if (pawsReject || tsecrReject || !inWindow) {
    if ((flg & TCPHDR_RST) === 0 && !tcpOowRateLimited(net, skb, LINUX_MIB_TCPACKSKIPPEDSYNRECV, req)) {
      req.rskOps.sendAck(sk, skb, req);
    }
    if (pawsReject) {
      checkReqDrop.value = SKB_DROP_REASON_TCP_RFC7323_PAWS;
      netIncStats(net, LINUX_MIB_PAWSESTABREJECTED);
    } else if (tsecrReject) {
      checkReqDrop.value = SKB_DROP_REASON_TCP_RFC7323_TSECR;
      netIncStats(net, LINUX_MIB_TSECRREJECTED);
    } else {
      checkReqDrop.value = SKB_DROP_REASON_TCP_OVERWINDOW;
    }
    return null;
  }
  // A SYN at the old place is outside of the window; what follows it counts.
  if (s === rcvIsn) flg &= ~TCPHDR_SYN;

  // RFC 9293 §3.10.7.4 "second", as of RFC 5961 §3.2: in the window, but not exact.
  if ((flg & TCPHDR_RST) !== 0 && s !== rcvNxt) {
    tcpReqskSendChallengeAck(sk, skb, req);
    return null;
  }

  // "second, check the RST bit" and "fourth, check the SYN bit".
  if ((flg & (TCPHDR_RST | TCPHDR_SYN)) !== 0) {
    tcpIncStats(net, TCP_MIB_ATTEMPTFAILS);
    return tcpEmbryonicReset(sk, skb, req, flg, fastopen);
  }
  // "if the ACK bit is off, drop the segment and return".
  if ((flg & TCPHDR_ACK) === 0) return null;
  tcpAccecnReqSawOpt(req, skb, opt.accecn);
  if (fastopen) return sk;

  // TCP_DEFER_ACCEPT: the user wants to hear of it when data has come.
  if (req.numTimeout < sk.icskAcceptQueue.rskqDeferAccept && endSeq === seqAdd(rcvIsn, 1)) {
    req.acked = true;
    netIncStats(net, LINUX_MIB_TCPDEFERACCEPTDROP);
    return null;
  }

  ownReqBox.value = 0;
  const child = sk.icskAfOps.synRecvSock(sk, skb, req, null, ownReqBox) as TcpSock | null;
  if (child === null) {
    checkReqDrop.value = SKB_DROP_REASON_TCP_LISTEN_OVERFLOW;
    // The ACK comes again, with data; until then the client believes itself connected.
    if (net.ipv4.sysctlTcpAbortOnOverflow === 0) {
      req.acked = true;
      return null;
    }
    return tcpEmbryonicReset(sk, skb, req, flg, fastopen);
  }
  const ownReq = ownReqBox.value !== 0;
  if (ownReq && opt.sawTstamp && !after(s, rcvNxt)) child.rxOpt.tsRecent = opt.rcvTsval;
  tcpSynackRttMeas(child, req);
  return inetCskCompleteHashdance(sk, child, req, ownReq) as TcpSock | null;
}

/** embryonic_reset: the request is over. */
function tcpEmbryonicReset(sk: TcpSock, skb: number, req: RequestSock, flg: number, fastopen: boolean): null {
  if ((flg & TCPHDR_RST) === 0) {
    req.rskOps.sendReset(sk, skb);
  } else if (fastopen) {
    reqskFastopenRemove(sk, req, true);
    tcpReset(sk, skb);
  }
  if (!fastopen) {
    const was = req.skcHashed;
    inetCskReqskQueueDropAndPut(sk, req);
    if (was) netIncStats(sk.net, LINUX_MIB_EMBRYONICRSTS);
  }
  return null;
}

/**
 * tcp_child_process: the segment that made the child is its first. Returns 0 (the skb was consumed), or the reason to
 * answer it with a RST.
 */
export function tcpChildProcess(parent: Sock, child: TcpSock, skb: number): number {
  const state = child.skcState;
  tcpSegsIn(child, skb);
  const reason = tcpRcvStateProcess(child, skb);
  // Somebody may wait in accept().
  if (state === TCP_SYN_RECV && child.skcState !== state) parent.skDataReady(parent);
  // What sk_clone_lock gave to its caller.
  sockPut(child);
  return reason;
}
