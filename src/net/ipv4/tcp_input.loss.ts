/**
 * Loss recovery: the congestion states and how they end (RFC 5681 §3.2, RFC 6582, RFC 6675), proportional rate
 * reduction (RFC 6937), F-RTO (RFC 5682), and undo when a loss turns out to have been none (Eifel: RFC 3522, RFC 4015;
 * D-SACK: RFC 3708).
 *
 * ```
 *   Open ------dup ACK / SACK----> Disorder ---loss proven---> Recovery --high_seq ACKed--> Open
 *    | \--ECE / local congestion--> CWR ----high_seq passed--> Open
 *    \------RTO----------------> Loss ----high_seq ACKed / undo--> Open
 * ```
 */

import { netAddStats, netIncStats } from "../../kernel/mib.ts";
import { skbNext } from "../../mm/skb.ts";
import {
  LINUX_MIB_TCPDSACKUNDO,
  LINUX_MIB_TCPFULLUNDO,
  LINUX_MIB_TCPLOSSUNDO,
  LINUX_MIB_TCPLOSTRETRANSMIT,
  LINUX_MIB_TCPMTUPFAIL,
  LINUX_MIB_TCPMTUPSUCCESS,
  LINUX_MIB_TCPPARTIALUNDO,
  LINUX_MIB_TCPRENORECOVERY,
  LINUX_MIB_TCPSACKRECOVERY,
  LINUX_MIB_TCPSACKRENEGING,
  LINUX_MIB_TCPSPURIOUSRTOS,
} from "../../uapi/linux_mib.ts";
import {
  TCP_CA_CWR,
  TCP_CA_Disorder,
  TCP_CA_Loss,
  TCP_CA_Open,
  TCP_CA_Recovery,
  TCP_SYN_SENT,
} from "../../uapi/tcp.ts";
import { ICSK_TIME_RETRANS } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import { after, before } from "./seq.ts";
import { CA_EVENT_COMPLETE_CWR, CA_EVENT_LOSS } from "./tcp_cong.ts";
import { tcpEcnQueueCwr, tcpEcnWithdrawCwr } from "./tcp_ecn.ts";
import {
  TCP_INFINITE_SSTHRESH,
  TCP_RACK_RECOVERY_THRESH,
  tcpCaEvent,
  tcpCurrentSsthresh,
  tcpInCwndReduction,
  tcpIsReno,
  tcpIsSack,
  tcpJiffies32,
  tcpLeftOut,
  tcpPacketsInFlight,
  tcpResetXmitTimer,
  tcpRtxQueueEmpty,
  tcpRtxQueueHead,
  tcpSetCaState,
  tcpSkbTimestampTs,
  tcpSndCwnd,
  tcpSndCwndSet,
  tcpTimeStampMs,
  tcpWndEnd,
  tcpWriteQueueEmpty,
  USEC_PER_MSEC,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import {
  FLAG_DATA_SACKED,
  FLAG_ECE,
  FLAG_LOST_RETRANS,
  FLAG_ORIG_SACK_ACKED,
  FLAG_SACK_RENEGING,
  FLAG_SET_XMIT_TIMER,
  FLAG_SND_UNA_ADVANCED,
  REXMIT_LOST,
  REXMIT_NEW,
} from "./tcp_input.h.ts";
import {
  tcpAddRenoSack,
  tcpCheckSackReordering,
  tcpLimitRenoSacked,
  tcpResetRenoSack,
  tcpSkbSeglen,
  tcpVerifyLeftOut,
} from "./tcp_input.sack.ts";
import { tcpCurrentMss, tcpMssToMtu, tcpSyncMss, tcpXmitRetransmitQueue } from "./tcp_output.ts";
import { tcpNewrenoMarkLost, tcpRackMarkLost, tcpRackSkbTimeout } from "./tcp_recovery.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  TCPCB_EVER_RETRANS,
  TCPCB_LOST,
  TCPCB_RETRANS,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  tcpSkbPcount,
  tcpSkbSacked,
  tcpSkbSeq,
  tcpSkbSetSacked,
} from "./tcp_sock.ts";

// ---- marking segments lost ------------------------------------------------------------------------------------------

