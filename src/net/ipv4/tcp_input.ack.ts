/**
 * TCP input, the sending half: what an ACK acknowledges and what follows from it (RFC 9293 §3.10.7.4 "fifth, check the
 * ACK field"): the retransmit queue shrinks, RTT and RTO are estimated (RFC 6298), losses are looked for, the
 * congestion window changes (RFC 5681), timers are set again (RFC 6298 §5, RFC 8985 §7).
 */

import { TCPCB_FLAG_TXSTAMP_ACK } from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import { USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { netAddStats, netIncStats } from "../../kernel/mib.ts";
import { getRandomU32Inclusive } from "../../kernel/random.ts";
import { skbGsoSegs, skbNext, skbTskey } from "../../mm/skb.ts";
import { SKB_DROP_REASON_TCP_ACK_UNSENT_DATA, SKB_DROP_REASON_TCP_TOO_OLD_ACK } from "../../uapi/dropreason.ts";
import {
  LINUX_MIB_TCPACKSKIPPEDCHALLENGE,
  LINUX_MIB_TCPCHALLENGEACK,
  LINUX_MIB_TCPDELIVERED,
  LINUX_MIB_TCPDELIVEREDCE,
  LINUX_MIB_TCPHPACKS,
  LINUX_MIB_TCPLOSSPROBERECOVERY,
  LINUX_MIB_TCPPUREACKS,
} from "../../uapi/linux_mib.ts";
import { RTAX_INITCWND } from "../../uapi/rtnetlink.ts";
import { TCP_CA_CWR, TCP_CA_Open, TCP_SYN_SENT, TCPHDR_SYN } from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetric } from "../core/dst.ts";
import { __skbTstampTx, SCM_TSTAMP_ACK } from "../core/errqueue.ts";
import type { Net } from "../core/net_namespace.ts";
import { skDstConfirm } from "../core/sock.ts";
import { inetCskClearXmitTimer } from "./inet_connection_sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import { ICSK_TIME_LOSS_PROBE, ICSK_TIME_PROBE0, ICSK_TIME_REO_TIMEOUT, ICSK_TIME_RETRANS } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { after, before, between, seqAdd, seqRaw, seqSub } from "./seq.ts";
import { CA_ACK_ECE, CA_ACK_SLOWPATH, CA_ACK_WIN_UPDATE } from "./tcp_cong.ts";
import {
  tcpAccecnProcess,
  tcpAccecnReflectorFlags,
  tcpEcnAcceptCwr,
  tcpEcnModeAccecn,
  tcpEcnModeRfc3168,
  tcpEcnRcvEcnEcho,
} from "./tcp_ecn.ts";
import {
  ktimeGetSeconds,
  minmaxRunningMin,
  TCP_CHRONO_BUSY,
  TCP_INIT_CWND,
  TCP_NAGLE_OFF,
  tcpClockUs,
  tcpFastPathCheck,
  tcpHdr,
  tcpHighestSackReplace,
  tcpHighestSackSeq,
  tcpInCwndReduction,
  tcpIsReno,
  tcpIsSack,
  tcpJiffies32,
  tcpMinRtt,
  tcpPacketsInFlight,
  tcpPawsCheck,
  tcpProbe0When,
  tcpResetXmitTimer,
  tcpRtoDeltaUs,
  tcpRtoMax,
  tcpRtoMinUs,
  tcpRtxQueueHead,
  tcpRtxQueueUnlinkAndFree,
  tcpSendHead,
  tcpSetCaState,
  tcpSetRto,
  tcpSkbTimestamp,
  tcpSkbTimestampUs,
  tcpSndCwnd,
  tcpStampUsDelta,
  tcpUpdateWl,
  tcpWndEnd,
  tcpWriteQueueEmpty,
  thFlags,
  thWindow,
  USEC_PER_SEC,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import {
  FLAG_ACK_MAYBE_DELAYED,
  FLAG_ACKED,
  FLAG_CA_ALERT,
  FLAG_DATA,
  FLAG_DATA_ACKED,
  FLAG_DATA_SACKED,
  FLAG_DSACK_TLP,
  FLAG_DSACKING_ACK,
  FLAG_ECE,
  FLAG_FORWARD_PROGRESS,
  FLAG_NO_CHALLENGE_ACK,
  FLAG_NOT_DUP,
  FLAG_ORIG_SACK_ACKED,
  FLAG_RETRANS_DATA_ACKED,
  FLAG_SACK_RENEGING,
  FLAG_SET_XMIT_TIMER,
  FLAG_SLOWPATH,
  FLAG_SND_UNA_ADVANCED,
  FLAG_SYN_ACKED,
  FLAG_TS_PROGRESS,
  FLAG_UPDATE_TS_RECENT,
  FLAG_WIN_UPDATE,
  REXMIT_NEW,
  REXMIT_NONE,
} from "./tcp_input.h.ts";
import {
  fastretransRexmit,
  tcpCwndReduction,
  tcpEndCwndReduction,
  tcpFastretransAlert,
  tcpInitCwndReduction,
  tcpMtupProbeSuccess,
  tcpSkbSpuriousRetrans,
  tcpTryKeepOpen,
} from "./tcp_input.loss.ts";
import { tcpRttTsoptUs } from "./tcp_input.rcv.ts";
import {
  tcpCheckSackReordering,
  tcpCountDelivered,
  tcpRemoveRenoSacks,
  tcpSacktagWriteQueue,
} from "./tcp_input.sack.ts";
import {
  __tcpPushPendingFrames,
  __tcpSendAck,
  tcpChronoStop,
  tcpCurrentMss,
  tcpScheduleLossProbe,
  tcpSlowStartAfterIdleCheck,
  tcpSyncMss,
  tcpTrimHead,
  tcpXmitRetransmitQueue,
} from "./tcp_output.ts";
import { tcpRateGen, tcpRateSkbDelivered } from "./tcp_rate.ts";
import { tcpRackAdvance, tcpRackUpdateReoWnd } from "./tcp_recovery.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  AckSample,
  RateSample,
  TCPCB_LOST,
  TCPCB_RETRANS,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  TcpSacktagState,
  tcpSkbAckSeq,
  tcpSkbCbFlags,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbPcount,
  tcpSkbSacked,
  tcpSkbSeq,
} from "./tcp_sock.ts";
import { tcpClampProbe0ToUserTimeout } from "./tcp_timer.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** RFC 5961 §7: the second for which challenge ACKs are counted, and how many are left in it. */
    tcpChallengeTimestamp: number;
    tcpChallengeCount: number;
  }
}

