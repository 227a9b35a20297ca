/**
 * include/net/tcp_ecn.h: explicit congestion notification, classic (RFC 3168) and accurate (RFC 9768).
 *
 * Classic ECN gives one bit of feedback a round trip: the receiver sets ECE from a CE mark until it sees CWR. Accurate ECN
 * counts. The three flag bits AE, CWR and ECE become the ACE field, a counter of the segments that came marked, modulo 8:
 *
 * ```
 *   SYN      AE CWR ECE = 111 asks for it; an older peer sees CWR and ECE and answers 001, or 000
 *   SYN/ACK  says how the SYN arrived: 010 Not-ECT, 011 ECT(1), 100 ECT(0), 110 CE
 *   3rd ACK  says the same of the SYN/ACK
 *   then     (received_ce + 5) & 7
 * ```
 *
 * and an option (kinds 172 and 174) carries the low 24 bits of three counters of bytes: those that came as ECT(0), CE and
 * ECT(1), each from an offset that a middlebox which zeroes the option would not hit.
 */

import { SKB_GSO_TCP_ACCECN, SKB_GSO_TCP_ECN, SKB_LEN } from "../../../assembly/layout.ts";
import { u8, u32 } from "../../mm/mem.ts";
import { skbGsoSegs, skbGsoType, skbLen, skbSetGsoType } from "../../mm/skb.ts";
import { INET_ECN_CE, INET_ECN_ECT_0, INET_ECN_ECT_1, INET_ECN_MASK, INET_ECN_NOT_ECT } from "../../uapi/ip.ts";
import { RTAX_CC_ALGO, RTAX_FEATURE_ECN, RTAX_FEATURES } from "../../uapi/rtnetlink.ts";
import {
  TCP_ACCECN_ACE_FAIL_RECV,
  TCP_ACCECN_ACE_FAIL_SEND,
  TCP_ACCECN_OPT_COUNTER_SEEN,
  TCP_ACCECN_OPT_EMPTY_SEEN,
  TCP_ACCECN_OPT_FAIL_RECV,
  TCP_ACCECN_OPT_FAIL_SEEN,
  TCP_ACCECN_OPT_FAIL_SEND,
  TCPF_CA_CWR,
  TCPF_CA_Open,
  TCPHDR_ACE,
  TCPHDR_AE,
  TCPHDR_CWR,
  TCPHDR_ECE,
  TCPHDR_SYN,
  TCPOLEN_ACCECN_PERFIELD,
  TCPOPT_ACCECN1,
} from "../../uapi/tcp.ts";
import { type DstEntry, dstMetric } from "../core/dst.ts";
import type { InetConnectionSock, InetSock, RequestSock } from "./inet_sock.ts";
import { ICSK_ACK_NOW } from "./inet_sock.ts";
import { before } from "./seq.ts";
import {
  TCP_CONG_ECT_1_NEGOTIATION,
  TCP_CONG_NEEDS_ACCECN,
  TCP_CONG_NEEDS_ECN,
  TCP_CONG_NO_FALLBACK_RFC3168,
  tcpCaFindKey,
} from "./tcp_cong.ts";
import {
  TCP_ACCECN_ACE_MAX_DELTA,
  TCP_ACCECN_CEB_INIT_OFFSET,
  TCP_ACCECN_CEP_ACE_MASK,
  TCP_ACCECN_CEP_INIT_OFFSET,
  TCP_ACCECN_E0B_INIT_OFFSET,
  TCP_ACCECN_E1B_INIT_OFFSET,
  TCP_ACCECN_SAFETY_SHIFT,
  TCP_ECN_DEMAND_CWR,
  TCP_ECN_DISABLED,
  TCP_ECN_IN_ACCECN_OUT_ACCECN,
  TCP_ECN_IN_ACCECN_OUT_ECN,
  TCP_ECN_IN_ECN_OUT_ECN,
  TCP_ECN_MODE_ACCECN,
  TCP_ECN_MODE_ANY,
  TCP_ECN_MODE_PENDING,
  TCP_ECN_MODE_RFC3168,
  TCP_ECN_QUEUE_CWR,
  TCP_ECN_SEEN,
  tcpFastPathOn,
  tcpHdr,
  tcpIsSack,
  thDoff,
  thFlags,
} from "./tcp_h.ts";
import { FLAG_FORWARD_PROGRESS, FLAG_SLOWPATH, FLAG_SYN_ACKED, FLAG_TS_PROGRESS } from "./tcp_input.h.ts";
import type { TcpSock } from "./tcp_sock.ts";
import {
  TCP_SYNACK_RETRANS,
  tcpSkbDsfield,
  tcpSkbEndSeq,
  tcpSkbFlags,
  tcpSkbSacked,
  tcpSkbSeq,
  tcpSkbSetFlags,
} from "./tcp_sock.ts";

// ---- what a connection has agreed on --------------------------------------------------------------------------------