/** tcp_verify_retransmit_hint: where tcp_xmit_retransmit_queue has to begin. */
function tcpVerifyRetransmitHint(tp: TcpSock, skb: number): void {
  if (
    (tp.retransmitSkbHint === 0 && tp.retransOut >= tp.lostOut) ||
    (tp.retransmitSkbHint !== 0 && before(tcpSkbSeq(skb), tcpSkbSeq(tp.retransmitSkbHint)))
  ) {
    tp.retransmitSkbHint = skb;
  }
}

/** tcp_mark_skb_lost: the skb, or its retransmission, is believed lost. */
export function tcpMarkSkbLost(sk: TcpSock, skb: number): void {
  const sacked = tcpSkbSacked(skb);
  if ((sacked & TCPCB_SACKED_ACKED) !== 0) return;
  tcpVerifyRetransmitHint(sk, skb);
  const pcount = tcpSkbPcount(skb);
  if ((sacked & TCPCB_LOST) !== 0) {
    if ((sacked & TCPCB_SACKED_RETRANS) !== 0) {
      // The retransmission was lost as well.
      tcpSkbSetSacked(skb, sacked & ~TCPCB_SACKED_RETRANS);
      sk.retransOut -= pcount;
      netAddStats(sk.net, LINUX_MIB_TCPLOSTRETRANSMIT, pcount);
      sk.lost += pcount;
    }
  } else {
    // R without L: an undo took the L away. What is lost now is that retransmission; the kernel lets its count leak.
    if ((sacked & TCPCB_SACKED_RETRANS) !== 0) sk.retransOut -= pcount;
    sk.lostOut += pcount;
    tcpSkbSetSacked(skb, (sacked & ~TCPCB_SACKED_RETRANS) | TCPCB_LOST);
    sk.lost += pcount;
  }
}

/** tcp_clear_all_retrans_hints. */
function tcpClearAllRetransHints(tp: TcpSock): void {
  tp.retransmitSkbHint = 0;
}

/** tcp_clear_retrans: nothing is outstanding or lost. */
export function tcpClearRetrans(tp: TcpSock): void {
  tp.retransOut = 0;
  tp.lostOut = 0;
  tp.undoMarkerSet = false;
  tp.undoRetrans = -1;
  tp.sackedOut = 0;
  tp.rtoStamp = 0;
  tp.totalRto = 0;
  tp.totalRtoRecoveries = 0;
  tp.totalRtoTime = 0;
}

/** tcp_init_undo: a loss episode begins: what would show that it was none? */
export function tcpInitUndo(tp: TcpSock): void {
  tp.undoMarker = tp.sndUna;
  tp.undoMarkerSet = true;
  // Retransmissions in flight may cause D-SACKs later, and so may a probe.
  tp.undoRetrans = tp.retransOut;
  if (tp.tlpHighSeqSet && tp.tlpRetrans) tp.undoRetrans++;
  // 0 would mean "all of them were spurious".
  if (tp.undoRetrans === 0) tp.undoRetrans = -1;
}

/** tcp_timeout_mark_lost: the RTO has fired: the head, and whatever was sent long enough ago, is lost. */
function tcpTimeoutMarkLost(sk: TcpSock): void {
  const head = tcpRtxQueueHead(sk);
  // RFC 2018 §8: the peer threw SACKed data away, as it may.
  const isReneg = head !== 0 && (tcpSkbSacked(head) & TCPCB_SACKED_ACKED) !== 0;
  if (isReneg) {
    netIncStats(sk.net, LINUX_MIB_TCPSACKRENEGING);
    sk.sackedOut = 0;
    // Rate samples are wrong until this episode is over.
    sk.isSackReneg = true;
  } else if (tcpIsReno(sk)) {
    tcpResetRenoSack(sk);
  }
  for (let skb = head; skb !== 0; skb = skbNext(skb)) {
    if (isReneg) tcpSkbSetSacked(skb, tcpSkbSacked(skb) & ~TCPCB_SACKED_ACKED);
    // Sent only recently: not lost yet (RFC 8985 §6.3).
    else if (skb !== head && tcpRackSkbTimeout(sk, skb, 0) > 0) continue;
    tcpMarkSkbLost(sk, skb);
  }
  tcpVerifyLeftOut(sk);
  tcpClearAllRetransHints(sk);
}