// ---- RTT and RTO (RFC 6298) -----------------------------------------------------------------------------------------

/** tcp_update_rtt_min: the minimum RTT of the last tcp_min_rtt_wlen seconds. */
function tcpUpdateRttMin(sk: TcpSock, rttUs: number, flag: number): void {
  // An ACK that the peer may have delayed must not end up as the minimum when the window slides.
  if ((flag & FLAG_ACK_MAYBE_DELAYED) !== 0 && rttUs > tcpMinRtt(sk)) return;
  const wlen = sk.net.ipv4.sysctlTcpMinRttWlen * (USEC_PER_SEC / USEC_PER_JIFFY);
  minmaxRunningMin(sk.rttMin, wlen, tcpJiffies32(), rttUs !== 0 ? rttUs : USEC_PER_JIFFY);
}

/**
 * tcp_rtt_estimator: RFC 6298 §2 with the kernel's changes: srtt_us is SRTT times 8, mdev_us the deviation times 4; the
 * variance that the RTO uses is the largest deviation of the last RTT, never below rto_min, and decays once an RTT;
 * when RTTs fall the deviation grows only by an eighth of the usual (Eifel's point: a shorter RTT is no reason for a
 * longer RTO).
 */
export function tcpRttEstimator(sk: TcpSock, mrttUs: number): void {
  let m = mrttUs;
  let srtt = sk.srttUs;
  if (srtt !== 0) {
    m -= Math.floor(srtt / 8);
    srtt += m;
    if (m < 0) {
      m = -m - Math.floor(sk.mdevUs / 4);
      if (m > 0) m = Math.floor(m / 8);
    } else {
      m -= Math.floor(sk.mdevUs / 4);
    }
    sk.mdevUs += m;
    if (sk.mdevUs > sk.mdevMaxUs) {
      sk.mdevMaxUs = sk.mdevUs;
      if (sk.mdevMaxUs > sk.rttvarUs) sk.rttvarUs = sk.mdevMaxUs;
    }
    if (after(sk.sndUna, sk.rttSeq)) {
      if (sk.mdevMaxUs < sk.rttvarUs) sk.rttvarUs -= Math.floor((sk.rttvarUs - sk.mdevMaxUs) / 4);
      sk.rttSeq = sk.sndNxt;
      sk.mdevMaxUs = tcpRtoMinUs(sk);
    }
  } else {
    // The first measurement: RTO = 3 RTT.
    srtt = m * 8;
    sk.mdevUs = m * 2;
    sk.rttvarUs = Math.max(sk.mdevUs, tcpRtoMinUs(sk));
    sk.mdevMaxUs = sk.rttvarUs;
    sk.rttSeq = sk.sndNxt;
  }
  sk.srttUs = Math.max(1, srtt);
}

/** tcp_update_pacing_rate: bytes a second: cwnd an RTT, times 2 in slow start, times 1.2 in congestion avoidance. */
export function tcpUpdatePacingRate(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  let rate = sk.mssCache * (USEC_PER_SEC / 100) * 8;
  // Near ssthresh the end of slow start is anticipated.
  rate *= tcpSndCwnd(sk) < Math.floor(sk.sndSsthresh / 2) ? ipv4.sysctlTcpPacingSsRatio : ipv4.sysctlTcpPacingCaRatio;
  rate *= Math.max(tcpSndCwnd(sk), sk.packetsOut);
  if (sk.srttUs !== 0) rate = Math.floor(rate / sk.srttUs);
  sk.skPacingRate = Math.min(rate, sk.skMaxPacingRate);
}

/** tcp_init_cwnd: RFC 6928, or the route's initcwnd. */
export function tcpInitCwnd(tp: TcpSock, dst: DstEntry | null): number {
  let cwnd = dst !== null ? dstMetric(dst, RTAX_INITCWND) : 0;
  if (cwnd === 0) cwnd = TCP_INIT_CWND;
  return Math.min(cwnd, tp.sndCwndClamp);
}

/**
 * tcp_ack_update_rtt: takes the best sample that the ACK gives: of what it acknowledges, of what it SACKs, by timestamp
 * (RFC 7323 §4.1: only if it advances SND.UNA). Karn's algorithm left retransmitted segments out. True if there was
 * one.
 */