/** ECN of any kind, or the answer to our offer is still awaited. */
export function tcpEcnModeAny(tp: TcpSock): boolean {
  return (tp.ecnFlags & TCP_ECN_MODE_ANY) !== 0;
}
export function tcpEcnModeRfc3168(tp: TcpSock): boolean {
  return (tp.ecnFlags & TCP_ECN_MODE_ANY) === TCP_ECN_MODE_RFC3168;
}
export function tcpEcnModeAccecn(tp: TcpSock): boolean {
  return (tp.ecnFlags & TCP_ECN_MODE_ANY) === TCP_ECN_MODE_ACCECN;
}
/** Our SYN has offered Accurate ECN. */
export function tcpEcnModePending(tp: TcpSock): boolean {
  return (tp.ecnFlags & TCP_ECN_MODE_ANY) === TCP_ECN_MODE_PENDING;
}
export function tcpEcnModeSet(tp: TcpSock, mode: number): void {
  tp.ecnFlags = (tp.ecnFlags & ~TCP_ECN_MODE_ANY) | mode;
}

/** The congestion control wants ECT on every packet (DCTCP). */
export function tcpCaNeedsEcn(sk: InetConnectionSock): boolean {
  return (sk.icskCaOps.flags & TCP_CONG_NEEDS_ECN) !== 0;
}
/** The congestion control wants Accurate ECN. */
export function tcpCaNeedsAccecn(sk: InetConnectionSock): boolean {
  return (sk.icskCaOps.flags & TCP_CONG_NEEDS_ACCECN) !== 0;
}
/** The congestion control wants no ECN rather than the classic one. */
export function tcpCaNoFallbackRfc3168(sk: InetConnectionSock): boolean {
  return (sk.icskCaOps.flags & TCP_CONG_NO_FALLBACK_RFC3168) !== 0;
}

/** INET_ECN_xmit: packets leave as ECT(0). */
export function inetEcnXmit(sk: InetSock): void {
  sk.tos = (sk.tos & ~INET_ECN_MASK) | INET_ECN_ECT_0;
}
/** INET_ECN_dontxmit: packets leave as Not-ECT. */
export function inetEcnDontxmit(sk: InetSock): void {
  sk.tos &= ~INET_ECN_MASK;
}
/** INET_ECN_xmit_ect_1_negotiation: ECT(1) during the handshake if the congestion control says so (RFC 9331), else ECT(0). */
export function inetEcnXmitEct1Negotiation(sk: InetConnectionSock): void {
  const ect1 = (sk.icskCaOps.flags & TCP_CONG_ECT_1_NEGOTIATION) !== 0;
  sk.tos = (sk.tos & ~INET_ECN_MASK) | (ect1 ? INET_ECN_ECT_1 : INET_ECN_ECT_0);
}

// ---- classic ECN (RFC 3168 §6.1) ------------------------------------------------------------------------------------

/** tcp_ecn_queue_cwr: the window was reduced: the next new segment says so (§6.1.2). Accurate ECN has no such bit. */
export function tcpEcnQueueCwr(tp: TcpSock): void {
  if (tcpEcnModeRfc3168(tp)) tp.ecnFlags |= TCP_ECN_QUEUE_CWR;
}

/** tcp_ecn_withdraw_cwr: the reduction was undone. */
export function tcpEcnWithdrawCwr(tp: TcpSock): void {
  tp.ecnFlags &= ~TCP_ECN_QUEUE_CWR;
}

/** tcp_ecn_accept_cwr: the sender has reduced its window; the echo of the CE mark ends (§6.1.3). */
export function tcpEcnAcceptCwr(sk: TcpSock, skb: number): void {
  if (!tcpEcnModeRfc3168(sk) || (thFlags(tcpHdr(skb)) & TCPHDR_CWR) === 0) return;
  sk.ecnFlags &= ~TCP_ECN_DEMAND_CWR;
  // Its window may be a single packet now, so the ACK of its data must not wait.
  if (tcpSkbSeq(skb) !== tcpSkbEndSeq(skb)) sk.icskAck.pending |= ICSK_ACK_NOW;
}

/** tcp_ecn_rcv_ecn_echo: does the ACK report congestion? */
export function tcpEcnRcvEcnEcho(tp: TcpSock, th: number): boolean {
  return tcpEcnModeRfc3168(tp) && (thFlags(th) & (TCPHDR_ECE | TCPHDR_SYN)) === TCPHDR_ECE;
}

// ---- the ACE field and the counters behind it (RFC 9768 §3.2.1, §3.2.2) ---------------------------------------------

/** tcp_accecn_ace: AE, CWR and ECE of a header as a number of three bits. */
export function tcpAccecnAce(th: number): number {
  return (thFlags(th) & TCPHDR_ACE) >>> 6;
}

/** tcp_accecn_fail_mode_set: TCP_ACCECN_*_FAIL_*: what of the feedback has turned out not to work. */
export function tcpAccecnFailModeSet(tp: TcpSock, mode: number): void {
  tp.accecnFailMode |= mode;
}

/** tcp_accecn_extract_syn_ect: table 2: how the SYN, or the SYN/ACK, had arrived at the peer, out of its ACE field. */
export function tcpAccecnExtractSynEct(ace: number): number {
  switch (ace) {
    case 2:
      return INET_ECN_NOT_ECT;
    case 6:
      return INET_ECN_CE;
    case 0:
    case 4:
      return INET_ECN_ECT_0;
    default:
      return INET_ECN_ECT_1;
  }
}