/** tcp_enter_loss: RFC 5681 §3.1 equation (4) and RFC 5682 §3.1 step 1, after a retransmission timeout. */
export function tcpEnterLoss(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  const newRecovery = sk.icskCaState < TCP_CA_Recovery;
  tcpTimeoutMarkLost(sk);
  // ssthresh is reduced once a window of data.
  if (
    sk.icskCaState <= TCP_CA_Disorder ||
    !after(sk.highSeq, sk.sndUna) ||
    (sk.icskCaState === TCP_CA_Loss && sk.icskRetransmits === 0)
  ) {
    sk.priorSsthresh = tcpCurrentSsthresh(sk);
    sk.priorCwnd = tcpSndCwnd(sk);
    sk.sndSsthresh = sk.icskCaOps.ssthresh(sk);
    tcpCaEvent(sk, CA_EVENT_LOSS);
    tcpInitUndo(sk);
  }
  tcpSndCwndSet(sk, tcpPacketsInFlight(sk) + 1);
  sk.sndCwndCnt = 0;
  sk.sndCwndStamp = tcpJiffies32();
  // Many duplicate ACKs and no recovery: the degree of reordering was overestimated.
  const reordering = ipv4.sysctlTcpReordering;
  if (sk.icskCaState <= TCP_CA_Disorder && sk.sackedOut >= reordering) {
    sk.reordering = Math.min(sk.reordering, reordering);
  }
  tcpSetCaState(sk, TCP_CA_Loss);
  sk.highSeq = sk.sndNxt;
  sk.tlpHighSeqSet = false;
  tcpEcnQueueCwr(sk);
  // RFC 5682 §3.1 step 1: only if no recovery of this data was under way, or the timeout repeats.
  sk.frto = ipv4.sysctlTcpFrto !== 0 && (newRecovery || sk.icskRetransmits !== 0) && sk.icskMtupProbeSize === 0;
}

// ---- undo -----------------------------------------------------------------------------------------------------------

/** tcp_tsopt_ecr_before: the ACK echoes a timestamp from before `when`. */
function tcpTsoptEcrBefore(tp: TcpSock, when: number): boolean {
  return tp.rxOpt.sawTstamp && tp.rxOpt.rcvTsecr !== 0 && ((tp.rxOpt.rcvTsecr - when) | 0) < 0;
}

/** tcp_skb_spurious_retrans: the ACK was sent for the original, not for the retransmission (RFC 3522). */
export function tcpSkbSpuriousRetrans(tp: TcpSock, skb: number): boolean {
  return (tcpSkbSacked(skb) & TCPCB_RETRANS) !== 0 && tcpTsoptEcrBefore(tp, tcpSkbTimestampTs(skb));
}

/** tcp_packet_delayed: nothing was retransmitted, or the ACK is one for an original (Eifel detection). */
function tcpPacketDelayed(tp: TcpSock): boolean {
  if (tp.retransStamp !== 0) return tcpTsoptEcrBefore(tp, tp.retransStamp);
  // retrans_stamp is 0: nothing was retransmitted, and yet SND.UNA advanced, except where it was cleared on the way:
  // (1) without SACK, tcp_is_non_sack_preventing_reopen clears it when high_seq is reached;
  if (!tcpIsSack(tp) && !before(tp.sndUna, tp.highSeq)) return false;
  // (2) in SYN_SENT the ACK of a SYN clears it, retransmitted or not.
  return tp.skcState !== TCP_SYN_SENT;
}

/** tcp_any_retrans_done: is something outstanding that was retransmitted? */
function tcpAnyRetransDone(sk: TcpSock): boolean {
  if (sk.retransOut !== 0) return true;
  const skb = tcpRtxQueueHead(sk);
  return skb !== 0 && (tcpSkbSacked(skb) & TCPCB_EVER_RETRANS) !== 0;
}

/** tcp_retrans_stamp_cleanup: if there is none, the first one of the next episode stamps anew. */
export function tcpRetransStampCleanup(sk: TcpSock): void {
  if (!tcpAnyRetransDone(sk)) sk.retransStamp = 0;
}

