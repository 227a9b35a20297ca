/**
 * RACK-TLP loss detection (RFC 8985): a segment is lost if one that was sent sufficiently later was delivered. It works
 * on the times of the last transmission, so lost retransmissions and tail losses are found as well.
 *
 * The kernel keeps a list of skbs in the order of their transmission. Here the retransmit queue is walked in sequence
 * order: originals were sent in that order, so the walk ends at the first one that was sent too late and never again.
 */

import { skbLen, skbNext } from "../../mm/skb.ts";
import { TCP_CA_Recovery } from "../../uapi/tcp.ts";
import { inetCskResetXmitTimer } from "./inet_connection_sock.ts";
import { ICSK_TIME_REO_TIMEOUT, ICSK_TIME_RETRANS } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";
import type { RateSample } from "./tcp_h.ts";
import {
  TCP_RACK_NO_DUPTHRESH,
  TCP_RACK_RECOVERY_THRESH,
  TCP_RACK_STATIC_REO_WND,
  TCP_TIMEOUT_MIN_US,
  tcpMinRtt,
  tcpPacketsInFlight,
  tcpRtxQueueHead,
  tcpSkbSentAfter,
  tcpSkbTimestamp,
  tcpSkbTimestampUs,
  tcpStampUsDelta,
  usecsRoundJiffies,
} from "./tcp_h.ts";
import { tcpRearmRto } from "./tcp_input.ack.ts";
import { tcpCwndReduction, tcpEnterRecovery, tcpMarkSkbLost } from "./tcp_input.loss.ts";
import { TCP_FRAG_IN_RTX_QUEUE, tcpFragment, tcpXmitRetransmitQueue } from "./tcp_output.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  TCPCB_FLAG_RACK_LOST,
  TCPCB_LOST,
  TCPCB_RETRANS,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  tcpSkbCbFlags,
  tcpSkbEndSeq,
  tcpSkbMss,
  tcpSkbPcount,
  tcpSkbSacked,
  tcpSkbSetCbFlags,
} from "./tcp_sock.ts";

/** tcp_rack_reo_wnd: RFC 8985 §6.2 step 4: microseconds that a segment may be overtaken by before it counts as lost. */
function tcpRackReoWnd(sk: TcpSock): number {
  if (sk.reordSeen === 0) {
    // Without a sign of reordering: none in recovery, or once DupThresh segments were SACKed.
    if (sk.icskCaState >= TCP_CA_Recovery) return 0;
    if (sk.sackedOut >= sk.reordering && (sk.net.ipv4.sysctlTcpRecovery & TCP_RACK_NO_DUPTHRESH) === 0) return 0;
  }
  // Quarters of the minimum RTT, one more for every round with a D-SACK, up to the smoothed RTT.
  return Math.min(Math.floor(tcpMinRtt(sk) / 4) * sk.rackReoWndSteps, Math.floor(sk.srttUs / 8));
}

/** tcp_rack_skb_timeout: microseconds until the skb counts as lost; 0 or less = it is. */
export function tcpRackSkbTimeout(tp: TcpSock, skb: number, reoWnd: number): number {
  return tp.rackRttUs + reoWnd - tcpStampUsDelta(tp.tcpMstamp, tcpSkbTimestampUs(skb));
}

/** tcp_rack_detect_loss: RFC 8985 §6.2 step 5. Returns the microseconds after which to look again, 0 = never. */
function tcpRackDetectLoss(sk: TcpSock): number {
  const reoWnd = tcpRackReoWnd(sk);
  let reoTimeout = 0;
  for (let skb = tcpRtxQueueHead(sk); skb !== 0; skb = skbNext(skb)) {
    const sacked = tcpSkbSacked(skb);
    if ((sacked & TCPCB_SACKED_ACKED) !== 0) continue;
    // Marked lost, and not resent yet.
    if ((sacked & TCPCB_LOST) !== 0 && (sacked & TCPCB_SACKED_RETRANS) === 0) continue;
    if ((tcpSkbCbFlags(skb) & TCPCB_FLAG_RACK_LOST) !== 0) continue;
    if (!tcpSkbSentAfter(sk.rackMstamp, tcpSkbTimestamp(skb), sk.rackEndSeq, tcpSkbEndSeq(skb))) {
      if ((sacked & TCPCB_RETRANS) === 0) break;
      continue;
    }
    const remaining = tcpRackSkbTimeout(sk, skb, reoWnd);
    if (remaining <= 0) {
      tcpMarkSkbLost(sk, skb);
      tcpSkbSetCbFlags(skb, tcpSkbCbFlags(skb) | TCPCB_FLAG_RACK_LOST);
    } else if (remaining > reoTimeout) reoTimeout = remaining;
  }
  return reoTimeout;
}