/** tcp_accecn_reflector_flags: the same the other way round: the ACE flags for what arrived as `ect`. */
export function tcpAccecnReflectorFlags(ect: number): number {
  switch (ect) {
    case INET_ECN_ECT_1:
      return TCPHDR_CWR | TCPHDR_ECE;
    case INET_ECN_ECT_0:
      return TCPHDR_AE;
    case INET_ECN_CE:
      return TCPHDR_AE | TCPHDR_CWR;
    default:
      return TCPHDR_CWR;
  }
}

/** tcp_ect_transition_valid: may a packet that was sent as `snt` arrive as `rcv`? RFC 3168 §18 knows what may not be. */
export function tcpEctTransitionValid(snt: number, rcv: number): boolean {
  if (rcv === snt) return true;
  if (snt === INET_ECN_NOT_ECT || rcv === INET_ECN_NOT_ECT) return false;
  return snt !== INET_ECN_CE;
}

/** tcp_accecn_validate_syn_feedback: §3.2.2.3: the IP-ECN field was mangled on the way: ECN is not used then. */
function tcpAccecnValidateSynFeedback(sk: TcpSock, ace: number, sentEct: number): boolean {
  if (sk.net.ipv4.sysctlTcpEcnFallback === 0) return true;
  if (tcpEctTransitionValid(sentEct, tcpAccecnExtractSynEct(ace))) return true;
  tcpAccecnFailModeSet(sk, TCP_ACCECN_ACE_FAIL_RECV);
  return false;
}

/** tcp_accecn_saw_opt_fail_recv. */
export function tcpAccecnSawOptFailRecv(tp: TcpSock, sawOpt: number): void {
  tp.sawAccecnOpt = sawOpt;
  if (sawOpt === TCP_ACCECN_OPT_FAIL_SEEN) tcpAccecnFailModeSet(tp, TCP_ACCECN_OPT_FAIL_RECV);
}

/** tcp_accecn_third_ack: §3.2.2.1: the ACE field of the first ACK that a server sees tells how its SYN/ACK arrived. */
export function tcpAccecnThirdAck(sk: TcpSock, skb: number, sentEct: number): void {
  const ace = tcpAccecnAce(tcpHdr(skb));
  const sacked = tcpSkbSacked(skb) !== 0;
  switch (ace) {
    case 0:
      // §3.2.2.4: a middlebox has zeroed it: it is not to be relied on.
      if (!sacked) tcpAccecnFailModeSet(sk, TCP_ACCECN_ACE_FAIL_RECV | TCP_ACCECN_OPT_FAIL_RECV);
      return;
    case 1:
    case 5:
    case 7:
      // Reserved for the future, and legal.
      return;
  }
  // Data counts already: only a pure ACK is the third of the handshake.
  if (sacked || tcpSkbSeq(skb) !== tcpSkbEndSeq(skb)) return;
  if (!tcpAccecnValidateSynFeedback(sk, ace, sentEct)) return;
  if (tcpAccecnExtractSynEct(ace) === INET_ECN_CE && sk.deliveredCe === 0) sk.deliveredCe = 1;
}

/** tcp_accecn_opt_demand_min: at least `n` of the next ACKs have to carry the option. */
export function tcpAccecnOptDemandMin(tp: TcpSock, n: number): void {
  if (n > tp.accecnOptDemand) tp.accecnOptDemand = n;
}

/**
 * tcp_ecnfield_to_accecn_optfield: how many fields an option of order 1 (ECT(1), CE, ECT(0)) needs to hold that of
 * `ecnfield`.
 */
function tcpEcnfieldToAccecnOptfield(ecnfield: number): number {
  if (ecnfield === INET_ECN_ECT_1) return 1;
  return ecnfield === INET_ECN_CE ? 2 : 3;
}

/** tcp_ecn_received_counters: a segment with `len` bytes of data has arrived: RFC 9768 §3.2.1, §3.2.3.3. */
export function tcpEcnReceivedCounters(sk: TcpSock, skb: number, len: number): void {
  const ecnfield = tcpSkbDsfield(skb) & INET_ECN_MASK;
  // Nobody marks and nobody has marked.
  if (ecnfield === sk.prevEcnfield && ecnfield === INET_ECN_NOT_ECT) return;
  if (ecnfield !== INET_ECN_NOT_ECT) tcpEcnCount(sk, skb, ecnfield, len);
  const edge = sk.prevEcnfield !== ecnfield;
  if (!edge && ecnfield !== INET_ECN_CE) return;
  sk.prevEcnfield = ecnfield;
  // Change-triggered ACKs (§3.2.2.5.1). Two of them, so that the later one is unambiguous.
  if (tcpEcnModeAccecn(sk)) {
    if (edge) sk.icskAck.pending |= ICSK_ACK_NOW;
    sk.accecnOptDemand = 2;
  }
}

/** The counters of tcp_ecn_received_counters. */
function tcpEcnCount(sk: TcpSock, skb: number, ecnfield: number, len: number): void {
  // tcp_data_ecn_check does this for the classic one, whose ACKs are never ECT.
  if (!tcpEcnModeRfc3168(sk)) sk.ecnFlags |= TCP_ECN_SEEN;
  if (ecnfield === INET_ECN_CE) {
    // All segments count, pure ACKs as well.
    const pcount = Math.max(1, skbGsoSegs(skb));
    sk.receivedCe = (sk.receivedCe + pcount) >>> 0;
    sk.receivedCePending = Math.min(sk.receivedCePending + pcount, 15);
  }
  if (len <= 0) return;
  const bytes = sk.receivedEcnBytes;
  const old = bytes[ecnfield - 1] as number;
  const now = (old + len) >>> 0;
  bytes[ecnfield - 1] = now;
  sk.accecnMinlen = Math.max(sk.accecnMinlen, tcpEcnfieldToAccecnOptfield(ecnfield));
  // At least once per 2^22 bytes, so that 24 bits are never ambiguous.
  if ((old ^ now) >>> 22 !== 0) tcpAccecnOptDemandMin(sk, 1);
}

