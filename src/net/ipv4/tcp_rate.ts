/**
 * Delivery rate samples (draft-cheng-iccrg-delivery-rate-estimation): how many packets were delivered between two points of
 * time, over the longer of the time it took to send them and the time it took to have them acknowledged.
 *
 * ```
 *   send    P1 ------------------------ P2          interval = max(send phase, ack phase)
 *   ack         A1 ----------------------- A2       delivered = tp.delivered at A2 - at the time P2 was sent
 * ```
 */

import {
  TCPCB_FLAG_APP_LIMITED,
  TCPCB_TX_DELIVERED,
  TCPCB_TX_DELIVERED_CE,
  TCPCB_TX_DELIVERED_MSTAMP,
  TCPCB_TX_FIRST_MSTAMP,
} from "../../../assembly/layout.ts";
import { f64, u32 } from "../../mm/mem.ts";
import { skbTruesizeOf } from "../core/skbuff.ts";
import { seqSub } from "./seq.ts";
import type { RateSample } from "./tcp_h.ts";
import {
  tcpMinRtt,
  tcpPacketsInFlight,
  tcpSkbSentAfter,
  tcpSkbTimestampUs,
  tcpSndCwnd,
  tcpStampUsDelta,
} from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  TCPCB_FLAG_RACK_LOST,
  TCPCB_RETRANS,
  TCPCB_SACKED_ACKED,
  tcpSkbCbFlags,
  tcpSkbEndSeq,
  tcpSkbSacked,
  tcpSkbSetCbFlags,
} from "./tcp_sock.ts";

export type { RateSample } from "./tcp_h.ts";

/** delivered_ce occupies 20 bits of the control block in the kernel. */
const TCPCB_DELIVERED_CE_MASK = 0xfffff;

/** tcp_rate_skb_sent: notes in a packet that was just sent what had been delivered by then. */
export function tcpRateSkbSent(sk: TcpSock, skb: number): void {
  // With nothing in flight, a new sample starts with the sending of this packet: idle time is no delivery time.
  if (sk.packetsOut === 0) {
    const now = tcpSkbTimestampUs(skb);
    sk.firstTxMstamp = now;
    sk.deliveredMstamp = now;
  }
  f64[(skb + TCPCB_TX_FIRST_MSTAMP) >>> 3] = sk.firstTxMstamp;
  f64[(skb + TCPCB_TX_DELIVERED_MSTAMP) >>> 3] = sk.deliveredMstamp;
  u32[(skb + TCPCB_TX_DELIVERED) >>> 2] = sk.delivered;
  u32[(skb + TCPCB_TX_DELIVERED_CE) >>> 2] = sk.deliveredCe;
  // It stands at the end of the list of what was sent, too (tcp_update_skb_after_send).
  const flags = tcpSkbCbFlags(skb) & ~(TCPCB_FLAG_APP_LIMITED | TCPCB_FLAG_RACK_LOST);
  tcpSkbSetCbFlags(skb, sk.appLimited !== 0 ? flags | TCPCB_FLAG_APP_LIMITED : flags);
}

/** tcp_rate_skb_delivered: a packet was (S)ACKed: the most recently sent of them makes the sample. */
export function tcpRateSkbDelivered(sk: TcpSock, skb: number, rs: RateSample): void {
  const deliveredMstamp = f64[(skb + TCPCB_TX_DELIVERED_MSTAMP) >>> 3];
  if (deliveredMstamp === 0) return;
  const sacked = tcpSkbSacked(skb);
  const txTstamp = tcpSkbTimestampUs(skb);
  const endSeq = tcpSkbEndSeq(skb);
  if (rs.priorDelivered === 0 || tcpSkbSentAfter(txTstamp, sk.firstTxMstamp, endSeq, rs.lastEndSeq)) {
    rs.priorDeliveredCe = u32[(skb + TCPCB_TX_DELIVERED_CE) >>> 2];
    rs.priorDelivered = u32[(skb + TCPCB_TX_DELIVERED) >>> 2];
    rs.priorMstamp = deliveredMstamp;
    rs.isAppLimited = (tcpSkbCbFlags(skb) & TCPCB_FLAG_APP_LIMITED) !== 0;
    rs.isRetrans = (sacked & TCPCB_RETRANS) !== 0;
    rs.lastEndSeq = endSeq;
    // Record send time of most recently ACKed packet.
    sk.firstTxMstamp = txTstamp;
    // Find the duration of the "send phase" of this window.
    rs.intervalUs = tcpStampUsDelta(txTstamp, f64[(skb + TCPCB_TX_FIRST_MSTAMP) >>> 3]);
  }
  // What was SACKed is not used again when it is acknowledged cumulatively.
  if ((sacked & TCPCB_SACKED_ACKED) !== 0) f64[(skb + TCPCB_TX_DELIVERED_MSTAMP) >>> 3] = 0;
}

/** tcp_rate_gen: after an ACK that delivered `delivered` packets and showed `lost` lost: completes the sample. */
export function tcpRateGen(sk: TcpSock, delivered: number, lost: number, isSackReneg: boolean, rs: RateSample): void {
  // Clear app limited if bubble is acked and gone.
  if (sk.appLimited !== 0 && ((sk.delivered - sk.appLimited) | 0) > 0) sk.appLimited = 0;
  if (delivered !== 0) sk.deliveredMstamp = sk.tcpMstamp;
  rs.ackedSacked = delivered;
  rs.losses = lost;
  // No timing information, or SACKs that the peer took back.
  if (rs.priorMstamp === 0 || isSackReneg) {
    rs.delivered = -1;
    rs.intervalUs = -1;
    return;
  }
  rs.delivered = (sk.delivered - rs.priorDelivered) | 0;
  rs.deliveredCe = (sk.deliveredCe - rs.priorDeliveredCe) & TCPCB_DELIVERED_CE_MASK;
  // Usually the ACK phase is longer, but with ACK compression the send phase can be.
  const sndUs = rs.intervalUs;
  const ackUs = tcpStampUsDelta(sk.tcpMstamp, rs.priorMstamp);
  rs.intervalUs = Math.max(sndUs, ackUs);
  rs.sndIntervalUs = sndUs;
  rs.rcvIntervalUs = ackUs;
  // Less than the minimum RTT: a spurious retransmission was (S)ACKed; the rate would be far too high.
  if (rs.intervalUs < tcpMinRtt(sk)) {
    rs.intervalUs = -1;
    return;
  }
  // Record the last non-app-limited or the highest app-limited rate.
  if (!rs.isAppLimited || rs.delivered * sk.rateIntervalUs >= sk.rateDelivered * rs.intervalUs) {
    sk.rateDelivered = rs.delivered;
    sk.rateIntervalUs = rs.intervalUs;
    sk.rateAppLimited = rs.isAppLimited;
  }
}

/** tcp_rate_check_app_limited: called when the application has nothing more to send: is it what limits the rate? */
export function tcpRateCheckAppLimited(sk: TcpSock): void {
  if (
    // Less than one packet to send,
    seqSub(sk.writeSeq, sk.sndNxt) < sk.mssCache &&
    // nothing in this host's queues,
    sk.skWmemAlloc - 1 < skbTruesizeOf(1) &&
    // not limited by cwnd,
    tcpPacketsInFlight(sk) < tcpSndCwnd(sk) &&
    // and all lost packets have been retransmitted.
    sk.lostOut <= sk.retransOut
  ) {
    sk.appLimited = (sk.delivered + tcpPacketsInFlight(sk)) >>> 0 || 1;
  }
}