/** tcp_undo_cwnd_reduction: back to what the window was before the episode (RFC 4015 §3.2). */
function tcpUndoCwndReduction(sk: TcpSock, unmarkLoss: boolean): void {
  if (unmarkLoss) {
    for (let skb = tcpRtxQueueHead(sk); skb !== 0; skb = skbNext(skb)) {
      tcpSkbSetSacked(skb, tcpSkbSacked(skb) & ~TCPCB_LOST);
    }
    sk.lostOut = 0;
    tcpClearAllRetransHints(sk);
  }
  if (sk.priorSsthresh !== 0) {
    tcpSndCwndSet(sk, sk.icskCaOps.undoCwnd(sk));
    if (sk.priorSsthresh > sk.sndSsthresh) {
      sk.sndSsthresh = sk.priorSsthresh;
      tcpEcnWithdrawCwr(sk);
    }
  }
  sk.sndCwndStamp = tcpJiffies32();
  sk.undoMarkerSet = false;
  // RACK looks at every segment again.
  sk.rackAdvanced = true;
}

/** tcp_may_undo: every retransmission was a duplicate, or none was needed. */
function tcpMayUndo(tp: TcpSock): boolean {
  return tp.undoMarkerSet && (tp.undoRetrans === 0 || tcpPacketDelayed(tp));
}

/**
 * tcp_is_non_sack_preventing_reopen: RFC 6582 §3.2 step 1 ("recover"): without SACK the state is held until something
 * *above* high_seq is acknowledged, or duplicate ACKs of this episode would start another one.
 */
function tcpIsNonSackPreventingReopen(sk: TcpSock): boolean {
  if (sk.sndUna !== sk.highSeq || !tcpIsReno(sk)) return false;
  if (!tcpAnyRetransDone(sk)) sk.retransStamp = 0;
  return true;
}

/** tcp_try_undo_recovery: the episode ends; undone if it was none. True if the state has to be held for a while. */
export function tcpTryUndoRecovery(sk: TcpSock): boolean {
  if (tcpMayUndo(sk)) {
    tcpUndoCwndReduction(sk, false);
    netIncStats(sk.net, sk.icskCaState === TCP_CA_Loss ? LINUX_MIB_TCPLOSSUNDO : LINUX_MIB_TCPFULLUNDO);
  } else if (sk.rackReoWndPersist !== 0) {
    sk.rackReoWndPersist--;
  }
  if (tcpIsNonSackPreventingReopen(sk)) return true;
  tcpSetCaState(sk, TCP_CA_Open);
  sk.isSackReneg = false;
  return false;
}

/** tcp_try_undo_dsack: RFC 3708 §4: D-SACKs have shown every retransmission of the episode to be spurious. */
function tcpTryUndoDsack(sk: TcpSock): boolean {
  if (!sk.undoMarkerSet || sk.undoRetrans !== 0) return false;
  sk.rackReoWndPersist = Math.min(TCP_RACK_RECOVERY_THRESH, sk.rackReoWndPersist + 1);
  tcpUndoCwndReduction(sk, false);
  netIncStats(sk.net, LINUX_MIB_TCPDSACKUNDO);
  return true;
}

/** tcp_try_undo_loss: the timeout was spurious. */
function tcpTryUndoLoss(sk: TcpSock, frtoUndo: boolean): boolean {
  if (!frtoUndo && !tcpMayUndo(sk)) return false;
  tcpUndoCwndReduction(sk, true);
  netIncStats(sk.net, LINUX_MIB_TCPLOSSUNDO);
  if (frtoUndo) netIncStats(sk.net, LINUX_MIB_TCPSPURIOUSRTOS);
  sk.icskRetransmits = 0;
  if (tcpIsNonSackPreventingReopen(sk)) return true;
  if (frtoUndo || tcpIsSack(sk)) {
    tcpSetCaState(sk, TCP_CA_Open);
    sk.isSackReneg = false;
  }
  return true;
}

// ---- the window in recovery -----------------------------------------------------------------------------------------