/** tcp_ecn_received_counters_payload: the same while the data still begins with the TCP header. */
export function tcpEcnReceivedCountersPayload(sk: TcpSock, skb: number): void {
  tcpEcnReceivedCounters(sk, skb, skbLen(skb) - thDoff(tcpHdr(skb)) * 4);
}

/** tcp_accecn_init_counters: at the beginning of a connection. */
export function tcpAccecnInitCounters(tp: TcpSock): void {
  tp.receivedCe = 0;
  tp.receivedCePending = 0;
  tp.receivedEcnBytes.fill(0);
  tp.deliveredEcnBytes.fill(0);
  tp.accecnOptSentWDsack = false;
  tp.accecnMinlen = 0;
  tp.accecnOptDemand = 0;
  tp.estEcnfield = 0;
}

// ---- the option (RFC 9768 §3.2.3) -----------------------------------------------------------------------------------

/** An unsigned number of 24 bits, big-endian. */
function be24(at: number): number {
  return ((u8[at] as number) << 16) | ((u8[at + 1] as number) << 8) | (u8[at + 2] as number);
}

/** tcp_accecn_option_init: what the first option, `offset` bytes into the header, says: TCP_ACCECN_OPT_*_SEEN. */
export function tcpAccecnOptionInit(skb: number, offset: number): number {
  const opt = tcpHdr(skb) + offset;
  const len = (u8[opt + 1] as number) - 2;
  if (len < TCPOLEN_ACCECN_PERFIELD) return TCP_ACCECN_OPT_EMPTY_SEEN;
  // §3.2.3.2.4: "a counter that is zero" at the beginning was zeroed by a middlebox.
  if (be24(opt + 2) === 0) return TCP_ACCECN_OPT_FAIL_SEEN;
  if (len < TCPOLEN_ACCECN_PERFIELD * 3) return TCP_ACCECN_OPT_COUNTER_SEEN;
  return be24(opt + 2 + TCPOLEN_ACCECN_PERFIELD * 2) === 0 ? TCP_ACCECN_OPT_FAIL_SEEN : TCP_ACCECN_OPT_COUNTER_SEEN;
}

/** tcp_accecn_optfield_to_ecnfield: table 5: whose bytes field `i` counts. Order 0: ECT(0), CE, ECT(1); 1: the reverse. */
function tcpAccecnOptfieldToEcnfield(i: number, order1: boolean): number {
  if (i === 1) return INET_ECN_CE;
  return (i === 0) === order1 ? INET_ECN_ECT_1 : INET_ECN_ECT_0;
}

/** tcp_accecn_field_init_offset. */
function tcpAccecnFieldInitOffset(ecnfield: number): number {
  if (ecnfield === INET_ECN_CE) return TCP_ACCECN_CEB_INIT_OFFSET;
  return ecnfield === INET_ECN_ECT_1 ? TCP_ACCECN_E1B_INIT_OFFSET : TCP_ACCECN_E0B_INIT_OFFSET;
}

/** tcp_update_ecn_bytes: the counter follows its low 24 bits at `at`. Returns by how much: it may go back. */
function tcpUpdateEcnBytes(tp: TcpSock, ecnfield: number, at: number): number {
  const counters = tp.deliveredEcnBytes;
  const old = counters[ecnfield - 1] as number;
  const truncated = be24(at) - tcpAccecnFieldInitOffset(ecnfield);
  const delta = ((truncated - old) << 8) >> 8;
  counters[ecnfield - 1] = (old + delta) >>> 0;
  return delta;
}

/** tcp_accecn_process_option: what the peer has received of each kind. True if the byte counters can be relied on. */
function tcpAccecnProcessOption(tp: TcpSock, skb: number, deliveredBytes: number, flag: number): boolean {
  if ((tp.accecnFailMode & TCP_ACCECN_OPT_FAIL_RECV) !== 0) return false;
  const estimate = tp.estEcnfield;
  const offset = tp.rxOpt.accecn;
  if ((flag & FLAG_SLOWPATH) === 0 || offset === 0) {
    if (tp.sawAccecnOpt === 0) {
      // Too late to begin with it: its 24 bits may have wrapped.
      if (tp.bytesSent >= (1 << 23) - 1) tcpAccecnSawOptFailRecv(tp, TCP_ACCECN_OPT_FAIL_SEEN);
      return false;
    }
    if (estimate === 0) return false;
    // The last option told of one kind only: the rest is of that kind.
    tp.deliveredEcnBytes[estimate - 1] = ((tp.deliveredEcnBytes[estimate - 1] as number) + deliveredBytes) >>> 0;
    return true;
  }

  let at = tcpHdr(skb) + offset;
  const order1 = u8[at] === TCPOPT_ACCECN1;
  let len = (u8[at + 1] as number) - 2;
  if (tp.sawAccecnOpt < TCP_ACCECN_OPT_COUNTER_SEEN) tcpAccecnSawOptFailRecv(tp, tcpAccecnOptionInit(skb, offset));
  let res = estimate !== 0;
  let ambiguous = false;
  let firstChanged = false;
  at += 2;
  for (let i = 0; i < 3 && len >= TCPOLEN_ACCECN_PERFIELD; i++) {
    const ecnfield = tcpAccecnOptfieldToEcnfield(i, order1);
    const delta = tcpUpdateEcnBytes(tp, ecnfield, at);
    if (delta < 0) {
      res = false;
      ambiguous = true;
    }
    if (delta !== 0 && ecnfield !== estimate) {
      if (!firstChanged) {
        tp.estEcnfield = ecnfield;
        firstChanged = true;
      } else {
        res = false;
        ambiguous = true;
      }
    }
    len -= TCPOLEN_ACCECN_PERFIELD;
    at += TCPOLEN_ACCECN_PERFIELD;
  }
  if (ambiguous) tp.estEcnfield = 0;
  return res;
}