function tcpAckUpdateRtt(
  sk: TcpSock,
  flag: number,
  seqRttUs: number,
  sackRttUs: number,
  caRttUs: number,
  rs: RateSample,
): boolean {
  if (seqRttUs < 0) seqRttUs = sackRttUs;
  if (seqRttUs < 0 && sk.rxOpt.sawTstamp && sk.rxOpt.rcvTsecr !== 0 && (flag & FLAG_ACKED) !== 0) {
    seqRttUs = tcpRttTsoptUs(sk, 1);
    caRttUs = seqRttUs;
  }
  rs.rttUs = caRttUs;
  if (seqRttUs < 0) return false;
  tcpUpdateRttMin(sk, caRttUs, flag);
  tcpRttEstimator(sk, seqRttUs);
  tcpSetRto(sk);
  // RFC 6298 §5.7 and Karn: the backoff ends with a valid measurement.
  sk.icskBackoff = 0;
  return true;
}

const synackRate: RateSample = new RateSample();

/** tcp_synack_rtt_meas: the handshake's RTT, unless the SYN-ACK was retransmitted. */
export function tcpSynackRttMeas(sk: TcpSock, req: RequestSock | null): void {
  let rttUs = -1;
  if (req !== null && req.numRetrans === 0 && req.snt_synack !== 0) {
    rttUs = tcpStampUsDelta(tcpClockUs(), req.snt_synack);
  }
  tcpAckUpdateRtt(sk, FLAG_SYN_ACKED, rttUs, -1, rttUs, synackRate);
}

// ---- timers ---------------------------------------------------------------------------------------------------------

/** tcp_rearm_rto: RFC 6298 §5.2 and §5.3: the RTO runs while anything is outstanding. */
export function tcpRearmRto(sk: TcpSock): void {
  // The timer is in use for a Fast Open SYN-ACK.
  if (sk.fastopenRsk !== null) return;
  if (sk.packetsOut === 0) {
    inetCskClearXmitTimer(sk, ICSK_TIME_RETRANS);
    return;
  }
  let rto = sk.icskRto;
  // Time that a probe or the reordering timer has used up is taken off.
  if (sk.icskPending === ICSK_TIME_REO_TIMEOUT || sk.icskPending === ICSK_TIME_LOSS_PROBE) {
    rto = usecsRoundJiffies(Math.max(tcpRtoDeltaUs(sk), 1));
  }
  tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, rto, true);
}

/** tcp_set_xmit_timer: a tail loss probe if that is possible (RFC 8985 §7.2), else the RTO. */
function tcpSetXmitTimer(sk: TcpSock): void {
  if (!tcpScheduleLossProbe(sk, true)) tcpRearmRto(sk);
}

// ---- the retransmit queue -------------------------------------------------------------------------------------------

/** tcp_tso_acked: some whole segments of the skb were acknowledged: cuts them off. Returns how many. */
function tcpTsoAcked(sk: TcpSock, skb: number): number {
  bugOn(!after(tcpSkbEndSeq(skb), sk.sndUna), "tcp_tso_acked: all of the skb was acknowledged");
  const before_ = tcpSkbPcount(skb);
  if (tcpTrimHead(sk, skb, seqSub(sk.sndUna, tcpSkbSeq(skb))) !== 0) return 0;
  const acked = before_ - tcpSkbPcount(skb);
  bugOn(acked !== 0 && tcpSkbPcount(skb) === 0, "tcp_tso_acked: bytes without segments");
  return acked;
}

/** tcp_ack_tstamp: SOF_TIMESTAMPING_TX_ACK: the byte that the user asked about was acknowledged. */
function tcpAckTstamp(sk: TcpSock, skb: number, ackSkb: number, priorSndUna: Seq): void {
  if ((tcpSkbCbFlags(skb) & TCPCB_FLAG_TXSTAMP_ACK) === 0) return;
  const key = skbTskey(skb) as unknown as Seq;
  if (!before(key, priorSndUna) && before(key, sk.sndUna)) __skbTstampTx(skb, ackSkb, sk, SCM_TSTAMP_ACK);
}

const ackSample: AckSample = new AckSample();

/**
 * tcp_clean_rtx_queue: takes what is acknowledged off the retransmit queue. Returns FLAG_*; RTT samples are taken of
 * the first and the last skb that was never retransmitted.
 */