/** tcp_rack_mark_lost: true if the reordering timer was armed, in place of RTO and TLP. */
export function tcpRackMarkLost(sk: TcpSock): boolean {
  if (!sk.rackAdvanced) return false;
  sk.rackAdvanced = false;
  const timeout = tcpRackDetectLoss(sk);
  if (timeout === 0) return false;
  inetCskResetXmitTimer(sk, ICSK_TIME_REO_TIMEOUT, usecsRoundJiffies(timeout + TCP_TIMEOUT_MIN_US), sk.icskRto);
  return true;
}

/** tcp_rack_advance: RFC 8985 §6.2 steps 1 and 2: a segment last sent at `xmitTime` (tcpSkbTimestamp) was delivered. */
export function tcpRackAdvance(tp: TcpSock, sacked: number, endSeq: Seq, xmitTime: number): void {
  const rttUs = tcpStampUsDelta(tp.tcpMstamp, Math.floor(xmitTime));
  // Sooner than any round trip: it was the original that was delivered, not the retransmission.
  if (rttUs < tcpMinRtt(tp) && (sacked & TCPCB_RETRANS) !== 0) return;
  tp.rackAdvanced = true;
  tp.rackRttUs = rttUs;
  if (tcpSkbSentAfter(xmitTime, tp.rackMstamp, endSeq, tp.rackEndSeq)) {
    tp.rackMstamp = xmitTime;
    tp.rackEndSeq = endSeq;
  }
}

/** tcp_rack_reo_timeout: the reordering timer has fired: what has not come by now is lost. */
export function tcpRackReoTimeout(sk: TcpSock): void {
  const priorInflight = tcpPacketsInFlight(sk);
  const lost = sk.lost;
  tcpRackDetectLoss(sk);
  if (priorInflight !== tcpPacketsInFlight(sk)) {
    if (sk.icskCaState !== TCP_CA_Recovery) {
      tcpEnterRecovery(sk, false);
      if (sk.icskCaOps.congControl === undefined) tcpCwndReduction(sk, 1, sk.lost - lost, 0);
    }
    tcpXmitRetransmitQueue(sk);
  }
  if (sk.icskPending !== ICSK_TIME_RETRANS) tcpRearmRto(sk);
}

/**
 * tcp_rack_update_reo_wnd: RFC 8985 §6.2 step 4: a round trip with a D-SACK widens the reordering window by a quarter
 * of the minimum RTT; after 16 recoveries without one it is a quarter again.
 */
export function tcpRackUpdateReoWnd(sk: TcpSock, rs: RateSample): void {
  if ((sk.net.ipv4.sysctlTcpRecovery & TCP_RACK_STATIC_REO_WND) !== 0 || rs.priorDelivered === 0) return;
  // A D-SACK of the same round trip counts once.
  if (rs.priorDelivered < sk.rackLastDelivered) sk.rackDsackSeen = false;
  if (sk.rackDsackSeen) {
    sk.rackReoWndSteps = Math.min(0xff, sk.rackReoWndSteps + 1);
    sk.rackDsackSeen = false;
    sk.rackLastDelivered = sk.delivered;
    sk.rackReoWndPersist = TCP_RACK_RECOVERY_THRESH;
  } else if (sk.rackReoWndPersist === 0) {
    sk.rackReoWndSteps = 1;
  }
}

/**
 * tcp_newreno_mark_lost: RFC 6582 §3.2: without SACK the first unacknowledged segment is lost after DupThresh duplicate
 * ACKs, and after every partial ACK.
 */
export function tcpNewrenoMarkLost(sk: TcpSock, sndUnaAdvanced: boolean): void {
  const state = sk.icskCaState;
  if (!(state < TCP_CA_Recovery && sk.sackedOut >= sk.reordering) && !(state === TCP_CA_Recovery && sndUnaAdvanced)) {
    return;
  }
  const skb = tcpRtxQueueHead(sk);
  if ((tcpSkbSacked(skb) & TCPCB_LOST) !== 0) return;
  const mss = tcpSkbMss(skb);
  if (tcpSkbPcount(skb) > 1 && skbLen(skb) > mss) tcpFragment(sk, TCP_FRAG_IN_RTX_QUEUE, skb, mss, mss);
  tcpMarkSkbLost(sk, skb);
}