/** The average number of packets that an ACK covers, in 1/64, moves by 1/64 of what an ACK differs from it. */
const PKTS_ACKED_WEIGHT = 6;
const PKTS_ACKED_PREC = 6;
/** More than this many packets an ACK: ACKs are being thinned out. */
const ACK_COMP_THRESH = 4;

/** __tcp_accecn_process: how many packets more than the ACK before this one reports as marked. */
function __tcpAccecnProcess(sk: TcpSock, skb: number, pkts: number, bytes: number, flag: number): number {
  // A reordered ACK; or, without data and timestamps, nobody can tell.
  if ((flag & (FLAG_FORWARD_PROGRESS | FLAG_TS_PROGRESS)) === 0) return 0;
  const oldCeb = sk.deliveredEcnBytes[INET_ECN_CE - 1] as number;
  const optDeltasValid = tcpAccecnProcessOption(sk, skb, bytes, flag);
  if (pkts !== 0) {
    const sample = pkts << PKTS_ACKED_PREC;
    const old = sk.pktsAckedEwma;
    const ewma = old === 0 ? sample : ((old << PKTS_ACKED_WEIGHT) - old + sample) >>> PKTS_ACKED_WEIGHT;
    sk.pktsAckedEwma = Math.min(ewma, 0xffff);
  }
  // Header prediction has compared the ACE field, but a large ACK may have let it wrap.
  if ((flag & FLAG_SLOWPATH) === 0 && pkts <= TCP_ACCECN_CEP_ACE_MASK) return 0;
  // There is no such counter in the handshake.
  if ((flag & FLAG_SYN_ACKED) !== 0) return 0;
  if (sk.receivedCePending >= TCP_ACCECN_ACE_MAX_DELTA) sk.icskAck.pending |= ICSK_ACK_NOW;

  const ace = tcpAccecnAce(tcpHdr(skb)) - TCP_ACCECN_CEP_INIT_OFFSET;
  const delta = (ace - sk.deliveredCe) & TCP_ACCECN_CEP_ACE_MASK;
  if (pkts <= TCP_ACCECN_CEP_ACE_MASK) return delta;

  // It may have wrapped (§3.2.2.5.2, appendix A.2): at most this often.
  const safeDelta = pkts - ((pkts - delta) & TCP_ACCECN_CEP_ACE_MASK);
  if (!optDeltasValid) return sk.pktsAckedEwma > ACK_COMP_THRESH << PKTS_ACKED_PREC ? delta : safeDelta;
  const ceb = ((sk.deliveredEcnBytes[INET_ECN_CE - 1] as number) - oldCeb) >>> 0;
  if (ceb === 0) return delta;
  if (
    pkts >= (TCP_ACCECN_CEP_ACE_MASK + 1) * 2 &&
    (tcpIsSack(sk) || ((1 << sk.icskCaState) & (TCPF_CA_Open | TCPF_CA_CWR)) !== 0)
  ) {
    if (bytes <= ceb) return safeDelta;
    const estimate = Math.ceil((ceb * pkts) / bytes);
    return Math.min(safeDelta, delta + (estimate & ~TCP_ACCECN_CEP_ACE_MASK));
  }
  if (ceb > delta * sk.mssCache) return safeDelta;
  return ceb < (safeDelta * sk.mssCache) / 2 ** TCP_ACCECN_SAFETY_SHIFT ? delta : safeDelta;
}

/**
 * tcp_accecn_process: an ACK on a connection with Accurate ECN delivered `pkts` packets of `bytes` bytes. Returns how
 * many packets it newly reports as marked; if there are any it is an ACK with ECE for everybody else.
 */
export function tcpAccecnProcess(sk: TcpSock, skb: number, pkts: number, bytes: number, flag: number): number {
  const delta = __tcpAccecnProcess(sk, skb, pkts, bytes, flag);
  if (delta > 0) {
    sk.deliveredCe = (sk.deliveredCe + delta) >>> 0;
    // Header prediction expects the new value.
    if (sk.predFlags !== 0) tcpFastPathOn(sk);
  }
  return delta;
}

// ---- the handshake, what arrives ------------------------------------------------------------------------------------