function tcpCleanRtxQueue(
  sk: TcpSock,
  ackSkb: number,
  priorFack: Seq,
  priorSndUna: Seq,
  sack: TcpSacktagState,
  eceAck: boolean,
): number {
  const priorSacked = sk.sackedOut;
  let reord = sk.sndNxt;
  let firstAckt = 0;
  let lastAckt = 0;
  let fullyAcked = true;
  let pktsAcked = 0;
  let flag = 0;
  let skb = tcpRtxQueueHead(sk);
  while (skb !== 0) {
    const startSeq = tcpSkbSeq(skb);
    const endSeq = tcpSkbEndSeq(skb);
    const sacked = tcpSkbSacked(skb);
    let ackedPcount: number;
    if (after(endSeq, sk.sndUna)) {
      if (tcpSkbPcount(skb) === 1 || !after(sk.sndUna, startSeq)) break;
      ackedPcount = tcpTsoAcked(sk, skb);
      if (ackedPcount === 0) break;
      fullyAcked = false;
    } else {
      ackedPcount = tcpSkbPcount(skb);
    }

    if ((sacked & TCPCB_RETRANS) !== 0) {
      if ((sacked & TCPCB_SACKED_RETRANS) !== 0) sk.retransOut -= ackedPcount;
      flag |= FLAG_RETRANS_DATA_ACKED;
    } else if ((sacked & TCPCB_SACKED_ACKED) === 0) {
      lastAckt = tcpSkbTimestampUs(skb);
      if (firstAckt === 0) firstAckt = lastAckt;
      if (before(startSeq, reord)) reord = startSeq;
      if (!after(endSeq, sk.highSeq)) flag |= FLAG_ORIG_SACK_ACKED;
    }
    if ((sacked & TCPCB_SACKED_ACKED) !== 0) {
      sk.sackedOut -= ackedPcount;
    } else if (tcpIsSack(sk)) {
      tcpCountDelivered(sk, ackedPcount, eceAck);
      if (!tcpSkbSpuriousRetrans(sk, skb)) tcpRackAdvance(sk, sacked, endSeq, tcpSkbTimestamp(skb));
    }
    if ((sacked & TCPCB_LOST) !== 0) sk.lostOut -= ackedPcount;
    sk.packetsOut -= ackedPcount;
    pktsAcked += ackedPcount;
    tcpRateSkbDelivered(sk, skb, sack.rate);

    // The SYN is no data: slow start must not count it.
    if ((tcpSkbFlags(skb) & TCPHDR_SYN) === 0) {
      flag |= FLAG_DATA_ACKED;
    } else {
      flag |= FLAG_SYN_ACKED;
      sk.retransStamp = 0;
    }
    if (!fullyAcked) break;
    tcpAckTstamp(sk, skb, ackSkb, priorSndUna);
    const next = skbNext(skb);
    if (skb === sk.retransmitSkbHint) sk.retransmitSkbHint = 0;
    tcpHighestSackReplace(sk, skb, next);
    tcpRtxQueueUnlinkAndFree(skb, sk);
    skb = next;
  }

  if (skb === 0) tcpChronoStop(sk, TCP_CHRONO_BUSY);
  if (between(sk.sndUp, priorSndUna, sk.sndUna)) sk.sndUp = sk.sndUna;
  if (skb !== 0) {
    tcpAckTstamp(sk, skb, ackSkb, priorSndUna);
    if ((tcpSkbSacked(skb) & TCPCB_SACKED_ACKED) !== 0) flag |= FLAG_SACK_RENEGING;
  }

  let seqRttUs = -1;
  let sackRttUs = -1;
  let caRttUs = -1;
  if (firstAckt !== 0 && (flag & FLAG_RETRANS_DATA_ACKED) === 0) {
    seqRttUs = tcpStampUsDelta(sk.tcpMstamp, firstAckt);
    caRttUs = tcpStampUsDelta(sk.tcpMstamp, lastAckt);
    if (
      pktsAcked === 1 &&
      fullyAcked &&
      priorSacked === 0 &&
      seqSub(sk.sndUna, priorSndUna) < sk.mssCache &&
      sack.rate.priorDelivered + 1 === sk.delivered &&
      (flag & (FLAG_CA_ALERT | FLAG_SYN_ACKED)) === 0
    ) {
      // A lone small segment: its ACK may have been delayed.
      flag |= FLAG_ACK_MAYBE_DELAYED;
    }
  }
  if (sack.firstSackt !== 0) {
    sackRttUs = tcpStampUsDelta(sk.tcpMstamp, sack.firstSackt);
    caRttUs = tcpStampUsDelta(sk.tcpMstamp, sack.lastSackt);
  }
  const rttUpdate = tcpAckUpdateRtt(sk, flag, seqRttUs, sackRttUs, caRttUs, sack.rate);

  if ((flag & FLAG_ACKED) !== 0) {
    flag |= FLAG_SET_XMIT_TIMER;
    // Whatever of it had been SACKed before counts here, at last.
    sack.deliveredBytes = seqSub(skb !== 0 ? tcpSkbSeq(skb) : sk.sndUna, priorSndUna);
    if (sk.icskMtupProbeSize !== 0 && !after(sk.mtuProbeProbeSeqEnd, sk.sndUna)) tcpMtupProbeSuccess(sk);
    if (tcpIsReno(sk)) {
      tcpRemoveRenoSacks(sk, pktsAcked, eceAck);
      // Without SACK nobody can tell whether the original or the retransmission made the progress.
      if ((flag & FLAG_RETRANS_DATA_ACKED) !== 0) flag &= ~FLAG_ORIG_SACK_ACKED;
    } else if (before(reord, priorFack)) {
      // A hole was filled by something never retransmitted: that is reordering.
      tcpCheckSackReordering(sk, reord, false);
    }
  } else if (
    skb !== 0 &&
    rttUpdate &&
    sackRttUs >= 0 &&
    sackRttUs > tcpStampUsDelta(sk.tcpMstamp, tcpSkbTimestampUs(skb))
  ) {
    // The RTO is not set again for a sample of data sent after the head was last sent: it would be put off for ever.
    flag |= FLAG_SET_XMIT_TIMER;
  }

  if (sk.icskCaOps.pktsAcked !== undefined) {
    ackSample.pktsAcked = pktsAcked;
    ackSample.rttUs = sack.rate.rttUs;
    ackSample.inFlight = sk.mssCache * (sk.delivered - sack.rate.priorDelivered);
    sk.icskCaOps.pktsAcked(sk, ackSample);
  }
  return flag;
}