/** tcp_init_cwnd_reduction. */
export function tcpInitCwndReduction(sk: TcpSock): void {
  sk.highSeq = sk.sndNxt;
  sk.tlpHighSeqSet = false;
  sk.sndCwndCnt = 0;
  sk.priorCwnd = tcpSndCwnd(sk);
  sk.prrDelivered = 0;
  sk.prrOut = 0;
  sk.sndSsthresh = sk.icskCaOps.ssthresh(sk);
  tcpEcnQueueCwr(sk);
}

/**
 * tcp_cwnd_reduction: RFC 6937 §3: what may be sent is proportional to what was delivered; below ssthresh PRR-SSRB,
 * as in slow start, while recovery makes progress, else PRR-CRB.
 */
export function tcpCwndReduction(sk: TcpSock, newlyAckedSacked: number, newlyLost: number, flag: number): void {
  if (newlyAckedSacked <= 0 || sk.priorCwnd === 0) return;
  const delta = sk.sndSsthresh - tcpPacketsInFlight(sk);
  let sndcnt: number;
  sk.prrDelivered += newlyAckedSacked;
  if (delta < 0) {
    sndcnt = Math.floor((sk.sndSsthresh * sk.prrDelivered + sk.priorCwnd - 1) / sk.priorCwnd) - sk.prrOut;
  } else {
    sndcnt = Math.max(sk.prrDelivered - sk.prrOut, newlyAckedSacked);
    if ((flag & FLAG_SND_UNA_ADVANCED) !== 0 && newlyLost === 0) sndcnt++;
    sndcnt = Math.min(delta, sndcnt);
  }
  // The fast retransmit itself must go out.
  sndcnt = Math.max(sndcnt, sk.prrOut !== 0 ? 0 : 1);
  tcpSndCwndSet(sk, tcpPacketsInFlight(sk) + sndcnt);
}

/** tcp_end_cwnd_reduction: RFC 6937 leaves cwnd at ssthresh. */
export function tcpEndCwndReduction(sk: TcpSock): void {
  if (sk.icskCaOps.congControl !== undefined) return;
  if (sk.sndSsthresh < TCP_INFINITE_SSTHRESH && (sk.icskCaState === TCP_CA_CWR || sk.undoMarkerSet)) {
    tcpSndCwndSet(sk, sk.sndSsthresh);
    sk.sndCwndStamp = tcpJiffies32();
  }
  tcpCaEvent(sk, CA_EVENT_COMPLETE_CWR);
}

/** tcp_enter_cwr: congestion without loss: ECE (RFC 3168 §6.1.2) or a full queue of this host. */
export function tcpEnterCwr(sk: TcpSock): void {
  sk.priorSsthresh = 0;
  if (sk.icskCaState < TCP_CA_CWR) {
    sk.undoMarkerSet = false;
    tcpInitCwndReduction(sk);
    tcpSetCaState(sk, TCP_CA_CWR);
  }
}

/** tcp_try_keep_open. */
export function tcpTryKeepOpen(sk: TcpSock): void {
  const state = tcpLeftOut(sk) !== 0 || tcpAnyRetransDone(sk) ? TCP_CA_Disorder : TCP_CA_Open;
  if (sk.icskCaState !== state) {
    tcpSetCaState(sk, state);
    sk.highSeq = sk.sndNxt;
  }
}

/** tcp_try_to_open. */
function tcpTryToOpen(sk: TcpSock, flag: number): void {
  tcpVerifyLeftOut(sk);
  if (!tcpAnyRetransDone(sk)) sk.retransStamp = 0;
  if ((flag & FLAG_ECE) !== 0) tcpEnterCwr(sk);
  if (sk.icskCaState !== TCP_CA_CWR) tcpTryKeepOpen(sk);
}

// ---- path MTU probing (RFC 4821 §7.6) -------------------------------------------------------------------------------

/** tcp_mtup_probe_failed. */
function tcpMtupProbeFailed(sk: TcpSock): void {
  sk.icskMtupSearchHigh = sk.icskMtupProbeSize - 1;
  sk.icskMtupProbeSize = 0;
  netIncStats(sk.net, LINUX_MIB_TCPMTUPFAIL);
}

