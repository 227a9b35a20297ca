/** Sending again: retransmission (RFC 6298, RFC 6675) and the tail loss probe (RFC 8985 §7). */

import { SKB_LEN, SKB_ORIGIN, SKB_SK, SKB_USERS } from "../../../assembly/layout.ts";
import { netAddStats, netIncStats, tcpAddStats } from "../../kernel/mib.ts";
import { u32 } from "../../mm/mem.ts";
import { skbCloned, skbLen, skbNext } from "../../mm/skb.ts";
import { EAGAIN, EBUSY, EHOSTUNREACH, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import {
  LINUX_MIB_TCPFASTRETRANS,
  LINUX_MIB_TCPLOSSPROBES,
  LINUX_MIB_TCPRETRANSFAIL,
  LINUX_MIB_TCPSLOWSTARTRETRANS,
  LINUX_MIB_TCPSPURIOUS_RTX_HOSTQUEUES,
  LINUX_MIB_TCPSYNRETRANS,
  TCP_MIB_RETRANSSEGS,
} from "../../uapi/linux_mib.ts";
import { TCP_CA_CWR, TCP_CA_Loss, TCP_CA_Open, TCPHDR_SYN, TCPHDR_SYN_ECN } from "../../uapi/tcp.ts";
import { ICSK_TIME_LOSS_PROBE, ICSK_TIME_REO_TIMEOUT, ICSK_TIME_RETRANS } from "./inet_sock.ts";
import { before, seqAdd, seqSub } from "./seq.ts";
import { tcpEcnClearSyn, tcpEcnModePending } from "./tcp_ecn.ts";
import {
  TCP_NAGLE_OFF,
  TCP_TIMEOUT_INIT,
  TCP_TIMEOUT_MIN_US,
  TSQF_THROTTLED,
  tcpInCwndReduction,
  tcpIsSack,
  tcpPacketsInFlight,
  tcpResetXmitTimer,
  tcpRtoDeltaUs,
  tcpRtoMinUs,
  tcpRtxQueueHead,
  tcpRtxQueueTail,
  tcpSendHead,
  tcpSkbTimestampTs,
  tcpSndCwnd,
  tcpWndEnd,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import { tcpRearmRto } from "./tcp_input.ts";
import {
  skbUncloneKeeptruesize,
  TCP_FRAG_IN_RTX_QUEUE,
  tcpAdjustPcount,
  tcpCurrentMss,
  tcpFragment,
  tcpRetransTryCollapse,
  tcpSetSkbTsoSegs,
  tcpTrimHead,
} from "./tcp_output.frag.ts";
import {
  TCPCB_TX_CLONE,
  tcpPacingCheck,
  tcpSmallQueueCheck,
  tcpSndWndTest,
  tcpTransmitSkb,
  tcpTsoSegs,
  tcpUrgMode,
  tcpWriteXmit,
} from "./tcp_output.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  TCPCB_EVER_RETRANS,
  TCPCB_LOST,
  TCPCB_RETRANS,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbPcount,
  tcpSkbSacked,
  tcpSkbSeq,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
  tcpSkbSetSeq,
} from "./tcp_sock.ts";

/**
 * tcp_schedule_loss_probe: arms the tail loss probe instead of the RTO: after 2 RTT (RFC 8985 §7.2), if there is SACK, no
 * recovery, and something in flight. False if it does not apply.
 */
export function tcpScheduleLossProbe(sk: TcpSock, advancingRto: boolean): boolean {
  // Not on a Fast Open connection before its handshake is done.
  if (sk.fastopenRsk !== null) return false;
  const earlyRetrans = sk.net.ipv4.sysctlTcpEarlyRetrans;
  if (
    (earlyRetrans !== 3 && earlyRetrans !== 4) ||
    sk.packetsOut === 0 ||
    !tcpIsSack(sk) ||
    (sk.icskCaState !== TCP_CA_Open && sk.icskCaState !== TCP_CA_CWR)
  ) {
    return false;
  }
  // A lone packet's ACK may be delayed by the receiver: it gets min RTO more.
  let timeout: number;
  if (sk.srttUs !== 0) {
    const base = Math.floor(sk.srttUs / 4);
    timeout = usecsRoundJiffies(base + (sk.packetsOut === 1 ? tcpRtoMinUs(sk) : TCP_TIMEOUT_MIN_US));
  } else {
    timeout = TCP_TIMEOUT_INIT;
  }
  // If the RTO would come earlier, it is the one that counts.
  const rtoDeltaUs = advancingRto ? sk.icskRto : tcpRtoDeltaUs(sk);
  if (rtoDeltaUs > 0) timeout = Math.min(timeout, usecsRoundJiffies(rtoDeltaUs));
  tcpResetXmitTimer(sk, ICSK_TIME_LOSS_PROBE, timeout, true);
  return true;
}

/** skb_fclone_busy: the clone that was sent last is still below TCP on this host. */
/* notrace */
function skbFcloneBusy(sk: TcpSock, skb: number): boolean {
  if (!skbCloned(skb)) return false;
  const clone = u32[(skb + TCPCB_TX_CLONE) >>> 2];
  // A clone that was freed (or handed to a receiver) has no owner any more, and its place may be somebody else's.
  return (
    clone !== 0 &&
    u32[(clone + SKB_USERS) >>> 2] !== 0 &&
    u32[(clone + SKB_SK) >>> 2] === sk.slot &&
    u32[(clone + SKB_ORIGIN) >>> 2] === u32[(skb + SKB_ORIGIN) >>> 2]
  );
}

/**
 * skb_still_in_host_queue: the original has not even left this host, so its retransmission would be spurious. TSQ's
 * completion comes back to it.
 */
function skbStillInHostQueue(sk: TcpSock, skb: number): boolean {
  if (!skbFcloneBusy(sk, skb)) return false;
  sk.tsqFlags |= TSQF_THROTTLED;
  netIncStats(sk.net, LINUX_MIB_TCPSPURIOUS_RTX_HOSTQUEUES);
  return true;
}

/** tcp_send_loss_probe (RFC 8985 §7.3): new data if the window allows, else the last segment again. */
export function tcpSendLossProbe(sk: TcpSock): void {
  const mss = tcpCurrentMss(sk);
  // At most one outstanding TLP.
  if (!sk.tlpHighSeqSet && tcpLossProbe(sk, mss)) {
    // Record snd_nxt for loss detection.
    sk.tlpHighSeq = sk.sndNxt;
    sk.tlpHighSeqSet = true;
    netIncStats(sk.net, LINUX_MIB_TCPLOSSPROBES);
    // So that tcp_rearm_rto restarts the timer from now.
    sk.icskPending = 0;
  } else if (tcpRtxQueueTail(sk) === 0) {
    sk.icskPending = 0;
    return;
  }
  tcpRearmRto(sk);
}

/** The probe itself. True if something was sent. */
/* notrace */
function tcpLossProbe(sk: TcpSock, mss: number): boolean {
  sk.tlpRetrans = false;
  let skb = tcpSendHead(sk);
  if (skb !== 0 && tcpSndWndTest(sk, skb, mss)) {
    const packetsOut = sk.packetsOut;
    tcpWriteXmit(sk, mss, TCP_NAGLE_OFF, 2);
    return sk.packetsOut > packetsOut;
  }
  skb = tcpRtxQueueTail(sk);
  if (skb === 0 || skbStillInHostQueue(sk, skb)) return false;
  const pcount = tcpSkbPcount(skb);
  if (pcount === 0) return false;
  // The last segment of it.
  if (pcount > 1 && skbLen(skb) > (pcount - 1) * mss) {
    if (tcpFragment(sk, TCP_FRAG_IN_RTX_QUEUE, skb, (pcount - 1) * mss, mss) !== 0) return false;
    skb = skbNext(skb);
  }
  if (__tcpRetransmitSkb(sk, skb, 1) !== 0) return false;
  sk.tlpRetrans = true;
  return true;
}

/**
 * __tcp_retransmit_skb: sends the first `segs` segments of an skb of the rtx queue again, cut and joined as the MSS of now
 * wants it. 0; negative: nothing was sent (-EBUSY: the original has not left yet; -EAGAIN: out of the peer's window);
 * positive: dropped below.
 */
export function __tcpRetransmitSkb(sk: TcpSock, skb: number, segs: number): number {
  // Inconclusive MTU probe.
  if (sk.icskMtupProbeSize !== 0) sk.icskMtupProbeSize = 0;
  if (skbStillInHostQueue(sk, skb)) return -EBUSY;

  if (before(tcpSkbSeq(skb), sk.sndUna) && (tcpSkbFlags(skb) & TCPHDR_SYN) !== 0) {
    // The SYN of a Fast Open SYN with data was acknowledged alone.
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) & ~TCPHDR_SYN);
    tcpSkbSetSeq(skb, seqAdd(tcpSkbSeq(skb), 1));
  }
  if (before(tcpSkbSeq(skb), sk.sndUna)) {
    if (before(tcpSkbEndSeq(skb), sk.sndUna)) return -EINVAL;
    if (tcpTrimHead(sk, skb, seqSub(sk.sndUna, tcpSkbSeq(skb))) !== 0) return -ENOMEM;
  }

  // Routing failure or similar.
  if (sk.icskAfOps.rebuildHeader(sk) !== 0) return -EHOSTUNREACH;

  const curMss = tcpCurrentMss(sk);
  // As tcp_write_xmit does, and Linux forgets to do here: segmentation copies the urgent pointer into every segment, where
  // it would name another byte each time.
  if (tcpUrgMode(sk) && before(tcpSkbSeq(skb), sk.sndUp)) segs = 1;
  let availWnd = seqSub(tcpWndEnd(sk), tcpSkbSeq(skb));
  // The receiver shrank its window, and the skb is out of it: not sent, unless it is the first, which then probes the window.
  if (availWnd <= 0) {
    if (tcpSkbSeq(skb) !== sk.sndUna) return -EAGAIN;
    availWnd = curMss;
  }
  // RFC 6093 §3.1: the urgent pointer of each segment stands for itself: they are sent one by one.
  let len = curMss * (tcpUrgMode(sk) ? 1 : segs);
  if (len > availWnd) {
    len = availWnd - (availWnd % curMss);
    if (len === 0) len = availWnd;
  }
  if (skbLen(skb) > len) {
    // We'll try again later.
    if (tcpFragment(sk, TCP_FRAG_IN_RTX_QUEUE, skb, len, curMss) !== 0) return -ENOMEM;
  } else {
    if (skbUncloneKeeptruesize(skb) !== 0) return -ENOMEM;
    const diff = tcpSkbPcount(skb) - tcpSetSkbTsoSegs(skb, curMss);
    if (diff !== 0) tcpAdjustPcount(sk, skb, diff);
    availWnd = Math.min(availWnd, curMss);
    if (skbLen(skb) < availWnd) tcpRetransTryCollapse(sk, skb, availWnd);
  }

  // RFC 3168 §6.1.1.1: without an answer, without ECN; Accurate ECN is offered once more (RFC 9768 §3.1.4.1).
  if ((tcpSkbFlags(skb) & TCPHDR_SYN_ECN) === TCPHDR_SYN_ECN && (!tcpEcnModePending(sk) || sk.icskRetransmits > 1)) {
    tcpEcnClearSyn(sk, skb);
  }

  segs = tcpSkbPcount(skb);
  tcpAddStats(sk.net, TCP_MIB_RETRANSSEGS, segs);
  if ((tcpSkbFlags(skb) & TCPHDR_SYN) !== 0) netIncStats(sk.net, LINUX_MIB_TCPSYNRETRANS);
  sk.totalRetrans += segs;
  sk.bytesRetrans += u32[(skb + SKB_LEN) >>> 2];

  const err = tcpTransmitSkb(sk, skb, 1);
  if (err !== 0 && err !== -EBUSY) netAddStats(sk.net, LINUX_MIB_TCPRETRANSFAIL, segs);
  // Set whether it left or not: no RTT sample may be taken from a transmission that perhaps never happened.
  tcpSkbSetSacked(skb, tcpSkbSacked(skb) | TCPCB_EVER_RETRANS);
  return err;
}