/** tcp_ack_probe: an ACK while nothing is outstanding: did the window open (RFC 9293 §3.8.6.1)? */
function tcpAckProbe(sk: TcpSock): void {
  const head = tcpSendHead(sk);
  if (head === 0) return;
  if (!after(tcpSkbEndSeq(head), tcpWndEnd(sk))) {
    sk.icskBackoff = 0;
    sk.icskProbesTstamp = 0;
    inetCskClearXmitTimer(sk, ICSK_TIME_PROBE0);
    // tcp_data_snd_check sends.
  } else {
    const when = tcpClampProbe0ToUserTimeout(sk, tcpProbe0When(sk, tcpRtoMax(sk)));
    tcpResetXmitTimer(sk, ICSK_TIME_PROBE0, when, true);
  }
}

// ---- congestion control ---------------------------------------------------------------------------------------------

/** tcp_ack_is_dubious: not plain progress in Open. */
function tcpAckIsDubious(sk: TcpSock, flag: number): boolean {
  return (flag & FLAG_NOT_DUP) === 0 || (flag & FLAG_CA_ALERT) !== 0 || sk.icskCaState !== TCP_CA_Open;
}

/** tcp_may_raise_cwnd: with much reordering any delivery counts, otherwise only in-order delivery (RFC 5681). */
function tcpMayRaiseCwnd(sk: TcpSock, flag: number): boolean {
  if (sk.reordering > sk.net.ipv4.sysctlTcpReordering) return (flag & FLAG_FORWARD_PROGRESS) !== 0;
  return (flag & FLAG_DATA_ACKED) !== 0;
}

/** tcp_cong_control: cwnd and pacing rate after an ACK that delivered `ackedSacked` packets. */
function tcpCongControl(sk: TcpSock, ack: Seq, ackedSacked: number, flag: number, rs: RateSample): void {
  const ops = sk.icskCaOps;
  if (ops.congControl !== undefined) {
    ops.congControl(sk, seqRaw(ack), flag, rs);
    return;
  }
  if (tcpInCwndReduction(sk)) {
    tcpCwndReduction(sk, ackedSacked, rs.losses, flag);
  } else if (tcpMayRaiseCwnd(sk, flag)) {
    ops.congAvoid?.(sk, seqRaw(ack), ackedSacked);
    sk.sndCwndStamp = tcpJiffies32();
  }
  tcpUpdatePacingRate(sk);
}

/** tcp_in_ack_event. */
function tcpInAckEvent(sk: TcpSock, flag: number): void {
  const ops = sk.icskCaOps;
  if (ops.inAckEvent === undefined) return;
  let ackEvFlags = 0;
  if ((flag & FLAG_WIN_UPDATE) !== 0) ackEvFlags |= CA_ACK_WIN_UPDATE;
  if ((flag & FLAG_SLOWPATH) !== 0) {
    ackEvFlags |= CA_ACK_SLOWPATH;
    if ((flag & FLAG_ECE) !== 0) ackEvFlags |= CA_ACK_ECE;
  }
  ops.inAckEvent(sk, ackEvFlags);
}

// ---- the window that the peer offers --------------------------------------------------------------------------------

/**
 * tcp_may_update_window: RFC 9293 §3.10.7.4 (SND.WL1, SND.WL2): only a newer segment may change the window. Of equally
 * new ones the larger window wins, and a closing one.
 */
export function tcpMayUpdateWindow(tp: TcpSock, ack: Seq, ackSeq: Seq, nwin: number): boolean {
  return (
    after(ack, tp.sndUna) || after(ackSeq, tp.sndWl1) || (ackSeq === tp.sndWl1 && (nwin > tp.sndWnd || nwin === 0))
  );
}

/** tcp_snd_una_update. */
function tcpSndUnaUpdate(tp: TcpSock, ack: Seq): void {
  tp.bytesAcked += seqSub(ack, tp.sndUna);
  tp.sndUna = ack;
}

/** tcp_ack_update_window. */
function tcpAckUpdateWindow(sk: TcpSock, skb: number, ack: Seq, ackSeq: Seq): number {
  const th = tcpHdr(skb);
  let nwin = thWindow(th);
  let flag = 0;
  // RFC 7323 §2.2: the window of a SYN is not scaled.
  if ((thFlags(th) & TCPHDR_SYN) === 0) nwin *= 1 << sk.rxOpt.sndWscale;
  if (tcpMayUpdateWindow(sk, ack, ackSeq, nwin)) {
    flag |= FLAG_WIN_UPDATE;
    tcpUpdateWl(sk, ackSeq);
    if (sk.sndWnd !== nwin) {
      sk.sndWnd = nwin;
      sk.predFlags = 0;
      tcpFastPathCheck(sk);
      if (!tcpWriteQueueEmpty(sk)) tcpSlowStartAfterIdleCheck(sk);
      if (nwin > sk.maxWindow) {
        sk.maxWindow = nwin;
        tcpSyncMss(sk, sk.icskPmtuCookie);
      }
    }
  }
  tcpSndUnaUpdate(sk, ack);
  return flag;
}

// ---- replies that an attacker could make us send in a loop ----------------------------------------------------------