/** tcp_accecn_syn_requested: §3.1.3: any combination but 000 and 011 asks for Accurate ECN, or a successor of it. */
export function tcpAccecnSynRequested(th: number): boolean {
  const ace = tcpAccecnAce(th);
  return ace !== 0 && ace !== 3;
}

/** cookie_accecn_ok: §5.1: the SYN is forgotten; an ACE field of 2 to 7 shows that Accurate ECN was agreed on. */
export function cookieAccecnOk(th: number): boolean {
  return tcpAccecnAce(th) > 1;
}

/** Accurate ECN is agreed on (tcp_ecn_rcv_synack_accecn). */
function tcpEcnRcvSynackAccecn(sk: TcpSock, skb: number): void {
  tcpEcnModeSet(sk, TCP_ECN_MODE_ACCECN);
  sk.synEctRcv = tcpSkbDsfield(skb) & INET_ECN_MASK;
  const offset = sk.rxOpt.accecn;
  if (offset !== 0 && sk.sawAccecnOpt < TCP_ACCECN_OPT_COUNTER_SEEN) {
    tcpAccecnSawOptFailRecv(sk, tcpAccecnOptionInit(skb, offset));
    // The option is answered, and once more later.
    sk.accecnOptDemand = 2;
  }
}

/** tcp_ecn_rcv_synack: what the server makes of our offer: RFC 3168 §6.1.1, RFC 9768 §3.1.2, table 2. */
export function tcpEcnRcvSynack(sk: TcpSock, skb: number, th: number): void {
  const ace = tcpAccecnAce(th);
  if (!tcpEcnModePending(sk)) {
    // We asked for the classic one: ECE alone agrees to it; with CWR the host only mirrors flags.
    if ((ace & 3) !== 1 || tcpCaNoFallbackRfc3168(sk)) tcpEcnModeSet(sk, TCP_ECN_DISABLED);
    return;
  }
  switch (ace) {
    case 0:
    case 7:
      // No ECN; or a server that mirrors the flags of the SYN.
      tcpEcnModeSet(sk, TCP_ECN_DISABLED);
      return;
    case 1:
      tcpEcnModeSet(sk, tcpCaNoFallbackRfc3168(sk) ? TCP_ECN_DISABLED : TCP_ECN_MODE_RFC3168);
      return;
  }
  tcpEcnRcvSynackAccecn(sk, skb);
  if ((tcpSkbDsfield(skb) & INET_ECN_MASK) !== INET_ECN_CE) return;
  if (ace === 5 || tcpAccecnValidateSynFeedback(sk, ace, sk.synEctSnt)) {
    sk.receivedCe++;
    sk.receivedCePending++;
  }
}

/** tcp_ecn_rcv_syn: the SYN of a simultaneous open. */
export function tcpEcnRcvSyn(sk: TcpSock, th: number, skb: number): void {
  if (tcpEcnModePending(sk)) {
    if (!tcpAccecnSynRequested(th)) {
      tcpEcnModeSet(sk, TCP_ECN_MODE_RFC3168);
    } else {
      sk.synEctRcv = tcpSkbDsfield(skb) & INET_ECN_MASK;
      sk.prevEcnfield = sk.synEctRcv;
      tcpEcnModeSet(sk, TCP_ECN_MODE_ACCECN);
    }
  }
  const both = TCPHDR_ECE | TCPHDR_CWR;
  if (tcpEcnModeRfc3168(sk) && ((thFlags(th) & both) !== both || tcpCaNoFallbackRfc3168(sk))) {
    tcpEcnModeSet(sk, TCP_ECN_DISABLED);
  }
}

/** tcp_ecn_create_request: does the SYN of `skb` ask for ECN, and does listener `listenSk` want it? */
export function tcpEcnCreateRequest(req: RequestSock, skb: number, listenSk: TcpSock, dst: DstEntry): void {
  const th = tcpHdr(skb);
  const sysctl = listenSk.net.ipv4.sysctlTcpEcn;
  if (tcpAccecnSynRequested(th) && (sysctl >= TCP_ECN_IN_ACCECN_OUT_ACCECN || tcpCaNeedsAccecn(listenSk))) {
    req.ecnOk = true;
    req.accecnOk = true;
    req.synEctRcv = tcpSkbDsfield(skb) & INET_ECN_MASK;
    return;
  }
  const both = TCPHDR_ECE | TCPHDR_CWR;
  const flags = thFlags(th);
  if ((flags & both) !== both) return;
  // RFC 3168 §6.1.1 forbids ECT on a SYN, so such a host means something else; RFC 8311 §4.3 lets a successor, which sets
  // AE or a reserved bit, do so.
  const ect = (tcpSkbDsfield(skb) & INET_ECN_MASK) !== INET_ECN_NOT_ECT;
  const successor = (flags & TCPHDR_AE) !== 0 || ((u8[th + 12] as number) & 0x0e) !== 0;
  const caNeedsEcn = tcpCaNeedsEcn(listenSk) || dstCaNeedsEcn(dst);
  const ecnOk = sysctl !== 0 || (dstMetric(dst, RTAX_FEATURES) & RTAX_FEATURE_ECN) !== 0;
  if (((!ect || successor) && ecnOk) || caNeedsEcn) req.ecnOk = true;
}