/** tcp_retransmit_skb: the same, accounted as a retransmission of this recovery. */
export function tcpRetransmitSkb(sk: TcpSock, skb: number, segs: number): number {
  const err = __tcpRetransmitSkb(sk, skb, segs);
  if (err === 0) {
    tcpSkbSetSacked(skb, tcpSkbSacked(skb) | TCPCB_RETRANS);
    sk.retransOut += tcpSkbPcount(skb);
  }
  // Save stamp of the first (attempted) retransmit; 0 means none.
  if (sk.retransStamp === 0) sk.retransStamp = tcpSkbTimestampTs(skb) || 1;
  if (sk.undoRetrans < 0) sk.undoRetrans = 0;
  sk.undoRetrans += tcpSkbPcount(skb);
  return err;
}

/** tcp_xmit_retransmit_queue: sends again what is marked lost, oldest first, as far as cwnd goes. */
export function tcpXmitRetransmitQueue(sk: TcpSock): void {
  if (sk.packetsOut === 0) return;
  const rtxHead = tcpRtxQueueHead(sk);
  let rearmTimer = false;
  let hole = 0;
  const maxSegs = tcpTsoSegs(sk, tcpCurrentMss(sk));
  for (let skb = sk.retransmitSkbHint !== 0 ? sk.retransmitSkbHint : rtxHead; skb !== 0; skb = skbNext(skb)) {
    if (tcpPacingCheck(sk)) break;
    // We could do better than to assign each time.
    if (hole === 0) sk.retransmitSkbHint = skb;
    let segs = tcpSndCwnd(sk) - tcpPacketsInFlight(sk);
    if (segs <= 0) break;
    const sacked = tcpSkbSacked(skb);
    // tcp_shift_skb_data may have made large skbs: no more than what TSO may.
    if (segs > maxSegs) segs = maxSegs;
    if (sk.retransOut >= sk.lostOut) break;
    if ((sacked & TCPCB_LOST) === 0) {
      if (hole === 0 && (sacked & (TCPCB_SACKED_RETRANS | TCPCB_SACKED_ACKED)) === 0) hole = skb;
      continue;
    }
    if ((sacked & (TCPCB_SACKED_ACKED | TCPCB_SACKED_RETRANS)) !== 0) continue;
    if (tcpSmallQueueCheck(sk, skb, 1)) break;
    if (tcpRetransmitSkb(sk, skb, segs) !== 0) break;
    const pcount = tcpSkbPcount(skb);
    netAddStats(
      sk.net,
      sk.icskCaState !== TCP_CA_Loss ? LINUX_MIB_TCPFASTRETRANS : LINUX_MIB_TCPSLOWSTARTRETRANS,
      pcount,
    );
    if (tcpInCwndReduction(sk)) sk.prrOut += pcount;
    if (skb === rtxHead && sk.icskPending !== ICSK_TIME_REO_TIMEOUT) rearmTimer = true;
  }
  if (rearmTimer) tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, sk.icskRto, true);
}