/** Where the time (jiffies) of the last reply to an out-of-window segment is kept. */
export interface OowStamp {
  lastOowAckTime: number;
}

/** __tcp_oow_rate_limited: true if the last such reply was less than tcp_invalid_ratelimit ms ago. */
export function __tcpOowRateLimited(net: Net, mibIdx: number, box: OowStamp): boolean {
  const now = tcpJiffies32();
  if (box.lastOowAckTime !== 0) {
    const elapsed = now - box.lastOowAckTime;
    if (elapsed >= 0 && elapsed < net.ipv4.sysctlTcpInvalidRatelimit) {
      netIncStats(net, mibIdx);
      return true;
    }
  }
  box.lastOowAckTime = now;
  return false;
}

/** tcp_oow_rate_limited: may an out-of-window segment not be answered? Data cannot be part of a loop of ACKs. */
export function tcpOowRateLimited(net: Net, skb: number, mibIdx: number, box: OowStamp): boolean {
  if (tcpSkbSeq(skb) !== tcpSkbEndSeq(skb) && (thFlags(tcpHdr(skb)) & TCPHDR_SYN) === 0) return false;
  return __tcpOowRateLimited(net, mibIdx, box);
}

/**
 * tcp_send_challenge_ack: RFC 5961: "are you really there?"; rate limited per socket, and per host by a random count.
 * `accecnReflector`: it answers a SYN on a connection with Accurate ECN.
 */
export function tcpSendChallengeAck(sk: TcpSock, accecnReflector: boolean): void {
  const net = sk.net;
  if (__tcpOowRateLimited(net, LINUX_MIB_TCPACKSKIPPEDCHALLENGE, sk) || !tcpChallengeAckAllowed(net)) return;
  netIncStats(net, LINUX_MIB_TCPCHALLENGEACK);
  tcpSendAckReflectEct(sk, accecnReflector);
}

/** tcp_send_ack_reflect_ect: an ACK; with `accecnReflector` its ACE field says how the SYN that it answers arrived. */
export function tcpSendAckReflectEct(sk: TcpSock, accecnReflector: boolean): void {
  __tcpSendAck(sk, sk.rcvNxt, accecnReflector ? tcpAccecnReflectorFlags(sk.synEctRcv) : 0);
}

/** tcp_challenge_ack_allowed: takes one of the challenge ACKs that the host may send in this second. */
function tcpChallengeAckAllowed(net: Net): boolean {
  const limit = net.ipv4.sysctlTcpChallengeAckLimit;
  if (limit === 0x7fffffff) return true;
  // RFC 5961 §7. The limit is random around the sysctl's, so that it cannot be probed (CVE-2016-5696).
  const now = ktimeGetSeconds();
  if (now !== net.tcpChallengeTimestamp) {
    const half = (limit + 1) >>> 1;
    net.tcpChallengeTimestamp = now;
    net.tcpChallengeCount = getRandomU32Inclusive(half, limit + half - 1);
  }
  if (net.tcpChallengeCount <= 0) return false;
  net.tcpChallengeCount--;
  return true;
}

/** tcp_reqsk_send_challenge_ack: the same for a request in SYN_RECV (RFC 9293 §3.10.7.4), data or not. */
export function tcpReqskSendChallengeAck(sk: TcpSock, skb: number, req: RequestSock): void {
  const net = sk.net;
  if (__tcpOowRateLimited(net, LINUX_MIB_TCPACKSKIPPEDCHALLENGE, req) || !tcpChallengeAckAllowed(net)) return;
  netIncStats(net, LINUX_MIB_TCPCHALLENGEACK);
  req.rskOps.sendAck(sk, skb, req);
}

// ---- timestamps (RFC 7323 §4.3) -------------------------------------------------------------------------------------

/** tcp_store_ts_recent. */
export function tcpStoreTsRecent(tp: TcpSock): void {
  tp.rxOpt.tsRecent = tp.rxOpt.rcvTsval;
  tp.rxOpt.tsRecentStamp = ktimeGetSeconds();
}

/** __tcp_replace_ts_recent: FLAG_TS_PROGRESS if the timestamp has advanced. */
export function __tcpReplaceTsRecent(tp: TcpSock): number {
  const progress = ((tp.rxOpt.rcvTsval - tp.rxOpt.tsRecent) | 0) > 0;
  tcpStoreTsRecent(tp);
  return progress ? FLAG_TS_PROGRESS : 0;
}

/** tcp_replace_ts_recent: RFC 7323 §4.3 (2): SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent. */
function tcpReplaceTsRecent(tp: TcpSock, s: Seq): number {
  if (tp.rxOpt.sawTstamp && !after(s, tp.rcvWup) && tcpPawsCheck(tp.rxOpt, 0)) return __tcpReplaceTsRecent(tp);
  return 0;
}

// ---- tail loss probes (RFC 8985 §7.4) -------------------------------------------------------------------------------