/** tcp_mtup_probe_success: segments grow, so cwnd, which counts them, shrinks. */
export function tcpMtupProbeSuccess(sk: TcpSock): void {
  sk.priorSsthresh = tcpCurrentSsthresh(sk);
  const val = Math.floor((tcpSndCwnd(sk) * tcpMssToMtu(sk, sk.mssCache)) / sk.icskMtupProbeSize);
  tcpSndCwndSet(sk, Math.max(1, val));
  sk.sndCwndCnt = 0;
  sk.sndCwndStamp = tcpJiffies32();
  sk.sndSsthresh = tcpCurrentSsthresh(sk);
  sk.icskMtupSearchLow = sk.icskMtupProbeSize;
  sk.icskMtupProbeSize = 0;
  tcpSyncMss(sk, sk.icskPmtuCookie);
  netIncStats(sk.net, LINUX_MIB_TCPMTUPSUCCESS);
}

/** tcp_non_congestion_loss_retransmit: resends what is marked lost, though no congestion has lost it: cwnd stays. */
export function tcpNonCongestionLossRetransmit(sk: TcpSock): void {
  if (sk.icskCaState !== TCP_CA_Loss) {
    sk.highSeq = sk.sndNxt;
    sk.sndSsthresh = tcpCurrentSsthresh(sk);
    sk.priorSsthresh = 0;
    sk.undoMarkerSet = false;
    tcpSetCaState(sk, TCP_CA_Loss);
  }
  tcpXmitRetransmitQueue(sk);
}

/** tcp_simple_retransmit: the path MTU has shrunk: segments that are too large now are resent at once. */
export function tcpSimpleRetransmit(sk: TcpSock): void {
  // A Fast Open SYN stands as two skbs in the queue, whose sizes say nothing: the data goes again in any case.
  const mss = sk.synData && sk.skcState === TCP_SYN_SENT ? -1 : tcpCurrentMss(sk);
  for (let skb = tcpRtxQueueHead(sk); skb !== 0; skb = skbNext(skb)) {
    if (tcpSkbSeglen(skb) > mss) tcpMarkSkbLost(sk, skb);
  }
  if (sk.lostOut === 0) return;
  if (tcpIsReno(sk)) tcpLimitRenoSacked(sk);
  tcpVerifyLeftOut(sk);
  tcpNonCongestionLossRetransmit(sk);
}

// ---- the state machine ----------------------------------------------------------------------------------------------

/**
 * tcp_check_sack_reneging: SND.UNA has reached a SACKed segment: the peer discarded it, or the ACK for it is still to
 * come. Waits half an RTT for that before everything is resent.
 */
function tcpCheckSackReneging(sk: TcpSock, ackFlag: number): boolean {
  if ((ackFlag & FLAG_SACK_RENEGING) === 0 || (ackFlag & FLAG_SND_UNA_ADVANCED) === 0) return false;
  const delay = Math.max(usecsRoundJiffies(Math.floor(sk.srttUs / 16)), 10 * USEC_PER_MSEC);
  tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, delay, false);
  return true;
}

/** tcp_enter_recovery: RFC 5681 §3.2 step 2, RFC 6675 §5 step 4. */
export function tcpEnterRecovery(sk: TcpSock, eceAck: boolean): void {
  // The clock of this episode starts with its first retransmission.
  tcpRetransStampCleanup(sk);
  netIncStats(sk.net, tcpIsReno(sk) ? LINUX_MIB_TCPRENORECOVERY : LINUX_MIB_TCPSACKRECOVERY);
  sk.priorSsthresh = 0;
  tcpInitUndo(sk);
  if (!tcpInCwndReduction(sk)) {
    if (!eceAck) sk.priorSsthresh = tcpCurrentSsthresh(sk);
    tcpInitCwndReduction(sk);
  }
  tcpSetCaState(sk, TCP_CA_Recovery);
}

/** tcp_update_rto_time: milliseconds spent in Loss, for tcp_info. */
export function tcpUpdateRtoTime(tp: TcpSock): void {
  if (tp.rtoStamp === 0) return;
  tp.totalRtoTime += (tcpTimeStampMs(tp) - tp.rtoStamp) >>> 0;
  tp.rtoStamp = 0;
}