/** DST_FEATURE_ECN_CA: the route names a congestion control that wants ECN. */
function dstCaNeedsEcn(dst: DstEntry): boolean {
  const key = dstMetric(dst, RTAX_CC_ALGO);
  const ca = key !== 0 ? tcpCaFindKey(key) : null;
  return ca !== null && (ca.flags & TCP_CONG_NEEDS_ECN) !== 0;
}

/** tcp_ecn_openreq_child: what request `req`, whose handshake `skb` completes, leaves to its connection. */
export function tcpEcnOpenreqChild(sk: TcpSock, req: RequestSock, skb: number): void {
  if (!req.accecnOk) {
    tcpEcnModeSet(sk, req.ecnOk && !tcpCaNoFallbackRfc3168(sk) ? TCP_ECN_MODE_RFC3168 : TCP_ECN_DISABLED);
    return;
  }
  tcpEcnModeSet(sk, TCP_ECN_MODE_ACCECN);
  sk.synEctSnt = req.synEctSnt;
  tcpAccecnThirdAck(sk, skb, req.synEctSnt);
  sk.sawAccecnOpt = req.sawAccecnOpt;
  tcpAccecnFailModeSet(sk, req.accecnFailMode & (TCP_ACCECN_ACE_FAIL_SEND | TCP_ACCECN_ACE_FAIL_RECV));
  sk.prevEcnfield = req.synEctRcv;
  sk.accecnOptDemand = 1;
  tcpEcnReceivedCountersPayload(sk, skb);
}

/** A request's SYN/ACK was sent again: the second time without ACE, and then the flags are taken to be what hurts. */
export function tcpAccecnSynackRetransmitted(req: RequestSock): void {
  if (req.numRetrans > 1 && req.accecnOk) req.accecnFailMode |= TCP_ACCECN_ACE_FAIL_SEND;
}

/** The ACK of a request carries the option at `offset` (0 = none): the request remembers how it looked (tcp_check_req). */
export function tcpAccecnReqSawOpt(req: RequestSock, skb: number, offset: number): void {
  if (!req.accecnOk || offset === 0 || req.sawAccecnOpt >= TCP_ACCECN_OPT_COUNTER_SEEN) return;
  req.sawAccecnOpt = tcpAccecnOptionInit(skb, offset);
  if (req.sawAccecnOpt === TCP_ACCECN_OPT_FAIL_SEEN) req.accecnFailMode |= TCP_ACCECN_OPT_FAIL_RECV;
}

/** A SYN comes again for request `req` (tcp_check_req): how it arrived, and whether its ACE field was bleached. */
export function tcpAccecnReqSynAgain(req: RequestSock, skb: number): void {
  if (!req.accecnOk) return;
  req.synEctRcv = tcpSkbDsfield(skb) & INET_ECN_MASK;
  if (tcpAccecnAce(tcpHdr(skb)) === 0) req.accecnFailMode |= TCP_ACCECN_ACE_FAIL_RECV;
}

/**
 * A SYN on a synchronized connection (tcp_validate_incoming): it is answered with its own ECN field reflected, as a
 * SYN/ACK would be (§3.1.4). True if there is Accurate ECN here.
 */
export function tcpAccecnSynAgain(sk: TcpSock, skb: number): boolean {
  if (!tcpEcnModeAccecn(sk)) return false;
  sk.synEctRcv = tcpSkbDsfield(skb) & INET_ECN_MASK;
  const offset = sk.rxOpt.accecn;
  if (offset !== 0 && sk.sawAccecnOpt < TCP_ACCECN_OPT_COUNTER_SEEN) {
    tcpAccecnSawOptFailRecv(sk, tcpAccecnOptionInit(skb, offset));
    tcpAccecnOptDemandMin(sk, 1);
  }
  return true;
}

// ---- what leaves ----------------------------------------------------------------------------------------------------

/** tcp_ecn_send_syn: asks for ECN (RFC 3168 §6.1.1) or Accurate ECN if the sysctl, the route or the CC say so. */
export function tcpEcnSendSyn(sk: TcpSock, skb: number): void {
  const sysctl = sk.net.ipv4.sysctlTcpEcn;
  const caNeedsEcn = tcpCaNeedsEcn(sk);
  const useAccecn = sysctl === TCP_ECN_IN_ACCECN_OUT_ACCECN || tcpCaNeedsAccecn(sk);
  let useEcn = sysctl === TCP_ECN_IN_ECN_OUT_ECN || sysctl === TCP_ECN_IN_ACCECN_OUT_ECN || caNeedsEcn || useAccecn;
  if (!useEcn) {
    const dst = sk.skDstCache;
    if (dst !== null && (dstMetric(dst, RTAX_FEATURES) & RTAX_FEATURE_ECN) !== 0) useEcn = true;
  }
  sk.ecnFlags = 0;
  if (!useEcn) return;
  if (caNeedsEcn) inetEcnXmitEct1Negotiation(sk);
  if (useAccecn) {
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_ACE);
    tcpEcnModeSet(sk, TCP_ECN_MODE_PENDING);
    sk.synEctSnt = sk.tos & INET_ECN_MASK;
  } else {
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | TCPHDR_ECE | TCPHDR_CWR);
    tcpEcnModeSet(sk, TCP_ECN_MODE_RFC3168);
  }
}