/** tcp_process_tlp_ack: was the loss repaired by the probe? Then congestion control has to hear of it. */
function tcpProcessTlpAck(sk: TcpSock, ack: Seq, flag: number): void {
  if (before(ack, sk.tlpHighSeq)) return;
  if (!sk.tlpRetrans) {
    // The probe was new data, and has arrived.
    sk.tlpHighSeqSet = false;
  } else if ((flag & FLAG_DSACK_TLP) !== 0) {
    // The original and the probe have arrived: nothing was lost.
    sk.tlpHighSeqSet = false;
  } else if (after(ack, sk.tlpHighSeq)) {
    // Beyond the probe, and no D-SACK for it: the original was lost. The window is reduced as by a fast recovery that
    // has ended already; tcp_init_cwnd_reduction ends the episode of the probe.
    tcpInitCwndReduction(sk);
    tcpSetCaState(sk, TCP_CA_CWR);
    tcpEndCwndReduction(sk);
    tcpTryKeepOpen(sk);
    netIncStats(sk.net, LINUX_MIB_TCPLOSSPROBERECOVERY);
  } else if ((flag & (FLAG_SND_UNA_ADVANCED | FLAG_NOT_DUP | FLAG_DATA_SACKED)) === 0) {
    // A pure duplicate ACK: both have arrived.
    sk.tlpHighSeqSet = false;
  }
}

// ---- tcp_ack --------------------------------------------------------------------------------------------------------

/** tcp_xmit_recovery: sends what loss recovery asked for, now that cwnd is known. */
function tcpXmitRecovery(sk: TcpSock, rexmit: number): void {
  if (rexmit === REXMIT_NONE || sk.skcState === TCP_SYN_SENT) return;
  if (rexmit === REXMIT_NEW) {
    __tcpPushPendingFrames(sk, tcpCurrentMss(sk), TCP_NAGLE_OFF);
    if (after(sk.sndNxt, sk.highSeq)) return;
    sk.frto = false;
  }
  tcpXmitRetransmitQueue(sk);
}

/** tcp_newly_delivered. */
function tcpNewlyDelivered(sk: TcpSock, priorDelivered: number, ecnCount: number, flag: number): number {
  const delivered = sk.delivered - priorDelivered;
  netAddStats(sk.net, LINUX_MIB_TCPDELIVERED, delivered);
  if ((flag & FLAG_ECE) !== 0) {
    netAddStats(sk.net, LINUX_MIB_TCPDELIVEREDCE, tcpEcnModeRfc3168(sk) ? delivered : ecnCount);
  }
  return delivered;
}

/** What the ACK at hand has found: one ACK is processed at a time. */
const sackState: TcpSacktagState = new TcpSacktagState();

function rateSampleInit(rs: RateSample): void {
  rs.priorMstamp = 0;
  rs.priorDelivered = 0;
  rs.priorDeliveredCe = 0;
  rs.delivered = 0;
  rs.deliveredCe = 0;
  rs.intervalUs = 0;
  rs.sndIntervalUs = 0;
  rs.rcvIntervalUs = 0;
  rs.rttUs = 0;
  rs.losses = 0;
  rs.ackedSacked = 0;
  rs.priorInFlight = 0;
  rs.lastEndSeq = 0 as unknown as Seq;
  rs.isAppLimited = false;
  rs.isRetrans = false;
  rs.isAckDelayed = false;
}

/** tcp_ack, old_ack: SND.UNA is beyond it; its SACK blocks may still tell something. */
function tcpAckOld(sk: TcpSock, skb: number, flag: number, priorSndUna: Seq): number {
  // It may carry new data: TS.Recent must be right before SACKs trigger a retransmission.
  if ((flag & FLAG_UPDATE_TS_RECENT) !== 0) tcpReplaceTsRecent(sk, tcpSkbSeq(skb));
  if (tcpSkbSacked(skb) === 0) return 0;
  const delivered = sk.delivered;
  flag |= tcpSacktagWriteQueue(sk, skb, priorSndUna, sackState);
  flag = tcpFastretransAlert(sk, priorSndUna, 0, flag, REXMIT_NONE);
  const rexmit = fastretransRexmit;
  tcpNewlyDelivered(sk, delivered, 0, flag);
  tcpXmitRecovery(sk, rexmit);
  return 0;
}

/**
 * tcp_ack: processes the acknowledgment of a segment. `flag`: FLAG_* as far as the caller knows. Returns 1 if it was
 * acceptable, 0 if it was old, -SKB_DROP_REASON_* if the segment has to be discarded.
 */