/** tcp_process_loss: an ACK in Loss: F-RTO (RFC 5682 §3.1 and, with SACK, §3.2), or resend what is lost. REXMIT_*. */
function tcpProcessLoss(sk: TcpSock, flag: number, numDupack: number, rexmit: number): number {
  const recovered = !before(sk.sndUna, sk.highSeq);
  if (((flag & FLAG_SND_UNA_ADVANCED) !== 0 || sk.fastopenRsk !== null) && tcpTryUndoLoss(sk, false)) return rexmit;
  if (sk.frto) {
    // Step 3.b: never-retransmitted data was delivered: the timeout was spurious.
    if ((flag & FLAG_ORIG_SACK_ACKED) !== 0 && tcpTryUndoLoss(sk, true)) return rexmit;
    if (after(sk.sndNxt, sk.highSeq)) {
      // Step 3.a: new data was sent, and yet duplicates come: the loss was real.
      if ((flag & FLAG_DATA_SACKED) !== 0 || numDupack !== 0) sk.frto = false;
    } else if ((flag & FLAG_SND_UNA_ADVANCED) !== 0 && !recovered) {
      sk.highSeq = sk.sndNxt;
      // Step 2.b: send new data, if there is any and it fits; cwnd is updated first (tcp_ack).
      if (!tcpWriteQueueEmpty(sk) && after(tcpWndEnd(sk), sk.sndNxt)) return REXMIT_NEW;
      sk.frto = false;
    }
  }
  if (recovered) {
    // Step 2.a, and the first half of 3.a.
    tcpTryUndoRecovery(sk);
    return rexmit;
  }
  if (tcpIsReno(sk)) {
    // A duplicate ACK means that new data of step 2.b arrived.
    if (after(sk.sndNxt, sk.highSeq) && numDupack !== 0) tcpAddRenoSack(sk, numDupack, (flag & FLAG_ECE) !== 0);
    else if ((flag & FLAG_SND_UNA_ADVANCED) !== 0) tcpResetRenoSack(sk);
  }
  return REXMIT_LOST;
}

/** tcp_try_undo_partial: a partial ACK. True if nothing more is to be marked or resent for now. */
function tcpTryUndoPartial(sk: TcpSock, priorSndUna: Seq): boolean {
  if (!sk.undoMarkerSet || !tcpPacketDelayed(sk)) return false;
  // The hole was filled by the delayed original: that is reordering.
  tcpCheckSackReordering(sk, priorSndUna, true);
  // Retransmissions are still out: they are waited for.
  if (sk.retransOut !== 0) return true;
  if (!tcpAnyRetransDone(sk)) sk.retransStamp = 0;
  tcpUndoCwndReduction(sk, true);
  netIncStats(sk.net, LINUX_MIB_TCPPARTIALUNDO);
  tcpTryKeepOpen(sk);
  return false;
}

/** tcp_identify_packet_loss: marks what is lost, by RACK or, without SACK, NewReno. Returns the ACK's FLAG_*. */
function tcpIdentifyPacketLoss(sk: TcpSock, ackFlag: number): number {
  if (tcpRtxQueueEmpty(sk)) return ackFlag;
  if (tcpIsReno(sk)) {
    tcpNewrenoMarkLost(sk, (ackFlag & FLAG_SND_UNA_ADVANCED) !== 0);
    return ackFlag;
  }
  const priorRetrans = sk.retransOut;
  if (tcpRackMarkLost(sk)) ackFlag &= ~FLAG_SET_XMIT_TIMER;
  if (priorRetrans > sk.retransOut) ackFlag |= FLAG_LOST_RETRANS;
  return ackFlag;
}

/** What tcp_fastretrans_alert asks tcp_xmit_recovery to send: REXMIT_*. Set by every call. */
export let fastretransRexmit = 0;

/**
 * tcp_fastretrans_alert: processes an ACK that is a duplicate, carries SACK, D-SACK or ECE, or comes while the state is
 * not Open. `rexmit`: what was asked for so far. Returns the ACK's FLAG_* as it leaves them; `fastretransRexmit` is the
 * other result.
 */
