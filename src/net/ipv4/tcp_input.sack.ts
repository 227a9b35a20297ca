/**
 * Selective acknowledgements, sender's side: tagging the retransmit queue (RFC 2018 §5, RFC 6675), duplicate SACKs
 * (RFC 2883, RFC 3708), reordering, and the counting of duplicate ACKs that stands in for SACK without it.
 *
 * The retransmit queue is a list in sequence order. An skb may stand for many segments; a SACK edge inside of one
 * splits it at a segment boundary, and an skb that becomes SACKed is shifted into a SACKed one before it, so that the
 * queue of a long recovery stays short.
 *
 * ```
 *  snd_una                        highest_sack           snd_nxt
 *    |  [ L ][ L,R ][ S S S S S ][ ... ]  [ S ][ highest ][     ]
 * ```
 * S: TCPCB_SACKED_ACKED, L: TCPCB_LOST, R: TCPCB_SACKED_RETRANS. packets_in_flight = packets_out - S - L + R.
 */

import { TCPCB_FLAG_EOR, TCPCB_TX_DELIVERED_MSTAMP } from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import { netAddStats, netIncStats } from "../../kernel/mib.ts";
import { dv, f64, u8 } from "../../mm/mem.ts";
import { skbHeadlen, skbIsNonlinear, skbLen, skbNext, skbPrev } from "../../mm/skb.ts";
import { EINVAL } from "../../uapi/errno.ts";
import {
  LINUX_MIB_SACKMERGED,
  LINUX_MIB_SACKSHIFTED,
  LINUX_MIB_SACKSHIFTFALLBACK,
  LINUX_MIB_TCPDSACKIGNOREDDUBIOUS,
  LINUX_MIB_TCPDSACKIGNOREDNOUNDO,
  LINUX_MIB_TCPDSACKIGNOREDOLD,
  LINUX_MIB_TCPDSACKOFORECV,
  LINUX_MIB_TCPDSACKRECV,
  LINUX_MIB_TCPDSACKRECVSEGS,
  LINUX_MIB_TCPRENOREORDER,
  LINUX_MIB_TCPSACKDISCARD,
  LINUX_MIB_TCPSACKREORDER,
  LINUX_MIB_TCPTSREORDER,
} from "../../uapi/linux_mib.ts";
import { TCP_CA_Loss, TCPHDR_FIN } from "../../uapi/tcp.ts";
import { skbShift } from "../core/skbuff.ts";
import type { Seq } from "./seq.ts";
import { after, before, seq, seqAdd, seqSub } from "./seq.ts";
import { tcpEcnModeRfc3168 } from "./tcp_ecn.ts";
import {
  TCP_MIN_GSO_SIZE,
  tcpAdvanceHighestSack,
  tcpHdr,
  tcpHighestSack,
  tcpHighestSackReset,
  tcpHighestSackSeq,
  tcpRtxQueueHead,
  tcpRtxQueueUnlinkAndFree,
  tcpSkbCanCollapse,
  tcpSkbTimestamp,
} from "./tcp_h.ts";
import { FLAG_DATA_SACKED, FLAG_DSACK_TLP, FLAG_DSACKING_ACK, FLAG_ORIG_SACK_ACKED } from "./tcp_input.h.ts";
import { TCP_FRAG_IN_RTX_QUEUE, tcpCurrentMss, tcpFragment, tcpSkbCollapseTstamp } from "./tcp_output.ts";
import { tcpRateSkbDelivered } from "./tcp_rate.ts";
import { tcpRackAdvance } from "./tcp_recovery.ts";
import type { TcpOptionsReceived, TcpSock } from "./tcp_sock.ts";
import {
  TCPCB_EVER_RETRANS,
  TCPCB_LOST,
  TCPCB_RETRANS,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  TCPCB_TAGBITS,
  TcpSackBlock,
  TcpSacktagState,
  tcpSkbAckSeq,
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

const TCP_NUM_SACKS = 4;
/** tp->rx_opt.sack_ok: a D-SACK was seen. */
export const TCP_DSACK_SEEN = 4;

export { TcpSacktagState };

/** tcp_sack_reset: forgets the SACK blocks that we would send. */
export function tcpSackReset(rxOpt: TcpOptionsReceived): void {
  rxOpt.dsack = false;
  rxOpt.numSacks = 0;
}

// ---- reordering -----------------------------------------------------------------------------------------------------

/** tcp_check_sack_reordering: a segment at `lowSeq` came after higher ones: how much does the network reorder? */
export function tcpCheckSackReordering(sk: TcpSock, lowSeq: Seq, ts: boolean): void {
  const fack = tcpHighestSackSeq(sk);
  if (!before(lowSeq, fack)) return;
  const metric = seqSub(fack, lowSeq);
  const mss = sk.mssCache;
  if (mss !== 0 && metric > sk.reordering * mss) {
    sk.reordering = Math.min(Math.ceil(metric / mss), sk.net.ipv4.sysctlTcpMaxReordering);
  }
  sk.reordSeen++;
  netIncStats(sk.net, ts ? LINUX_MIB_TCPTSREORDER : LINUX_MIB_TCPSACKREORDER);
}

// ---- without SACK: duplicate ACKs are counted as if they SACKed segments (RFC 6582) ---------------------------------

/** tcp_limit_reno_sacked: at least one segment must be missing. True if the count had to be cut. */
export function tcpLimitRenoSacked(tp: TcpSock): boolean {
  const holes = Math.min(Math.max(tp.lostOut, 1), tp.packetsOut);
  if (tp.sackedOut + holes <= tp.packetsOut) return false;
  tp.sackedOut = tp.packetsOut - holes;
  return true;
}

/** tcp_check_reno_reordering: more duplicate ACKs than packets: some of those ACKed were only late. */
function tcpCheckRenoReordering(sk: TcpSock, addend: number): void {
  if (!tcpLimitRenoSacked(sk)) return;
  sk.reordering = Math.min(sk.packetsOut + addend, sk.net.ipv4.sysctlTcpMaxReordering);
  sk.reordSeen++;
  netIncStats(sk.net, LINUX_MIB_TCPRENOREORDER);
}

/** tcp_count_delivered. */
export function tcpCountDelivered(tp: TcpSock, delivered: number, eceAck: boolean): void {
  tp.delivered += delivered;
  // Accurate ECN counts the marks themselves.
  if (eceAck && tcpEcnModeRfc3168(tp)) tp.deliveredCe += delivered;
}

/** tcp_verify_left_out: WARN_ON(left_out > packets_out), here a broken invariant. */
export function tcpVerifyLeftOut(tp: TcpSock): void {
  bugOn(tp.sackedOut + tp.lostOut > tp.packetsOut, "tcp: left_out > packets_out");
}

/** tcp_add_reno_sack: `numDupack` duplicate ACKs. */
export function tcpAddRenoSack(sk: TcpSock, numDupack: number, eceAck: boolean): void {
  if (numDupack === 0) return;
  const prior = sk.sackedOut;
  sk.sackedOut += numDupack;
  tcpCheckRenoReordering(sk, 0);
  const delivered = sk.sackedOut - prior;
  if (delivered > 0) tcpCountDelivered(sk, delivered, eceAck);
  tcpVerifyLeftOut(sk);
}

/** tcp_remove_reno_sacks: of `acked` segments one was the hole; the others were counted as duplicate ACKs. */
export function tcpRemoveRenoSacks(sk: TcpSock, acked: number, eceAck: boolean): void {
  if (acked > 0) {
    tcpCountDelivered(sk, Math.max(acked - sk.sackedOut, 1), eceAck);
    if (acked - 1 >= sk.sackedOut) sk.sackedOut = 0;
    else sk.sackedOut -= acked - 1;
  }
  tcpCheckRenoReordering(sk, acked);
  tcpVerifyLeftOut(sk);
}

/** tcp_reset_reno_sack. */
export function tcpResetRenoSack(tp: TcpSock): void {
  tp.sackedOut = 0;
}

// ---- duplicate SACKs (RFC 2883) -------------------------------------------------------------------------------------

/** tcp_dsack_seen: counts the segments of a D-SACK that match what we retransmitted. 0 = it is dubious. */
function tcpDsackSeen(tp: TcpSock, startSeq: Seq, endSeq: Seq, state: TcpSacktagState): number {
  if (!before(startSeq, endSeq)) return 0;
  const seqLen = seqSub(endSeq, startSeq);
  // More than any window: it cannot be true.
  if (seqLen > tp.maxWindow) return 0;
  let dupSegs = 1;
  if (seqLen > tp.mssCache) dupSegs = Math.ceil(seqLen / tp.mssCache);
  else if (tp.tlpHighSeqSet && tp.tlpHighSeq === endSeq) state.flag |= FLAG_DSACK_TLP;

  tp.dsackDups += dupSegs;
  // More duplicates than we ever retransmitted: the network duplicates, or the peer lies (RFC 3708 §4).
  if (tp.dsackDups > tp.totalRetrans) return 0;
  tp.rxOpt.sackOk |= TCP_DSACK_SEEN;
  // RFC 8985 §6.2 step 4: a spurious retransmission of RACK's widens the reordering window; a probe's does not.
  if (tp.reordSeen !== 0 && (state.flag & FLAG_DSACK_TLP) === 0) tp.rackDsackSeen = true;
  state.flag |= FLAG_DSACKING_ACK;
  state.sackDelivered += dupSegs;
  return dupSegs;
}

/**
 * tcp_check_dsack: RFC 2883 §4: the first block is a D-SACK if the cumulative ACK, or else the second block, covers it.
 * `sp`: address of the first block.
 */
function tcpCheckDsack(
  sk: TcpSock,
  ackSkb: number,
  sp: number,
  numSacks: number,
  priorSndUna: Seq,
  state: TcpSacktagState,
): boolean {
  const start0 = seq(dv.getUint32(sp));
  const end0 = seq(dv.getUint32(sp + 4));
  if (before(start0, tcpSkbAckSeq(ackSkb))) {
    netIncStats(sk.net, LINUX_MIB_TCPDSACKRECV);
  } else if (numSacks > 1) {
    const start1 = seq(dv.getUint32(sp + 8));
    const end1 = seq(dv.getUint32(sp + 12));
    if (after(end0, end1) || before(start0, start1)) return false;
    netIncStats(sk.net, LINUX_MIB_TCPDSACKOFORECV);
  } else {
    return false;
  }
  const dupSegs = tcpDsackSeen(sk, start0, end0, state);
  if (dupSegs === 0) {
    netIncStats(sk.net, LINUX_MIB_TCPDSACKIGNOREDDUBIOUS);
    return false;
  }
  netAddStats(sk.net, LINUX_MIB_TCPDSACKRECVSEGS, dupSegs);
  // A D-SACK for data that was forgotten already can only be counted.
  if (sk.undoMarkerSet && sk.undoRetrans > 0 && !after(end0, priorSndUna) && after(end0, sk.undoMarker)) {
    sk.undoRetrans = Math.max(0, sk.undoRetrans - dupSegs);
  }
  return true;
}

/**
 * tcp_is_sackblock_valid: lies within what is outstanding; a D-SACK may lie below SND.UNA, as far back as the loss
 * episode that it could undo. Anything else would move state on a peer's whim.
 */
function tcpIsSackblockValid(tp: TcpSock, isDsack: boolean, startSeq: Seq, endSeq: Seq): boolean {
  // Beyond what was sent, or reversed.
  if (after(endSeq, tp.sndNxt) || !before(startSeq, endSeq)) return false;
  if (!before(startSeq, tp.sndNxt)) return false;
  // In the window. start_seq == snd_una makes no sense: it would have been acknowledged.
  if (after(startSeq, tp.sndUna)) return true;
  if (!isDsack || !tp.undoMarkerSet) return false;
  // A D-SACK lies below SND.UNA as a whole.
  if (after(endSeq, tp.sndUna)) return false;
  if (!before(startSeq, tp.undoMarker)) return true;
  // Too old.
  if (!after(endSeq, tp.undoMarker)) return false;
  // It crosses the marker: believed as far as a window could reach.
  return !before(startSeq, seqAdd(endSeq, -tp.maxWindow));
}

// ---- tagging --------------------------------------------------------------------------------------------------------

/**
 * tcp_match_skb_to_sack: 1 = the block covers all of the skb (which may have been split for it), 0 = it does not,
 * negative = no memory to split.
 */
function tcpMatchSkbToSack(sk: TcpSock, skb: number, startSeq: Seq, endSeq: Seq): number {
  const skbStart = tcpSkbSeq(skb);
  let inSack = !after(startSeq, skbStart) && !before(endSeq, tcpSkbEndSeq(skb));
  if (tcpSkbPcount(skb) > 1 && !inSack && after(tcpSkbEndSeq(skb), startSeq)) {
    const mss = tcpSkbMss(skb);
    inSack = !after(startSeq, skbStart);
    let pktLen: number;
    if (!inSack) {
      pktLen = seqSub(startSeq, skbStart);
      if (pktLen < mss) pktLen = mss;
    } else {
      pktLen = seqSub(endSeq, skbStart);
      if (pktLen < mss) return -EINVAL;
    }
    // Only whole segments are SACKed: inwards from the edges of the block.
    if (pktLen > mss) {
      let newLen = Math.floor(pktLen / mss) * mss;
      if (!inSack && newLen < pktLen) newLen += mss;
      pktLen = newLen;
    }
    if (pktLen >= skbLen(skb) && !inSack) return 0;
    const err = tcpFragment(sk, TCP_FRAG_IN_RTX_QUEUE, skb, pktLen, mss);
    if (err < 0) return err;
  }
  return inSack ? 1 : 0;
}

/** tcp_sacktag_one: the range [startSeq, endSeq) of `pcount` segments is SACKed. Returns the new tags of its skb. */
export function tcpSacktagOne(
  sk: TcpSock,
  state: TcpSacktagState,
  sacked: number,
  startSeq: Seq,
  endSeq: Seq,
  dupSack: boolean,
  pcount: number,
  xmitTime: number,
): number {
  // A D-SACK for something retransmitted: that retransmission was not needed.
  if (dupSack && (sacked & TCPCB_RETRANS) !== 0) {
    if (sk.undoMarkerSet && sk.undoRetrans > 0 && after(endSeq, sk.undoMarker)) {
      sk.undoRetrans = Math.max(0, sk.undoRetrans - pcount);
    }
    if ((sacked & TCPCB_SACKED_ACKED) !== 0 && before(startSeq, state.reord)) state.reord = startSeq;
  }
  // It is about to be dropped from the queue.
  if (!after(endSeq, sk.sndUna)) return sacked;

  if ((sacked & TCPCB_SACKED_ACKED) === 0) {
    tcpRackAdvance(sk, sacked, endSeq, xmitTime);
    if ((sacked & TCPCB_SACKED_RETRANS) !== 0) {
      // Not tagged as lost: the retransmission is believed to be still in flight.
      if ((sacked & TCPCB_LOST) !== 0) {
        sacked &= ~(TCPCB_LOST | TCPCB_SACKED_RETRANS);
        sk.lostOut -= pcount;
        sk.retransOut -= pcount;
      }
    } else {
      if ((sacked & TCPCB_RETRANS) === 0) {
        // Never retransmitted, and in a hole: it was late, not lost.
        if (before(startSeq, tcpHighestSackSeq(sk)) && before(startSeq, state.reord)) state.reord = startSeq;
        if (!after(endSeq, sk.highSeq)) state.flag |= FLAG_ORIG_SACK_ACKED;
        state.lastSackt = Math.floor(xmitTime);
        if (state.firstSackt === 0) state.firstSackt = state.lastSackt;
      }
      if ((sacked & TCPCB_LOST) !== 0) {
        sacked &= ~TCPCB_LOST;
        sk.lostOut -= pcount;
      }
    }
    sacked |= TCPCB_SACKED_ACKED;
    state.flag |= FLAG_DATA_SACKED;
    sk.sackedOut += pcount;
    state.sackDelivered += pcount;
    state.deliveredBytes += seqSub(endSeq, startSeq);
  }
  // S|R and R: the retransmission arrived as well. (L|R was handled above.)
  if (dupSack && (sacked & TCPCB_SACKED_RETRANS) !== 0) {
    sacked &= ~TCPCB_SACKED_RETRANS;
    sk.retransOut -= pcount;
  }
  return sacked;
}

/**
 * tcp_shifted_skb: the first `shifted` bytes of `skb`, `pcount` segments, have moved to the SACKed `prev`. True if
 * nothing is left of `skb` (it is freed).
 */
function tcpShiftedSkb(
  sk: TcpSock,
  prev: number,
  skb: number,
  state: TcpSacktagState,
  pcount: number,
  shifted: number,
  mss: number,
  dupSack: boolean,
): boolean {
  const startSeq = tcpSkbSeq(skb);
  const endSeq = seqAdd(startSeq, shifted);
  bugOn(pcount === 0, "tcp_shifted_skb: nothing was shifted");
  // First the tags: moving the sequence numbers moves highest_sack with them.
  tcpSacktagOne(sk, state, tcpSkbSacked(skb), startSeq, endSeq, dupSack, pcount, tcpSkbTimestamp(skb));
  tcpRateSkbDelivered(sk, skb, state.rate);

  tcpSkbSetEndSeq(prev, seqAdd(tcpSkbEndSeq(prev), shifted));
  tcpSkbSetSeq(skb, endSeq);
  tcpSkbPcountSet(prev, tcpSkbPcount(prev) + pcount);
  tcpSkbPcountSet(skb, tcpSkbPcount(skb) - pcount);
  if (tcpSkbMss(prev) === 0) tcpSkbMssSet(prev, mss);
  if (tcpSkbPcount(skb) <= 1) tcpSkbMssSet(skb, 0);
  tcpSkbSetSacked(prev, tcpSkbSacked(prev) | (tcpSkbSacked(skb) & TCPCB_EVER_RETRANS));

  if (skbLen(skb) > 0) {
    bugOn(tcpSkbPcount(skb) === 0, "tcp_shifted_skb: bytes without segments");
    netIncStats(sk.net, LINUX_MIB_SACKSHIFTED);
    return false;
  }
  // All of it was eaten.
  if (skb === sk.retransmitSkbHint) sk.retransmitSkbHint = prev;
  tcpSkbSetFlags(prev, tcpSkbFlags(prev) | tcpSkbFlags(skb));
  tcpSkbSetCbFlags(prev, (tcpSkbCbFlags(prev) & ~TCPCB_FLAG_EOR) | (tcpSkbCbFlags(skb) & TCPCB_FLAG_EOR));
  if ((tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) tcpSkbSetEndSeq(prev, seqAdd(tcpSkbEndSeq(prev), 1));
  if (skb === tcpHighestSack(sk)) tcpAdvanceHighestSack(sk, skb);
  tcpSkbCollapseTstamp(prev, skb);
  // Both were sampled already: the merged one must not be again.
  f64[(prev + TCPCB_TX_DELIVERED_MSTAMP) >>> 3] = 0;
  tcpRtxQueueUnlinkAndFree(skb, sk);
  netIncStats(sk.net, LINUX_MIB_SACKMERGED);
  return true;
}

/** tcp_skb_seglen: bytes a segment. */
export function tcpSkbSeglen(skb: number): number {
  return tcpSkbPcount(skb) === 1 ? skbLen(skb) : tcpSkbMss(skb);
}

/** skb_can_shift: all of its bytes are in frags. */
function skbCanShift(skb: number): boolean {
  return skbHeadlen(skb) === 0 && skbIsNonlinear(skb);
}

/** tcp_skb_shift: moves `shiftlen` bytes (`pcount` segments) from the front of `from` to the end of `to`, or 0. */
export function tcpSkbShift(to: number, from: number, pcount: number, shiftlen: number): number {
  // gso_segs is a u16, and the segments of a path with a tiny MSS must fit into it.
  if (skbLen(to) + shiftlen >= 65535 * TCP_MIN_GSO_SIZE) return 0;
  if (tcpSkbPcount(to) + pcount > 65535) return 0;
  return skbShift(to, from, shiftlen);
}

function shiftFallback(sk: TcpSock): number {
  netIncStats(sk.net, LINUX_MIB_SACKSHIFTFALLBACK);
  return 0;
}

/**
 * tcp_shift_skb_data: tries to merge the newly SACKed part of `skb` into the SACKed skb before it. Returns the skb to
 * go on behind; `skb` itself if the block does not touch it; 0 if it has to be tagged where it is.
 */
function tcpShiftSkbData(
  sk: TcpSock,
  skb: number,
  state: TcpSacktagState,
  startSeq: Seq,
  endSeq: Seq,
  dupSack: boolean,
): number {
  // R without L: a plain S would lose the R.
  if (!dupSack && (tcpSkbSacked(skb) & (TCPCB_LOST | TCPCB_SACKED_RETRANS)) === TCPCB_SACKED_RETRANS) {
    return shiftFallback(sk);
  }
  if (!skbCanShift(skb)) return shiftFallback(sk);
  // It is about to be dropped from the queue.
  if (!after(tcpSkbEndSeq(skb), sk.sndUna)) return shiftFallback(sk);
  const prev = skbPrev(skb);
  if (prev === 0) return shiftFallback(sk);
  if ((tcpSkbSacked(prev) & TCPCB_TAGBITS) !== TCPCB_SACKED_ACKED) return shiftFallback(sk);
  if (!tcpSkbCanCollapse(prev, skb)) return shiftFallback(sk);

  const skbStart = tcpSkbSeq(skb);
  let len: number;
  let pcount: number;
  let mss: number;
  if (!after(startSeq, skbStart) && !before(endSeq, tcpSkbEndSeq(skb))) {
    len = skbLen(skb);
    pcount = tcpSkbPcount(skb);
    mss = tcpSkbSeglen(skb);
    if (mss !== tcpSkbSeglen(prev)) return shiftFallback(sk);
  } else {
    if (!after(tcpSkbEndSeq(skb), startSeq)) return skb;
    if (tcpSkbPcount(skb) <= 1) return skb;
    if (after(startSeq, skbStart)) return shiftFallback(sk);
    len = seqSub(endSeq, skbStart);
    bugOn(len < 0 || len > skbLen(skb), "tcp_shift_skb_data: block beyond its skb");
    // Segment boundaries hold, or pcount would be wrong.
    mss = tcpSkbMss(skb);
    if (mss !== tcpSkbSeglen(prev)) return shiftFallback(sk);
    if (len < mss) return skb;
    pcount = Math.floor(len / mss);
    len = pcount * mss;
  }
  // tcp_sacktag_one does not tag what lies below SND.UNA.
  if (!after(seqAdd(skbStart, len), sk.sndUna)) return shiftFallback(sk);
  if (tcpSkbShift(prev, skb, pcount, len) === 0) return shiftFallback(sk);
  if (!tcpShiftedSkb(sk, prev, skb, state, pcount, len, mss, dupSack)) return prev;

  // The hole was filled: the SACKed skb behind it joins in as well.
  const next = skbNext(prev);
  if (
    next === 0 ||
    !skbCanShift(next) ||
    (tcpSkbSacked(next) & TCPCB_TAGBITS) !== TCPCB_SACKED_ACKED ||
    mss !== tcpSkbSeglen(next) ||
    !tcpSkbCanCollapse(prev, next)
  ) {
    return prev;
  }
  len = skbLen(next);
  pcount = tcpSkbPcount(next);
  if (tcpSkbShift(prev, next, pcount, len) !== 0) tcpShiftedSkb(sk, prev, next, state, pcount, len, mss, false);
  return prev;
}

/**
 * tcp_sacktag_walk: tags everything from `skb` on that lies in [startSeq, endSeq); `nextDup` is the D-SACK block that
 * lies inside of the block behind it, if any. Returns where it stopped; 0 = the end of the queue.
 */
function tcpSacktagWalk(
  skb: number,
  sk: TcpSock,
  nextDup: TcpSackBlock | null,
  state: TcpSacktagState,
  startSeq: Seq,
  endSeq: Seq,
  dupSackIn: boolean,
): number {
  for (; skb !== 0; skb = skbNext(skb)) {
    let inSack = 0;
    let dupSack = dupSackIn;
    if (!before(tcpSkbSeq(skb), endSeq)) break;
    if (nextDup !== null && before(tcpSkbSeq(skb), nextDup.endSeq)) {
      inSack = tcpMatchSkbToSack(sk, skb, nextDup.startSeq, nextDup.endSeq);
      if (inSack > 0) dupSack = true;
    }
    if (inSack <= 0) {
      const tmp = tcpShiftSkbData(sk, skb, state, startSeq, endSeq, dupSack);
      if (tmp === 0) {
        inSack = tcpMatchSkbToSack(sk, skb, startSeq, endSeq);
      } else if (tmp !== skb) {
        // It was eaten, and the next one may have been.
        skb = tmp;
        continue;
      } else {
        inSack = 0;
      }
    }
    if (inSack < 0) break;
    if (inSack !== 0) {
      const sacked = tcpSacktagOne(
        sk,
        state,
        tcpSkbSacked(skb),
        tcpSkbSeq(skb),
        tcpSkbEndSeq(skb),
        dupSack,
        tcpSkbPcount(skb),
        tcpSkbTimestamp(skb),
      );
      tcpSkbSetSacked(skb, sacked);
      tcpRateSkbDelivered(sk, skb, state.rate);
      if (!before(tcpSkbSeq(skb), tcpHighestSackSeq(sk))) tcpAdvanceHighestSack(sk, skb);
    }
  }
  return skb;
}

/** tcp_sacktag_skip: the skb that holds `skipToSeq`, searched from `skb` on if that is not beyond it. 0 = none. */
function tcpSacktagSkip(skb: number, sk: TcpSock, skipToSeq: Seq): number {
  if (skb !== 0 && after(tcpSkbSeq(skb), skipToSeq)) return skb;
  let at = skb !== 0 ? skb : tcpRtxQueueHead(sk);
  if (skb === 0) {
    // Most blocks lie near the highest SACK.
    const high = tcpHighestSack(sk);
    if (high !== 0 && !after(tcpSkbSeq(high), skipToSeq)) at = high;
  }
  while (at !== 0 && !before(skipToSeq, tcpSkbEndSeq(at))) at = skbNext(at);
  return at !== 0 && before(skipToSeq, tcpSkbSeq(at)) ? 0 : at;
}

/** tcp_maybe_skipping_dsack: the D-SACK block must be tagged even where the cache lets us skip. */
function tcpMaybeSkippingDsack(
  skb: number,
  sk: TcpSock,
  nextDup: TcpSackBlock | null,
  state: TcpSacktagState,
  skipToSeq: Seq,
): number {
  if (nextDup === null) return skb;
  if (before(nextDup.startSeq, skipToSeq)) {
    skb = tcpSacktagSkip(skb, sk, nextDup.startSeq);
    skb = tcpSacktagWalk(skb, sk, null, state, nextDup.startSeq, nextDup.endSeq, true);
  }
  return skb;
}

/** The blocks of the ACK at hand, in the order of their start. */
const blocks: TcpSackBlock[] = [new TcpSackBlock(), new TcpSackBlock(), new TcpSackBlock(), new TcpSackBlock()];

/** Takes the valid blocks of the option at `wire` into `blocks`. Returns their number. */
function tcpSackBlocksRead(sk: TcpSock, ackSkb: number, wire: number, numSacks: number, priorSndUna: Seq): number {
  let used = 0;
  firstSackIndex = 0;
  for (let i = 0; i < numSacks; i++) {
    const dupSack = i === 0 && foundDupSack;
    const block = blocks[used] as TcpSackBlock;
    block.startSeq = seq(dv.getUint32(wire + i * 8));
    block.endSeq = seq(dv.getUint32(wire + i * 8 + 4));
    if (!tcpIsSackblockValid(sk, dupSack, block.startSeq, block.endSeq)) {
      let mib = LINUX_MIB_TCPSACKDISCARD;
      if (dupSack) {
        mib = sk.undoMarkerSet ? LINUX_MIB_TCPDSACKIGNOREDOLD : LINUX_MIB_TCPDSACKIGNOREDNOUNDO;
      } else if (tcpSkbAckSeq(ackSkb) !== sk.sndUna && !after(block.endSeq, sk.sndUna)) {
        // Old because ACKs were reordered: nobody's fault.
        continue;
      }
      netIncStats(sk.net, mib);
      if (i === 0) firstSackIndex = -1;
      continue;
    }
    // Old news.
    if (!after(block.endSeq, priorSndUna)) {
      if (i === 0) firstSackIndex = -1;
      continue;
    }
    used++;
  }
  // Sorted, so that one walk over the queue does.
  for (let i = used - 1; i > 0; i--) {
    for (let j = 0; j < i; j++) {
      const a = blocks[j] as TcpSackBlock;
      const b = blocks[j + 1] as TcpSackBlock;
      if (!after(a.startSeq, b.startSeq)) continue;
      blocks[j] = b;
      blocks[j + 1] = a;
      if (j === firstSackIndex) firstSackIndex = j + 1;
    }
  }
  return used;
}

/** Of the ACK at hand: is its first block a D-SACK, and where did sorting put it (-1: it is not among the blocks)? */
let foundDupSack = false;
let firstSackIndex = 0;

/**
 * tcp_sacktag_write_queue: processes the SACK option of `ackSkb` (whose offset tcp_parse_options left in `sacked`).
 * What an earlier ACK reported already (recv_sack_cache) is not walked again. Returns FLAG_*.
 */
export function tcpSacktagWriteQueue(sk: TcpSock, ackSkb: number, priorSndUna: Seq, state: TcpSacktagState): number {
  const opt = tcpHdr(ackSkb) + tcpSkbSacked(ackSkb);
  const wire = opt + 2;
  const numSacks = Math.min(TCP_NUM_SACKS, ((u8[opt + 1] as number) - 2) >> 3);
  state.flag = 0;
  state.reord = sk.sndNxt;
  if (sk.sackedOut === 0) tcpHighestSackReset(sk);
  foundDupSack = tcpCheckDsack(sk, ackSkb, wire, numSacks, priorSndUna, state);
  // Very old ACKs: their SACK information is worth nothing.
  if (before(tcpSkbAckSeq(ackSkb), seqAdd(priorSndUna, -sk.maxWindow))) return 0;
  if (sk.packetsOut === 0) return state.flag;

  const used = tcpSackBlocksRead(sk, ackSkb, wire, numSacks, priorSndUna);
  state.mssNow = tcpCurrentMss(sk);
  tcpSacktagBlocks(sk, used, state);

  // The cache holds the blocks of this ACK at its end.
  const cache = sk.recvSackCache;
  const empty = cache.length - used;
  for (let i = 0; i < empty; i++) {
    const block = cache[i] as TcpSackBlock;
    block.startSeq = seq(0);
    block.endSeq = seq(0);
  }
  for (let i = 0; i < used; i++) {
    const to = cache[empty + i] as TcpSackBlock;
    const from = blocks[i] as TcpSackBlock;
    to.startSeq = from.startSeq;
    to.endSeq = from.endSeq;
  }
  if (sk.icskCaState !== TCP_CA_Loss || sk.undoMarkerSet) tcpCheckSackReordering(sk, state.reord, false);
  tcpVerifyLeftOut(sk);
  return state.flag;
}

function emptyBlock(block: TcpSackBlock): boolean {
  return block.startSeq === seq(0) && block.endSeq === seq(0);
}

/** The walk of tcp_sacktag_write_queue over `used` sorted blocks. */
function tcpSacktagBlocks(sk: TcpSock, used: number, state: TcpSacktagState): void {
  const cache = sk.recvSackCache;
  let c = cache.length;
  if (sk.sackedOut !== 0) {
    c = 0;
    while (c < cache.length && emptyBlock(cache[c] as TcpSackBlock)) c++;
  }
  let skb = 0;
  for (let i = 0; i < used; ) {
    const startSeq = (blocks[i] as TcpSackBlock).startSeq;
    const endSeq = (blocks[i] as TcpSackBlock).endSeq;
    const dupSack = foundDupSack && i === firstSackIndex;
    const nextDup = foundDupSack && i + 1 === firstSackIndex ? (blocks[i + 1] as TcpSackBlock) : null;

    while (c < cache.length && !before(startSeq, (cache[c] as TcpSackBlock).endSeq)) c++;
    if (c < cache.length && !dupSack && after(endSeq, (cache[c] as TcpSackBlock).startSeq)) {
      const known = cache[c] as TcpSackBlock;
      // What lies before the part that is known?
      if (before(startSeq, known.startSeq)) {
        skb = tcpSacktagSkip(skb, sk, startSeq);
        skb = tcpSacktagWalk(skb, sk, nextDup, state, startSeq, known.startSeq, dupSack);
      }
      if (!after(endSeq, known.endSeq)) {
        i++;
        continue;
      }
      skb = tcpMaybeSkippingDsack(skb, sk, nextDup, state, known.endSeq);
      // What lies behind it?
      if (tcpHighestSackSeq(sk) !== known.endSeq) {
        skb = tcpSacktagSkip(skb, sk, known.endSeq);
        // The rest may overlap the next known block.
        c++;
        continue;
      }
      skb = tcpHighestSack(sk);
      if (skb === 0) break;
      c++;
    } else {
      if (!before(startSeq, tcpHighestSackSeq(sk))) {
        skb = tcpHighestSack(sk);
        if (skb === 0) break;
      }
      skb = tcpSacktagSkip(skb, sk, startSeq);
    }
    skb = tcpSacktagWalk(skb, sk, nextDup, state, startSeq, endSeq, dupSack);
    i++;
  }
}