export function tcpAck(sk: TcpSock, skb: number, flag: number): number {
  const priorSndUna = sk.sndUna;
  const ackSeq = tcpSkbSeq(skb);
  const ack = tcpSkbAckSeq(skb);
  const rs = sackState.rate;
  sackState.firstSackt = 0;
  sackState.lastSackt = 0;
  sackState.sackDelivered = 0;
  sackState.deliveredBytes = 0;
  rateSampleInit(rs);

  if (before(ack, priorSndUna)) {
    // RFC 5961 §5.2: SND.UNA - MAX.SND.WND <= SEG.ACK. Bytes that were never sent cannot have been acknowledged.
    const maxWindow = Math.min(sk.maxWindow, sk.bytesAcked);
    if (before(ack, seqAdd(priorSndUna, -maxWindow))) {
      if ((flag & FLAG_NO_CHALLENGE_ACK) === 0) tcpSendChallengeAck(sk, false);
      return -SKB_DROP_REASON_TCP_TOO_OLD_ACK;
    }
    return tcpAckOld(sk, skb, flag, priorSndUna);
  }
  // RFC 9293 §3.10.7.4: "If the ACK acks something not yet sent, then send an ACK, drop the segment, and return."
  if (after(ack, sk.sndNxt)) {
    if ((flag & FLAG_NO_CHALLENGE_ACK) === 0) tcpSendChallengeAck(sk, false);
    return -SKB_DROP_REASON_TCP_ACK_UNSENT_DATA;
  }

  const isSackReneg = sk.isSackReneg;
  const priorPackets = sk.packetsOut;
  const priorDelivered = sk.delivered;
  const priorLost = sk.lost;
  if (after(ack, priorSndUna)) {
    flag |= FLAG_SND_UNA_ADVANCED;
    sk.icskRetransmits = 0;
  }
  const priorFack = tcpIsSack(sk) ? tcpHighestSackSeq(sk) : sk.sndUna;
  rs.priorInFlight = tcpPacketsInFlight(sk);

  // The segment is known to be in the window now.
  if ((flag & FLAG_UPDATE_TS_RECENT) !== 0) flag |= tcpReplaceTsRecent(sk, ackSeq);

  if ((flag & (FLAG_SLOWPATH | FLAG_SND_UNA_ADVANCED)) === FLAG_SND_UNA_ADVANCED) {
    // Header prediction: the window is as it was, the ACK advances. SND.UNA >= SND.WL2 spares the other checks.
    tcpUpdateWl(sk, ackSeq);
    tcpSndUnaUpdate(sk, ack);
    flag |= FLAG_WIN_UPDATE;
    netIncStats(sk.net, LINUX_MIB_TCPHPACKS);
  } else {
    if (ackSeq !== tcpSkbEndSeq(skb)) flag |= FLAG_DATA;
    else netIncStats(sk.net, LINUX_MIB_TCPPUREACKS);
    flag |= tcpAckUpdateWindow(sk, skb, ack, ackSeq);
    if (tcpSkbSacked(skb) !== 0) flag |= tcpSacktagWriteQueue(sk, skb, priorSndUna, sackState);
    if (tcpEcnRcvEcnEcho(sk, tcpHdr(skb))) flag |= FLAG_ECE;
    if (sackState.sackDelivered !== 0) tcpCountDelivered(sk, sackState.sackDelivered, (flag & FLAG_ECE) !== 0);
  }
  // RFC 3168 §6.1.2 wants CWR on new data only; some senders put it on pure ACKs.
  tcpEcnAcceptCwr(sk, skb);

  // Something got through: soft errors are forgotten.
  sk.skErrSoft = 0;
  sk.icskProbesOut = 0;
  sk.rcvTstamp = tcpJiffies32();

  let rexmit = REXMIT_NONE;
  /** What an Accurate ECN ACK newly reports as marked. */
  let ecnCount = 0;
  if (priorPackets === 0) {
    if (tcpEcnModeAccecn(sk)) {
      ecnCount = tcpAccecnProcess(sk, skb, sk.delivered - priorDelivered, sackState.deliveredBytes, flag);
      if (ecnCount !== 0) flag |= FLAG_ECE;
    }
    tcpInAckEvent(sk, flag);
    // D-SACKs may undo a reduction of the window.
    if ((flag & FLAG_DSACKING_ACK) !== 0) {
      flag = tcpFastretransAlert(sk, priorSndUna, 0, flag, rexmit);
      tcpNewlyDelivered(sk, priorDelivered, ecnCount, flag);
    }
    tcpAckProbe(sk);
    if (sk.tlpHighSeqSet) tcpProcessTlpAck(sk, ack, flag);
    return 1;
  }

  flag |= tcpCleanRtxQueue(sk, skb, priorFack, priorSndUna, sackState, (flag & FLAG_ECE) !== 0);
  tcpRackUpdateReoWnd(sk, rs);
  if (tcpEcnModeAccecn(sk)) {
    ecnCount = tcpAccecnProcess(sk, skb, sk.delivered - priorDelivered, sackState.deliveredBytes, flag);
    if (ecnCount !== 0) flag |= FLAG_ECE;
  }
  tcpInAckEvent(sk, flag);
  if (sk.tlpHighSeqSet) tcpProcessTlpAck(sk, ack, flag);

  if (tcpAckIsDubious(sk, flag)) {
    let numDupack = 0;
    if ((flag & (FLAG_SND_UNA_ADVANCED | FLAG_NOT_DUP | FLAG_DSACKING_ACK)) === 0) {
      numDupack = 1;
      // ACKs may have been aggregated on the way up.
      if ((flag & FLAG_DATA) === 0) numDupack = Math.max(1, skbGsoSegs(skb));
    }
    flag = tcpFastretransAlert(sk, priorSndUna, numDupack, flag, rexmit);
    rexmit = fastretransRexmit;
  }
  // Unless RACK has set its own timer.
  if ((flag & FLAG_SET_XMIT_TIMER) !== 0) tcpSetXmitTimer(sk);
  if ((flag & FLAG_FORWARD_PROGRESS) !== 0 || (flag & FLAG_NOT_DUP) === 0) skDstConfirm(sk);

  const delivered = tcpNewlyDelivered(sk, priorDelivered, ecnCount, flag);
  const lost = sk.lost - priorLost;
  rs.isAckDelayed = (flag & FLAG_ACK_MAYBE_DELAYED) !== 0;
  tcpRateGen(sk, delivered, lost, isSackReneg, rs);
  tcpCongControl(sk, ack, delivered, flag, rs);
  tcpXmitRecovery(sk, rexmit);
  return 1;
}