export function tcpFastretransAlert(
  sk: TcpSock,
  priorSndUna: Seq,
  numDupack: number,
  ackFlag: number,
  rexmit: number,
): number {
  const flag = ackFlag;
  const eceAck = (flag & FLAG_ECE) !== 0;
  fastretransRexmit = rexmit;
  if (sk.packetsOut === 0 && sk.sackedOut !== 0) sk.sackedOut = 0;

  // A. ECE: the reduction is due, whatever the losses turn out to be.
  if (eceAck) sk.priorSsthresh = 0;

  // B. Reneging.
  if (tcpCheckSackReneging(sk, ackFlag)) return ackFlag & ~FLAG_SET_XMIT_TIMER;

  // C. Consistency.
  tcpVerifyLeftOut(sk);

  // D. A state ends when high_seq is acknowledged.
  if (sk.icskCaState === TCP_CA_Open) {
    sk.retransStamp = 0;
  } else if (!before(sk.sndUna, sk.highSeq)) {
    if (sk.icskCaState === TCP_CA_CWR) {
      // Something above high_seq must be acknowledged, so that the CWR bit has reached the receiver.
      if (sk.sndUna !== sk.highSeq) {
        tcpEndCwndReduction(sk);
        tcpSetCaState(sk, TCP_CA_Open);
      }
    } else if (sk.icskCaState === TCP_CA_Recovery) {
      if (tcpIsReno(sk)) tcpResetRenoSack(sk);
      if (tcpTryUndoRecovery(sk)) return ackFlag;
      tcpEndCwndReduction(sk);
    }
  }

  // E. What the state does with the ACK.
  if (sk.icskCaState === TCP_CA_Recovery) {
    if ((flag & FLAG_SND_UNA_ADVANCED) === 0) {
      if (tcpIsReno(sk)) tcpAddRenoSack(sk, numDupack, eceAck);
    } else if (tcpTryUndoPartial(sk, priorSndUna)) {
      return ackFlag;
    }
    if (tcpTryUndoDsack(sk)) tcpTryToOpen(sk, flag);
    ackFlag = tcpIdentifyPacketLoss(sk, ackFlag);
    if (sk.icskCaState !== TCP_CA_Recovery) {
      if (!tcpTimeToRecover(sk)) return ackFlag;
      // The undo ended recovery, but a loss is proven all the same: another one begins.
      tcpEnterRecovery(sk, eceAck);
    }
    fastretransRexmit = REXMIT_LOST;
    return ackFlag;
  }
  if (sk.icskCaState === TCP_CA_Loss) {
    fastretransRexmit = tcpProcessLoss(sk, flag, numDupack, rexmit);
    if (sk.icskCaState !== TCP_CA_Loss) tcpUpdateRtoTime(sk);
    ackFlag = tcpIdentifyPacketLoss(sk, ackFlag);
    if ((sk.icskCaState as number) !== TCP_CA_Open && (ackFlag & FLAG_LOST_RETRANS) === 0) return ackFlag;
    // The window is undone, or retransmissions were lost: go on as from Open.
  }
  if (tcpIsReno(sk)) {
    if ((flag & FLAG_SND_UNA_ADVANCED) !== 0) tcpResetRenoSack(sk);
    tcpAddRenoSack(sk, numDupack, eceAck);
  }
  if (sk.icskCaState <= TCP_CA_Disorder) tcpTryUndoDsack(sk);
  ackFlag = tcpIdentifyPacketLoss(sk, ackFlag);
  if (!tcpTimeToRecover(sk)) {
    tcpTryToOpen(sk, flag);
    return ackFlag;
  }
  // RFC 4821 §7.6.2: the loss of a probe is no sign of congestion.
  if (sk.icskCaState < TCP_CA_CWR && sk.icskMtupProbeSize !== 0 && sk.sndUna === sk.mtuProbeProbeSeqStart) {
    tcpMtupProbeFailed(sk);
    // tcp_mtup_probe took it.
    tcpSndCwndSet(sk, tcpSndCwnd(sk) + 1);
    tcpSimpleRetransmit(sk);
    return ackFlag;
  }
  tcpEnterRecovery(sk, eceAck);
  fastretransRexmit = REXMIT_LOST;
  return ackFlag;
}

/** tcp_time_to_recover: a loss is proven. */
function tcpTimeToRecover(tp: TcpSock): boolean {
  return tp.lostOut !== 0;
}