/** tcp_ecn_clear_syn: RFC 3168 §6.1.1.1: a SYN that got no answer is retried without ECN. */
export function tcpEcnClearSyn(sk: TcpSock, skb: number): void {
  if (sk.net.ipv4.sysctlTcpEcnFallback !== 0) tcpSkbSetFlags(skb, tcpSkbFlags(skb) & ~TCPHDR_ACE);
}

/** tcp_ecn_send_synack: the SYN/ACK for a crossed SYN. */
export function tcpEcnSendSynack(sk: TcpSock, skb: number): void {
  let flags = tcpSkbFlags(skb) & ~TCPHDR_CWR;
  if (!tcpEcnModeAny(sk)) flags &= ~TCPHDR_ECE;
  else if (tcpCaNeedsEcn(sk)) inetEcnXmitEct1Negotiation(sk);
  if ((sk.ecnFlags & TCP_ECN_MODE_ACCECN) !== 0) {
    flags = (flags & ~TCPHDR_ACE) | tcpAccecnReflectorFlags(sk.synEctRcv);
    sk.synEctSnt = sk.tos & INET_ECN_MASK;
  }
  tcpSkbSetFlags(skb, flags);
}

/** tcp_ecn_make_synack: the flags of the SYN/ACK at `th`. Retransmitted twice, it carries no ACE (RFC 9768 §3.1.4.2). */
export function tcpEcnMakeSynack(req: RequestSock, th: number, synackType: number): void {
  if (req.numTimeout !== 0 && synackType === TCP_SYNACK_RETRANS) {
    if (req.accecnOk) tcpSetAceFlags(th, 0);
    return;
  }
  if (req.accecnOk) tcpSetAceFlags(th, tcpAccecnReflectorFlags(req.synEctRcv) >>> 6);
  else if (req.ecnOk) u8[th + 13] |= TCPHDR_ECE;
}

/** Writes AE, CWR and ECE. */
function tcpSetAceFlags(th: number, ace: number): void {
  u8[th + 12] = ((u8[th + 12] as number) & ~1) | (ace >>> 2);
  u8[th + 13] = ((u8[th + 13] as number) & ~(TCPHDR_CWR | TCPHDR_ECE)) | ((ace & 3) << 6);
}

/** tcp_ecn_send: marks the packet ECT and sets the flags of its header as is due. `th` is the header of `skb`. */
export function tcpEcnSend(sk: TcpSock, skb: number, th: number, tcpHeaderLen: number): void {
  if (!tcpEcnModeAny(sk)) return;
  if (tcpEcnModeAccecn(sk)) {
    // Every packet is ECT, pure ACKs and retransmissions as well, unless the flags do not get through.
    if ((sk.accecnFailMode & (TCP_ACCECN_ACE_FAIL_RECV | TCP_ACCECN_ACE_FAIL_SEND)) === 0) inetEcnXmit(sk);
    else inetEcnDontxmit(sk);
    // The last packet of the handshake reflects how the SYN/ACK arrived: its flags are set already.
    if ((tcpSkbFlags(skb) & TCPHDR_ACE) === 0) {
      tcpSetAceFlags(th, (sk.receivedCe + TCP_ACCECN_CEP_INIT_OFFSET) & TCP_ACCECN_CEP_ACE_MASK);
      sk.receivedCePending = 0;
    }
    skbSetGsoType(skb, skbGsoType(skb) | SKB_GSO_TCP_ACCECN);
    return;
  }
  // Not-retransmitted data segments: ECT(0), and CWR once after the window was reduced.
  if (u32[(skb + SKB_LEN) >>> 2] !== tcpHeaderLen && !before(tcpSkbSeq(skb), sk.sndNxt)) {
    inetEcnXmit(sk);
    if ((sk.ecnFlags & TCP_ECN_QUEUE_CWR) !== 0) {
      sk.ecnFlags &= ~TCP_ECN_QUEUE_CWR;
      u8[th + 13] |= TCPHDR_CWR;
      skbSetGsoType(skb, skbGsoType(skb) | SKB_GSO_TCP_ECN);
    }
  } else if (!tcpCaNeedsEcn(sk)) {
    // RFC 3168 §6.1.4, §6.1.5: neither pure ACKs nor retransmissions may be ECT.
    inetEcnDontxmit(sk);
  }
  if ((sk.ecnFlags & TCP_ECN_DEMAND_CWR) !== 0) u8[th + 13] |= TCPHDR_ECE;
}

/** tcp_accecn_option_beacon_check: is it a third (net.ipv4.tcp_ecn_option_beacon) of an RTT since the last option? */
export function tcpAccecnOptionBeaconCheck(sk: TcpSock): boolean {
  const beacon = sk.net.ipv4.sysctlTcpEcnOptionBeacon;
  return beacon !== 0 && (sk.tcpMstamp - sk.accecnOptTstamp) * beacon >= Math.floor(sk.srttUs / 8);
}

/** TCP_ACCECN_OPT_FAIL_SEND: the peer's retransmission shows that the ACK with the option was lost. */
export function tcpAccecnSpuriousRetrans(sk: TcpSock, skb: number): void {
  if (!tcpEcnModeAccecn(sk) || !sk.accecnOptSentWDsack) return;
  if (tcpSkbSeq(skb) === sk.duplicateSack[0].startSeq) tcpAccecnFailModeSet(sk, TCP_ACCECN_OPT_FAIL_SEND);
}
