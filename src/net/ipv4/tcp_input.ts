/**
 * TCP input (RFC 9293 §3.10.7): a segment arrives. This section has the way in of every state, option parsing, the
 * checks that a segment must pass, the handshake and resets; the others follow the kernel's own sections:
 *
 * - tcp_input.ack.ts: acknowledgments, RTT, what may be sent now;
 * - tcp_input.loss.ts: loss recovery and undo;
 * - tcp_input.sack.ts: SACK tagging of the retransmit queue;
 * - tcp_input.rcv.ts: data, the receive window, when to acknowledge, FIN and urgent data.
 */

import { bugOn } from "../../kernel/bug.ts";
import { netIncStats, tcpIncStats } from "../../kernel/mib.ts";
import { dv, u8 } from "../../mm/mem.ts";
import { skbLen, skbMacHeader, skbMacHeaderWasSet, skbNext, skbTruesize } from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_TCP_ABORT_ON_DATA,
  SKB_DROP_REASON_TCP_CLOSE,
  SKB_DROP_REASON_TCP_CSUM,
  SKB_DROP_REASON_TCP_FASTOPEN,
  SKB_DROP_REASON_TCP_FLAGS,
  SKB_DROP_REASON_TCP_INVALID_ACK_SEQUENCE,
  SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE,
  SKB_DROP_REASON_TCP_INVALID_SEQUENCE,
  SKB_DROP_REASON_TCP_INVALID_SYN,
  SKB_DROP_REASON_TCP_OLD_ACK,
  SKB_DROP_REASON_TCP_OLD_SEQUENCE,
  SKB_DROP_REASON_TCP_RESET,
  SKB_DROP_REASON_TCP_RFC7323_PAWS,
  SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK,
} from "../../uapi/dropreason.ts";
import { ECONNREFUSED, ECONNRESET, EPIPE } from "../../uapi/errno.ts";
import {
  LINUX_MIB_BEYONDWINDOW,
  LINUX_MIB_LISTENOVERFLOWS,
  LINUX_MIB_PAWS_OLD_ACK,
  LINUX_MIB_PAWSACTIVEREJECTED,
  LINUX_MIB_PAWSESTABREJECTED,
  LINUX_MIB_TCPABORTONDATA,
  LINUX_MIB_TCPACKSKIPPEDPAWS,
  LINUX_MIB_TCPACKSKIPPEDSEQ,
  LINUX_MIB_TCPFASTOPENACTIVE,
  LINUX_MIB_TCPFASTOPENACTIVEFAIL,
  LINUX_MIB_TCPHPHITS,
  LINUX_MIB_TCPREQQFULLDOCOOKIES,
  LINUX_MIB_TCPREQQFULLDROP,
  LINUX_MIB_TCPSYNCHALLENGE,
  TCP_MIB_CSUMERRORS,
  TCP_MIB_INERRS,
} from "../../uapi/linux_mib.ts";
import {
  TCP_CA_Loss,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_NEW_SYN_RECV,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_TIME_WAIT,
  TCPF_CLOSE_WAIT,
  TCPF_CLOSING,
  TCPF_LAST_ACK,
  TCPHDR_ACK,
  TCPHDR_FIN,
  TCPHDR_RST,
  TCPHDR_SYN,
  TCPOLEN_EXP_FASTOPEN_BASE,
  TCPOLEN_FASTOPEN_BASE,
  TCPOLEN_MSS,
  TCPOLEN_SACK_BASE,
  TCPOLEN_SACK_PERBLOCK,
  TCPOLEN_SACK_PERM,
  TCPOLEN_TIMESTAMP,
  TCPOLEN_TSTAMP_ALIGNED,
  TCPOLEN_WINDOW,
  TCPOPT_ACCECN0,
  TCPOPT_ACCECN1,
  TCPOPT_EOL,
  TCPOPT_EXP,
  TCPOPT_FASTOPEN,
  TCPOPT_FASTOPEN_MAGIC,
  TCPOPT_MD5SIG,
  TCPOPT_MSS,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
  TFO_DATA_NOT_ACKED,
  TFO_SYN_RETRANSMITTED,
} from "../../uapi/tcp.ts";
import type { Net } from "../core/net_namespace.ts";
import { __skbPull, consumeSkb, kfreeSkbPartial, skbDstDrop } from "../core/skbuff.ts";
import {
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SOCK_DEAD,
  SOCK_KEEPOPEN,
  skAcceptqIsFull,
  skDstConfirm,
  sockFlag,
  sockPut,
} from "../core/sock.ts";
import { FlowI4 } from "./flow.ts";
import {
  inetCskAckScheduled,
  inetCskInPingpongMode,
  inetCskReqskQueueAdd,
  inetCskReqskQueueHashAdd,
  inetCskReqskQueueIsFull,
  inetCskReqskQueueLen,
  inetCskResetKeepaliveTimer,
  inetCskScheduleAck,
} from "./inet_connection_sock.ts";
import type { InetConnectionSock, RequestSockOps } from "./inet_sock.ts";
import { ICSK_TIME_DACK, ICSK_TIME_RETRANS, RequestSock } from "./inet_sock.ts";
import { ipHdr } from "./ip.ts";
import type { Seq } from "./seq.ts";
import { after, before, between, seq, seqAdd, seqRaw } from "./seq.ts";
import { cookieV4InitSequence } from "./syncookies.ts";
import { tcpDone, tcpDoneWithError, tcpSetState, tcpShutdown } from "./tcp.ts";
import { tcpInitCongestionControl } from "./tcp_cong.ts";
import {
  tcpAccecnSynAgain,
  tcpAccecnThirdAck,
  tcpEcnCreateRequest,
  tcpEcnModeAccecn,
  tcpEcnModeAny,
  tcpEcnRcvSyn,
  tcpEcnRcvSynack,
  tcpEcnReceivedCounters,
  tcpEcnReceivedCountersPayload,
} from "./tcp_ecn.ts";
import { reqskFastopenRemove, tcpFastopenActiveDisable, tcpFastopenAddSkb, tcpTryFastopen } from "./tcp_fastopen.ts";
import {
  __tcpFastPathOn,
  keepaliveTimeWhen,
  TCP_DELACK_MAX,
  TCP_FASTOPEN_COOKIE_MAX,
  TCP_FASTOPEN_COOKIE_MIN,
  TCP_HEADER_SIZE,
  TCP_HP_BITS,
  TCP_MAX_QUICKACKS,
  TCP_MAX_WSCALE,
  TCP_PAWS_WINDOW,
  TCP_TIMEOUT_INIT,
  TCP_TIMEOUT_MIN,
  TCP_TIMEWAIT_LEN,
  tcpClearOptions,
  tcpFastPathOn,
  tcpFinTime,
  tcpFlagWord,
  tcpHdr,
  tcpInitWl,
  tcpIsSack,
  tcpJiffies32,
  tcpListendrop,
  tcpMaxReceiveWindow,
  tcpMstampRefresh,
  tcpPawsCheck,
  tcpPawsReject,
  tcpReceiveWindow,
  tcpResetXmitTimer,
  tcpRtxQueueHead,
  tcpSndCwndSet,
  tcpTimeStampTs,
  tcpUpdateWl,
  thDest,
  thDoff,
  thFlags,
  thSource,
  thWindow,
} from "./tcp_h.ts";
import {
  __tcpReplaceTsRecent,
  tcpAck,
  tcpInitCwnd,
  tcpMayUpdateWindow,
  tcpOowRateLimited,
  tcpRearmRto,
  tcpSendAckReflectEct,
  tcpSendChallengeAck,
  tcpStoreTsRecent,
  tcpSynackRttMeas,
  tcpUpdatePacingRate,
} from "./tcp_input.ack.ts";
import { FLAG_DATA, FLAG_NO_CHALLENGE_ACK, FLAG_SLOWPATH, FLAG_UPDATE_TS_RECENT } from "./tcp_input.h.ts";
import {
  tcpMarkSkbLost,
  tcpNonCongestionLossRetransmit,
  tcpRetransStampCleanup,
  tcpTryUndoRecovery,
  tcpUpdateRtoTime,
} from "./tcp_input.loss.ts";
import {
  __tcpAckSndCheck,
  tcpAckSndCheck,
  tcpDataQueue,
  tcpDataReady,
  tcpDataSndCheck,
  tcpDropReason,
  tcpEnterQuickackMode,
  tcpEventDataRecv,
  tcpInitBufferSpace,
  tcpInitializeRcvMss,
  tcpMeasureRcvMss,
  tcpQueueRcv,
  tcpRcvRttMeasureTs,
  tcpSendDupack,
  tcpUrg,
  truesizeAdjust,
} from "./tcp_input.rcv.ts";
import { tcpSackReset } from "./tcp_input.sack.ts";
import { tcpChecksumComplete, tcpTwIsnTake } from "./tcp_ipv4.ts";
import { tcpFastopenCacheSet, tcpInitMetrics, tcpPeerIsProven, tcpUpdateMetrics } from "./tcp_metrics.ts";
import { checkReqDrop, tcpCheckReq, tcpOpenreqInitRwin, tcpTimeWait } from "./tcp_minisocks.ts";
import { tcpMtupInit, tcpSendSynack, tcpSyncMss } from "./tcp_output.ts";
import type { TcpRequestSockOps, TcpSock } from "./tcp_sock.ts";
import {
  TCP_SYNACK_COOKIE,
  TCP_SYNACK_FASTOPEN,
  TCP_SYNACK_NORMAL,
  TcpFastopenCookie,
  TcpOptionsReceived,
  tcpSkbAckSeq,
  tcpSkbDsfield,
  tcpSkbEndSeq,
  tcpSkbSeq,
  tcpSkbSetSacked,
} from "./tcp_sock.ts";

export type { OowStamp } from "./tcp_input.ack.ts";
export {
  tcpAck,
  tcpInitCwnd,
  tcpOowRateLimited,
  tcpRearmRto,
  tcpSendChallengeAck,
  tcpSynackRttMeas,
  tcpUpdatePacingRate,
} from "./tcp_input.ack.ts";
export {
  tcpClearRetrans,
  tcpCwndReduction,
  tcpEnterCwr,
  tcpEnterLoss,
  tcpEnterRecovery,
  tcpFastretransAlert,
  tcpInitCwndReduction,
  tcpInitUndo,
  tcpMarkSkbLost,
  tcpSimpleRetransmit,
} from "./tcp_input.loss.ts";
export {
  __tcpAckSndCheck,
  tcpCheckSpace,
  tcpClampWindow,
  tcpCollapse,
  tcpDataQueue,
  tcpDataReady,
  tcpDropReason,
  tcpEnterQuickackMode,
  tcpFin,
  tcpGrowWindow,
  tcpInitBufferSpace,
  tcpInitializeRcvMss,
  tcpMeasureRcvMss,
  tcpPruneQueue,
  tcpQueueRcv,
  tcpRcvSpaceAdjust,
  tcpSackCompressSendAck,
  tcpSendDupack,
  tcpSendRcvq,
  tcpSndbufExpand,
} from "./tcp_input.rcv.ts";
export type { TcpSacktagState } from "./tcp_input.sack.ts";
export { tcpSackReset, tcpSacktagWriteQueue, tcpSkbSeglen, tcpSkbShift } from "./tcp_input.sack.ts";

/** tp->rx_opt.sack_ok: the SYN carried SACK-permitted. */
const TCP_SACK_SEEN = 1;

// ---- options --------------------------------------------------------------------------------------------------------

/** tcp_parse_fastopen_option: RFC 7413 §4.1.1: a cookie of 4 to 16 bytes, even; empty = a request for one. */
function tcpParseFastopenOption(
  len: number,
  cookie: number,
  syn: boolean,
  foc: TcpFastopenCookie | null,
  expOpt: boolean,
): void {
  if (foc === null || !syn || len < 0 || (len & 1) !== 0) return;
  if (len >= TCP_FASTOPEN_COOKIE_MIN && len <= TCP_FASTOPEN_COOKIE_MAX) {
    for (let i = 0; i < len; i++) foc.val[i] = u8[cookie + i] as number;
  } else if (len !== 0) {
    len = -1;
  }
  foc.len = len;
  foc.exp = expOpt;
}

/**
 * tcp_parse_options: RFC 9293 §3.1. `estab`: the options of an established connection, 0: those of a handshake. Options
 * that are malformed, cut off or out of place are ignored (MUST-7). The header, options and all, is linear.
 */
export function tcpParseOptions(
  net: Net,
  skb: number,
  optRx: TcpOptionsReceived,
  estab: number,
  foc: TcpFastopenCookie | null,
): void {
  const th = tcpHdr(skb);
  const syn = (thFlags(th) & TCPHDR_SYN) !== 0;
  const onSyn = syn && estab === 0;
  let length = thDoff(th) * 4 - TCP_HEADER_SIZE;
  let ptr = th + TCP_HEADER_SIZE;
  optRx.sawTstamp = false;
  optRx.accecn = 0;
  optRx.sawUnknown = false;
  while (length > 0) {
    const opcode = u8[ptr];
    if (opcode === TCPOPT_EOL) return;
    if (opcode === TCPOPT_NOP) {
      ptr++;
      length--;
      continue;
    }
    if (length < 2) return;
    const opsize = u8[ptr + 1] as number;
    if (opsize < 2 || opsize > length) return;
    switch (opcode) {
      case TCPOPT_MSS:
        if (opsize === TCPOLEN_MSS && onSyn) {
          let inMss = dv.getUint16(ptr + 2);
          if (inMss !== 0) {
            if (optRx.userMss !== 0 && optRx.userMss < inMss) inMss = optRx.userMss;
            optRx.mssClamp = inMss;
          }
        }
        break;
      case TCPOPT_WINDOW:
        if (opsize === TCPOLEN_WINDOW && onSyn && net.ipv4.sysctlTcpWindowScaling !== 0) {
          // RFC 7323 §2.3: a larger shift is used as 14.
          optRx.wscaleOk = true;
          optRx.sndWscale = Math.min(u8[ptr + 2] as number, TCP_MAX_WSCALE);
        }
        break;
      case TCPOPT_TIMESTAMP:
        if (opsize === TCPOLEN_TIMESTAMP && (estab !== 0 ? optRx.tstampOk : net.ipv4.sysctlTcpTimestamps !== 0)) {
          optRx.sawTstamp = true;
          optRx.rcvTsval = dv.getUint32(ptr + 2);
          optRx.rcvTsecr = dv.getUint32(ptr + 6);
        }
        break;
      case TCPOPT_SACK_PERM:
        if (opsize === TCPOLEN_SACK_PERM && onSyn && net.ipv4.sysctlTcpSack !== 0) {
          optRx.sackOk = TCP_SACK_SEEN;
          tcpSackReset(optRx);
        }
        break;
      case TCPOPT_SACK:
        if (
          opsize >= TCPOLEN_SACK_BASE + TCPOLEN_SACK_PERBLOCK &&
          (opsize - TCPOLEN_SACK_BASE) % TCPOLEN_SACK_PERBLOCK === 0 &&
          optRx.sackOk !== 0
        ) {
          tcpSkbSetSacked(skb, ptr - th);
        }
        break;
      case TCPOPT_FASTOPEN:
        tcpParseFastopenOption(opsize - TCPOLEN_FASTOPEN_BASE, ptr + 2, syn, foc, false);
        break;
      case TCPOPT_ACCECN0:
      case TCPOPT_ACCECN1:
        optRx.accecn = ptr - th;
        break;
      case TCPOPT_EXP:
        // RFC 6994: a shared option kind, told apart by 16 magic bits.
        if (opsize >= TCPOLEN_EXP_FASTOPEN_BASE && dv.getUint16(ptr + 2) === TCPOPT_FASTOPEN_MAGIC) {
          tcpParseFastopenOption(opsize - TCPOLEN_EXP_FASTOPEN_BASE, ptr + 4, syn, foc, true);
        } else {
          optRx.sawUnknown = true;
        }
        break;
      case TCPOPT_MD5SIG:
        // tcp_inbound_hash has checked it.
        break;
      default:
        optRx.sawUnknown = true;
    }
    ptr += opsize;
    length -= opsize;
  }
}

/** tcp_parse_mss_option: the MSS of a SYN, bounded by `userMss` (0 = none); 0 = there is none. */
export function tcpParseMssOption(th: number, userMss: number): number {
  let length = thDoff(th) * 4 - TCP_HEADER_SIZE;
  let ptr = th + TCP_HEADER_SIZE;
  let mss = 0;
  while (length > 0) {
    const opcode = u8[ptr];
    if (opcode === TCPOPT_EOL) return mss;
    if (opcode === TCPOPT_NOP) {
      ptr++;
      length--;
      continue;
    }
    if (length < 2) return mss;
    const opsize = u8[ptr + 1] as number;
    if (opsize < 2 || opsize > length) return mss;
    if (opcode === TCPOPT_MSS && opsize === TCPOLEN_MSS) {
      const inMss = dv.getUint16(ptr + 2);
      if (inMss !== 0) mss = userMss !== 0 && userMss < inMss ? userMss : inMss;
    }
    ptr += opsize;
    length -= opsize;
  }
  return mss;
}

/** NOP, NOP, timestamp (RFC 7323 appendix A): the form that nearly every segment has. */
const TSTAMP_ALIGNED_WORD = 0x0101080a;

/** tcp_parse_aligned_timestamp. */
function tcpParseAlignedTimestamp(tp: TcpSock, th: number): boolean {
  if (dv.getUint32(th + TCP_HEADER_SIZE) !== TSTAMP_ALIGNED_WORD) return false;
  const rxOpt = tp.rxOpt;
  rxOpt.sawTstamp = true;
  rxOpt.rcvTsval = dv.getUint32(th + TCP_HEADER_SIZE + 4);
  const tsecr = dv.getUint32(th + TCP_HEADER_SIZE + 8);
  rxOpt.rcvTsecr = tsecr !== 0 ? (tsecr - tp.tsoffset) >>> 0 : 0;
  return true;
}

/** tcp_fast_parse_options: false if there are none. */
function tcpFastParseOptions(net: Net, skb: number, th: number, tp: TcpSock): boolean {
  const rxOpt = tp.rxOpt;
  const doff = thDoff(th);
  if (doff === TCP_HEADER_SIZE / 4) {
    rxOpt.sawTstamp = false;
    rxOpt.accecn = 0;
    return false;
  }
  if (rxOpt.tstampOk && doff === (TCP_HEADER_SIZE + TCPOLEN_TSTAMP_ALIGNED) / 4 && tcpParseAlignedTimestamp(tp, th)) {
    rxOpt.accecn = 0;
    return true;
  }
  tcpParseOptions(net, skb, rxOpt, 1, null);
  if (rxOpt.sawTstamp && rxOpt.rcvTsecr !== 0) rxOpt.rcvTsecr = (rxOpt.rcvTsecr - tp.tsoffset) >>> 0;
  return true;
}

// ---- is the segment acceptable? -------------------------------------------------------------------------------------

/** tcp_tsval_replay: how far back (ms) a timestamp may lie in an ACK that was merely overtaken: 1.2 RTO. */
function tcpTsvalReplay(sk: TcpSock): number {
  return Math.floor((sk.icskRto * 1.2) / 1000);
}

/**
 * tcp_disordered_ack_check: RFC 7323 §5.3 would discard a pure ACK with an old timestamp; if it changes nothing and is
 * only a little late it is let through, since ACKs are reordered. 0 = let it through, else the reason to drop it.
 */
function tcpDisorderedAckCheck(sk: TcpSock, skb: number, th: number): number {
  const ack = tcpSkbAckSeq(skb);
  const s = tcpSkbSeq(skb);
  // Not a pure ACK.
  if ((thFlags(th) & TCPHDR_ACK) === 0 || s !== tcpSkbEndSeq(skb)) return SKB_DROP_REASON_TCP_RFC7323_PAWS;
  // Not at the expected place.
  if (s !== sk.rcvNxt) {
    return before(s, sk.rcvNxt) ? SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK : SKB_DROP_REASON_TCP_RFC7323_PAWS;
  }
  // Not a duplicate, or a window update.
  if (ack !== sk.sndUna) return SKB_DROP_REASON_TCP_RFC7323_PAWS;
  if (tcpMayUpdateWindow(sk, ack, s, thWindow(th) * (1 << sk.rxOpt.sndWscale))) return SKB_DROP_REASON_TCP_RFC7323_PAWS;
  // Too old.
  if (((sk.rxOpt.tsRecent - sk.rxOpt.rcvTsval) | 0) > tcpTsvalReplay(sk)) return SKB_DROP_REASON_TCP_RFC7323_PAWS;
  return 0;
}

/**
 * tcp_sequence: RFC 9293 §3.10.7.4 "first, check sequence number". 0, or the reason to drop the segment.
 *
 * Segments at the left edge are judged by RCV.WUP, not RCV.NXT, so that ACKs and RSTs that crossed with ours count. One
 * that reaches beyond the right edge is accepted if nothing waits to be read: there is memory for it.
 */
function tcpSequence(sk: TcpSock, s: Seq, endSeq: Seq, fin: number): number {
  if (before(endSeq, sk.rcvWup)) return SKB_DROP_REASON_TCP_OLD_SEQUENCE;
  const limit = seqAdd(sk.rcvNxt, tcpMaxReceiveWindow(sk));
  if (after(endSeq, limit)) {
    // Some stacks put their FIN just beyond the window.
    if (!after(seqAdd(endSeq, -fin), limit)) return 0;
    if (after(s, limit)) return SKB_DROP_REASON_TCP_INVALID_SEQUENCE;
    if (sk.skReceiveQueue.qlen !== 0) return SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE;
  }
  return 0;
}

/** tcp_reset: "second, check the RST bit": the connection is over; its user hears why. */
export function tcpReset(sk: TcpSock, _skb: number): void {
  let err = ECONNRESET;
  switch (sk.skcState) {
    case TCP_SYN_SENT:
      err = ECONNREFUSED;
      break;
    case TCP_CLOSE_WAIT:
      err = EPIPE;
      break;
    case TCP_CLOSE:
      return;
  }
  tcpDoneWithError(sk, err);
}

/** tcp_reset_check: macOS sends the RST that follows its FIN with the FIN's sequence number. */
function tcpResetCheck(sk: TcpSock, skb: number): boolean {
  return (
    tcpSkbSeq(skb) === seqAdd(sk.rcvNxt, -1) &&
    ((1 << sk.skcState) & (TCPF_CLOSE_WAIT | TCPF_LAST_ACK | TCPF_CLOSING)) !== 0
  );
}

/** The RST is believed: its sequence number is RCV.NXT, or the right edge of what was received (RFC 5961 §3.2). */
function tcpRstIsExact(sk: TcpSock, skb: number): boolean {
  const s = tcpSkbSeq(skb);
  if (s === sk.rcvNxt || tcpResetCheck(sk, skb)) return true;
  if (!tcpIsSack(sk) || sk.rxOpt.numSacks === 0) return false;
  let maxSack = sk.selectiveAcks[0].endSeq;
  for (let i = 1; i < sk.rxOpt.numSacks; i++) {
    const end = sk.selectiveAcks[i].endSeq;
    if (after(end, maxSack)) maxSack = end;
  }
  return s === maxSack;
}

/** syn_challenge: RFC 5961 §4.2: a SYN on a synchronized connection: "are you really there?". */
function tcpSynChallenge(sk: TcpSock, skb: number, synInerr: boolean, accecnReflector: boolean): boolean {
  if (synInerr) tcpIncStats(sk.net, TCP_MIB_INERRS);
  netIncStats(sk.net, LINUX_MIB_TCPSYNCHALLENGE);
  tcpSendChallengeAck(sk, accecnReflector);
  tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_INVALID_SYN);
  return false;
}

/**
 * Data in the segment behind the SYN-ACK of a simultaneous open: the SYN was processed, it may pass (see the caller).
 */
function tcpIsCrossedSynack(sk: TcpSock, skb: number, flags: number): boolean {
  const s = seqAdd(tcpSkbSeq(skb), 1);
  return (
    sk.skcState === TCP_SYN_RECV &&
    sk.skSocket !== null &&
    (flags & TCPHDR_ACK) !== 0 &&
    s === tcpSkbEndSeq(skb) &&
    s === sk.rcvNxt &&
    tcpSkbAckSeq(skb) === sk.sndNxt
  );
}

/**
 * tcp_validate_incoming: PAWS (RFC 7323 §5), sequence number, RST and SYN, with the counter-measures of RFC 5961.
 * False: the skb was consumed.
 */
function tcpValidateIncoming(sk: TcpSock, skb: number, th: number, synInerr: boolean): boolean {
  const flags = thFlags(th);
  const rst = (flags & TCPHDR_RST) !== 0;

  if (tcpFastParseOptions(sk.net, skb, th, sk) && sk.rxOpt.sawTstamp && !tcpPawsCheck(sk.rxOpt, TCP_PAWS_WINDOW)) {
    const reason = tcpDisorderedAckCheck(sk, skb, th);
    // RFC 7323 §5.2: a RST is accepted whatever its timestamp.
    if (reason !== 0 && !rst) {
      if ((flags & TCPHDR_SYN) !== 0) return tcpSynChallenge(sk, skb, synInerr, false);
      if (reason === SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK) {
        // Old ACKs are common and need no answer.
        netIncStats(sk.net, LINUX_MIB_PAWS_OLD_ACK);
      } else {
        netIncStats(sk.net, LINUX_MIB_PAWSESTABREJECTED);
        if (!tcpOowRateLimited(sk.net, skb, LINUX_MIB_TCPACKSKIPPEDPAWS, sk)) tcpSendDupack(sk, skb);
      }
      tcpDropReason(sk, skb, reason);
      return false;
    }
  }

  // Step 1: check sequence number.
  const reason = tcpSequence(sk, tcpSkbSeq(skb), tcpSkbEndSeq(skb), flags & TCPHDR_FIN);
  if (reason !== 0) {
    if (rst) {
      // RFC 9293 §3.5.3: "In all states except SYN-SENT, all reset (RST) segments are validated by checking their
      // SEQ-fields."
      if (tcpResetCheck(sk, skb)) {
        tcpReset(sk, skb);
        consumeSkb(skb);
        return false;
      }
    } else {
      // §3.10.7.4: "If an incoming segment is not acceptable, an acknowledgment should be sent in reply".
      if ((flags & TCPHDR_SYN) !== 0) return tcpSynChallenge(sk, skb, synInerr, false);
      if (reason === SKB_DROP_REASON_TCP_INVALID_SEQUENCE || reason === SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE) {
        netIncStats(sk.net, LINUX_MIB_BEYONDWINDOW);
      }
      if (!tcpOowRateLimited(sk.net, skb, LINUX_MIB_TCPACKSKIPPEDSEQ, sk)) tcpSendDupack(sk, skb);
    }
    tcpDropReason(sk, skb, reason);
    return false;
  }

  // Step 2: check RST bit.
  if (rst) {
    if (tcpRstIsExact(sk, skb)) {
      tcpReset(sk, skb);
      consumeSkb(skb);
      return false;
    }
    // A firewall that ends what it did not see begin: its RST is not where the server's would be.
    if (sk.synFastopen && sk.dataSegsIn === 0 && sk.skcState === TCP_ESTABLISHED) tcpFastopenActiveDisable(sk);
    // RFC 5961 §3.2: in the window, but not exact.
    tcpSendChallengeAck(sk, false);
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_RESET);
    return false;
  }

  // Step 4: check for a SYN. The second half of a simultaneous open passes: RFC 5961 §4.2 is about synchronized states.
  if ((flags & TCPHDR_SYN) !== 0) {
    const accecnReflector = tcpAccecnSynAgain(sk, skb);
    if (!tcpIsCrossedSynack(sk, skb, flags)) return tcpSynChallenge(sk, skb, synInerr, accecnReflector);
  }
  return true;
}

// ---- ESTABLISHED ----------------------------------------------------------------------------------------------------

function tcpCsumError(sk: TcpSock, skb: number): void {
  tcpIncStats(sk.net, TCP_MIB_CSUMERRORS);
  tcpIncStats(sk.net, TCP_MIB_INERRS);
  tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_CSUM);
}

/**
 * tcp_rcv_established: a segment in ESTABLISHED. Header prediction (Van Jacobson): if the flags and the window are as
 * they were, the sequence number is the expected one and nothing is acknowledged that was not sent, it is either a pure
 * ACK or the next data, and next to nothing has to be checked. pred_flags is 0 whenever that would not be true.
 * Consumes the skb.
 */
export function tcpRcvEstablished(sk: TcpSock, skb: number): void {
  const th = tcpHdr(skb);
  const len = skbLen(skb);
  tcpMstampRefresh(sk);
  sk.rxOpt.sawTstamp = false;
  if (
    (tcpFlagWord(th) & TCP_HP_BITS) >>> 0 === sk.predFlags &&
    tcpSkbSeq(skb) === sk.rcvNxt &&
    between(tcpSkbAckSeq(skb), sk.sndUna, sk.sndNxt)
  ) {
    const headerLen = sk.tcpHeaderLen;
    const tstamp = headerLen === TCP_HEADER_SIZE + TCPOLEN_TSTAMP_ALIGNED;
    // A PAWS failure is looked at more closely on the slow path.
    const predicted =
      !tstamp || (tcpParseAlignedTimestamp(sk, th) && ((sk.rxOpt.rcvTsval - sk.rxOpt.tsRecent) | 0) >= 0);
    if (predicted) {
      if (len < headerLen) {
        tcpIncStats(sk.net, TCP_MIB_INERRS);
        tcpDropReason(sk, skb, SKB_DROP_REASON_PKT_TOO_SMALL);
        return;
      }
      if (len === headerLen) {
        // Bulk transfer, sender: tcp_v4_rcv has checked the sum of so short a segment already.
        const flag = tstamp && sk.rcvNxt === sk.rcvWup ? __tcpReplaceTsRecent(sk) : 0;
        tcpEcnReceivedCounters(sk, skb, 0);
        tcpAck(sk, skb, flag);
        consumeSkb(skb);
        tcpDataSndCheck(sk);
        sk.rcvRttLastTsecr = sk.rxOpt.rcvTsecr;
        return;
      }
      if (tcpChecksumComplete(skb)) {
        tcpCsumError(sk, skb);
        return;
      }
      if (!after(tcpSkbEndSeq(skb), seqAdd(sk.rcvNxt, tcpReceiveWindow(sk)))) {
        if (skbTruesize(skb) <= sk.skForwardAlloc) tcpRcvPredictedData(sk, skb, headerLen, tstamp);
        else tcpRcvStep5(sk, skb, th);
        return;
      }
    }
  }
  tcpRcvSlowPath(sk, skb, th, len);
}

/** Bulk transfer, receiver: the segment is the next in order, its checksum is right and its memory is there. */
function tcpRcvPredictedData(sk: TcpSock, skb: number, headerLen: number, tstamp: boolean): void {
  // The timestamp is stored only now: a corrupted one would make PAWS drop everything after it.
  const flag = tstamp && sk.rcvNxt === sk.rcvWup ? __tcpReplaceTsRecent(sk) : 0;
  tcpRcvRttMeasureTs(sk, skb);
  netIncStats(sk.net, LINUX_MIB_TCPHPHITS);

  skbDstDrop(skb);
  __skbPull(skb, headerLen);
  const len = skbLen(skb);
  tcpEcnReceivedCounters(sk, skb, len);
  const truesize = truesizeAdjust(true, skb);
  tcpMeasureRcvMss(sk, skb);
  const eaten = tcpQueueRcv(sk, skb);
  tcpEventDataRecv(sk, skb, len, truesize);
  if (tcpSkbAckSeq(skb) !== sk.sndUna) {
    tcpAck(sk, skb, flag | FLAG_DATA);
    tcpDataSndCheck(sk);
    // What was sent has acknowledged it.
    if (inetCskAckScheduled(sk)) __tcpAckSndCheck(sk, false);
  } else {
    tcpUpdateWl(sk, tcpSkbSeq(skb));
    __tcpAckSndCheck(sk, false);
  }
  if (eaten) kfreeSkbPartial(skb);
  tcpDataReady(sk);
}

/** tcp_rcv_established from slow_path on. */
function tcpRcvSlowPath(sk: TcpSock, skb: number, th: number, len: number): void {
  if (len < thDoff(th) * 4 || tcpChecksumComplete(skb)) {
    tcpCsumError(sk, skb);
    return;
  }
  // RFC 9293 §3.10.7.4 "fifth": "if the ACK bit is off, drop the segment and return".
  if ((thFlags(th) & (TCPHDR_ACK | TCPHDR_RST | TCPHDR_SYN)) === 0) {
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_FLAGS);
    return;
  }
  if (tcpValidateIncoming(sk, skb, th, true)) tcpRcvStep5(sk, skb, th);
}

/** tcp_rcv_established from step5 on: the segment is acceptable: its ACK, its URG bit and its text. */
function tcpRcvStep5(sk: TcpSock, skb: number, th: number): void {
  tcpEcnReceivedCountersPayload(sk, skb);
  const reason = tcpAck(sk, skb, FLAG_SLOWPATH | FLAG_UPDATE_TS_RECENT);
  if (reason < 0) {
    tcpDropReason(sk, skb, -reason);
    return;
  }
  tcpRcvRttMeasureTs(sk, skb);
  tcpUrg(sk, skb, th);
  tcpDataQueue(sk, skb);
  tcpDataSndCheck(sk);
  tcpAckSndCheck(sk);
}

// ---- becoming established -------------------------------------------------------------------------------------------

/** tcp_init_transfer: RTT and window before the first byte. */
export function tcpInitTransfer(sk: TcpSock, _bpfOp: number, _skb: number): void {
  tcpMtupInit(sk);
  sk.icskAfOps.rebuildHeader(sk);
  tcpInitMetrics(sk);
  // RFC 6298 §5.7, RFC 5681 §3.1: the window is one segment if the SYN or SYN-ACK was lost; one retransmission may have
  // been too hasty, with an initial RTO of a second.
  if (sk.totalRetrans > 1 && sk.undoMarkerSet) tcpSndCwndSet(sk, 1);
  else tcpSndCwndSet(sk, tcpInitCwnd(sk, sk.skDstCache));
  sk.sndCwndStamp = tcpJiffies32();
  if (!sk.icskCaInitialized) tcpInitCongestionControl(sk);
  tcpInitBufferSpace(sk);
}

/** tcp_finish_connect: SYN_SENT -> ESTABLISHED. `skb`: the SYN-ACK, 0 = none (TCP_REPAIR). */
export function tcpFinishConnect(sk: TcpSock, skb: number): void {
  tcpSetState(sk, TCP_ESTABLISHED);
  sk.icskAck.lrcvtime = tcpJiffies32();
  if (skb !== 0) sk.icskAfOps.skRxDstSet(sk, skb);
  tcpInitTransfer(sk, 0, skb);
  // The first data segment must not find the window to have been idle.
  sk.lsndtime = tcpJiffies32();
  if (sockFlag(sk, SOCK_KEEPOPEN)) inetCskResetKeepaliveTimer(sk, keepaliveTimeWhen(sk));
  if (sk.rxOpt.sndWscale === 0) __tcpFastPathOn(sk, sk.sndWnd);
  else sk.predFlags = 0;
}

const synackOpt: TcpOptionsReceived = new TcpOptionsReceived();

/** tcp_rcv_fastopen_synack: RFC 7413 §4.2.2. True if the SYN's data was not acknowledged (it is sent again). */
function tcpRcvFastopenSynack(sk: TcpSock, synack: number, cookie: TcpFastopenCookie): boolean {
  const data = sk.synData ? tcpRtxQueueHead(sk) : 0;
  let mss = sk.rxOpt.mssClamp;
  let tryExp = 0;
  let synDrop = false;
  if (mss === sk.rxOpt.userMss) {
    // The user's MSS hides the one of the SYN-ACK.
    tcpClearOptions(synackOpt);
    synackOpt.userMss = 0;
    synackOpt.mssClamp = 0;
    tcpParseOptions(sk.net, synack, synackOpt, 0, null);
    mss = synackOpt.mssClamp;
  }
  if (!sk.synFastopen) {
    // Nobody asked for a cookie.
    cookie.len = -1;
  } else if (sk.totalRetrans !== 0) {
    // The SYN timed out, and the answer has no cookie and acknowledges no data: only the plain SYN got through.
    synDrop = cookie.len < 0 && data !== 0;
  } else if (cookie.len < 0 && !sk.synData) {
    // The request was ignored: try the other option kind the next time.
    tryExp = sk.synFastopenExp ? 2 : 1;
  }
  tcpFastopenCacheSet(sk, mss, cookie, synDrop, tryExp);
  if (data !== 0) {
    sk.fastopenClientFail = sk.totalRetrans !== 0 ? TFO_SYN_RETRANSMITTED : TFO_DATA_NOT_ACKED;
    for (let skb = data; skb !== 0; skb = skbNext(skb)) tcpMarkSkbLost(sk, skb);
    tcpNonCongestionLossRetransmit(sk);
    netIncStats(sk.net, LINUX_MIB_TCPFASTOPENACTIVEFAIL);
    return true;
  }
  sk.synDataAcked = sk.synData;
  if (sk.synDataAcked) {
    netIncStats(sk.net, LINUX_MIB_TCPFASTOPENACTIVE);
    // The SYN and its data are two skbs, and were counted as two packets.
    if (sk.delivered > 1) sk.delivered--;
  }
  tcpFastopenAddSkb(sk, synack);
  return false;
}

/** tcp_try_undo_spurious_syn: the ACK echoes the timestamp of the first SYN: its retransmission was not needed. */
function tcpTryUndoSpuriousSyn(tp: TcpSock): void {
  const stamp = tp.retransStamp;
  if (tp.undoMarkerSet && stamp !== 0 && tp.rxOpt.sawTstamp && stamp === tp.rxOpt.rcvTsecr) tp.undoMarkerSet = false;
}

const synsentCookie: TcpFastopenCookie = new TcpFastopenCookie();

/** discard_and_undo, reset_and_undo: the options of a segment that was refused are forgotten. */
function tcpSynsentUndo(sk: TcpSock, savedClamp: number): void {
  tcpClearOptions(sk.rxOpt);
  sk.rxOpt.mssClamp = savedClamp;
}

/**
 * tcp_rcv_synsent_state_process: RFC 9293 §3.10.7.3. Returns -1 to go on with the segment (its URG bit), 0 if it was
 * consumed, or the drop reason of a segment that has to be answered with a RST (it is the caller's still).
 */
function tcpRcvSynsentStateProcess(sk: TcpSock, skb: number, th: number): number {
  const flags = thFlags(th);
  const rxOpt = sk.rxOpt;
  const savedClamp = rxOpt.mssClamp;
  const foc = synsentCookie;
  foc.len = -1;
  tcpParseOptions(sk.net, skb, rxOpt, 0, foc);
  if (rxOpt.sawTstamp && rxOpt.rcvTsecr !== 0) rxOpt.rcvTsecr = (rxOpt.rcvTsecr - sk.tsoffset) >>> 0;

  if ((flags & TCPHDR_ACK) !== 0) {
    // "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set, if so drop the segment and
    // return)". SND.UNA is ISS, or beyond it with Fast Open's data unacknowledged.
    const ackSeq = tcpSkbAckSeq(skb);
    if (!after(ackSeq, sk.sndUna) || after(ackSeq, sk.sndNxt)) {
      // The peer has an old connection: try again soon, once our RST has ended it.
      if (sk.icskRetransmits === 0) tcpResetXmitTimer(sk, ICSK_TIME_RETRANS, TCP_TIMEOUT_MIN, false);
      tcpSynsentUndo(sk, savedClamp);
      return SKB_DROP_REASON_TCP_INVALID_ACK_SEQUENCE;
    }
    if (
      rxOpt.sawTstamp &&
      rxOpt.rcvTsecr !== 0 &&
      !between(seq(rxOpt.rcvTsecr), seq(sk.retransStamp), seq(tcpTimeStampTs(sk)))
    ) {
      netIncStats(sk.net, LINUX_MIB_PAWSACTIVEREJECTED);
      tcpSynsentUndo(sk, savedClamp);
      return SKB_DROP_REASON_TCP_RFC7323_PAWS;
    }
    // "If the RST bit is set: if the ACK was acceptable, then signal to the user 'error: connection reset'".
    if ((flags & TCPHDR_RST) !== 0) {
      tcpReset(sk, skb);
      consumeSkb(skb);
      return 0;
    }
    // "fifth, if neither of the SYN or RST bits is set, then drop the segment and return".
    if ((flags & TCPHDR_SYN) === 0) {
      tcpSynsentUndo(sk, savedClamp);
      tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_FLAGS);
      return 0;
    }
    return tcpRcvSynack(sk, skb, th, foc);
  }

  // No ACK. "Otherwise (no ACK), drop the segment and return."
  if ((flags & TCPHDR_RST) !== 0) {
    tcpSynsentUndo(sk, savedClamp);
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_RESET);
    return 0;
  }
  if (rxOpt.tsRecentStamp !== 0 && rxOpt.sawTstamp && tcpPawsReject(rxOpt, false)) {
    tcpSynsentUndo(sk, savedClamp);
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_RFC7323_PAWS);
    return 0;
  }
  if ((flags & TCPHDR_SYN) === 0) {
    tcpSynsentUndo(sk, savedClamp);
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_FLAGS);
    return 0;
  }

  // Simultaneous open (RFC 9293 §3.5, figure 7), or a connection to oneself: "Otherwise, enter SYN-RECEIVED, form a
  // SYN,ACK segment".
  tcpSetState(sk, TCP_SYN_RECV);
  if (rxOpt.sawTstamp) {
    rxOpt.tstampOk = true;
    tcpStoreTsRecent(sk);
    sk.tcpHeaderLen = TCP_HEADER_SIZE + TCPOLEN_TSTAMP_ALIGNED;
  } else {
    sk.tcpHeaderLen = TCP_HEADER_SIZE;
  }
  const s = tcpSkbSeq(skb);
  sk.rcvNxt = seqAdd(s, 1);
  sk.copiedSeq = sk.rcvNxt;
  sk.rcvWup = sk.rcvNxt;
  sk.rcvMwndSeq = seqAdd(sk.rcvWup, sk.rcvWnd);
  // RFC 7323 §2.2: the window of a SYN is not scaled.
  sk.sndWnd = thWindow(th);
  sk.sndWl1 = s;
  sk.maxWindow = sk.sndWnd;
  tcpEcnRcvSyn(sk, th, skb);
  tcpMtupInit(sk);
  tcpSyncMss(sk, sk.icskPmtuCookie);
  tcpInitializeRcvMss(sk);
  tcpSendSynack(sk);
  // Data of this segment comes again.
  consumeSkb(skb);
  return 0;
}

/** tcp_rcv_synsent_state_process for an acceptable SYN,ACK: "change the connection state to ESTABLISHED". */
function tcpRcvSynack(sk: TcpSock, skb: number, th: number, foc: TcpFastopenCookie): number {
  const rxOpt = sk.rxOpt;
  if (tcpEcnModeAny(sk)) tcpEcnRcvSynack(sk, skb, th);
  tcpInitWl(sk, tcpSkbSeq(skb));
  tcpTryUndoSpuriousSyn(sk);
  tcpAck(sk, skb, FLAG_SLOWPATH);

  sk.rcvNxt = seqAdd(tcpSkbSeq(skb), 1);
  sk.rcvWup = sk.rcvNxt;
  sk.rcvMwndSeq = seqAdd(sk.rcvWup, sk.rcvWnd);
  // RFC 7323 §2.2: the window of a SYN,ACK is not scaled.
  sk.sndWnd = thWindow(th);
  if (!rxOpt.wscaleOk) {
    rxOpt.sndWscale = 0;
    rxOpt.rcvWscale = 0;
    sk.windowClamp = Math.min(sk.windowClamp, 65535);
  }
  if (rxOpt.sawTstamp) {
    rxOpt.tstampOk = true;
    sk.tcpHeaderLen = TCP_HEADER_SIZE + TCPOLEN_TSTAMP_ALIGNED;
    sk.advmss -= TCPOLEN_TSTAMP_ALIGNED;
    tcpStoreTsRecent(sk);
  } else {
    sk.tcpHeaderLen = TCP_HEADER_SIZE;
  }
  tcpSyncMss(sk, sk.icskPmtuCookie);
  tcpInitializeRcvMss(sk);
  sk.copiedSeq = sk.rcvNxt;
  tcpFinishConnect(sk, skb);
  const fastopenFail = (sk.synFastopen || sk.synData) && tcpRcvFastopenSynack(sk, skb, foc);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skStateChange(sk);
  if (fastopenFail) return -1;
  if (sk.skWritePending !== 0 || sk.icskAcceptQueue.rskqDeferAccept !== 0 || inetCskInPingpongMode(sk)) {
    // Data is about to be sent: it carries the ACK.
    inetCskScheduleAck(sk);
    tcpEnterQuickackMode(sk, TCP_MAX_QUICKACKS);
    tcpResetXmitTimer(sk, ICSK_TIME_DACK, TCP_DELACK_MAX, false);
    consumeSkb(skb);
    return 0;
  }
  tcpSendAckReflectEct(sk, tcpEcnModeAccecn(sk));
  return -1;
}

/** tcp_rcv_synrecv_state_fastopen: the SYN-ACK of a Fast Open child was acknowledged. */
function tcpRcvSynrecvStateFastopen(sk: TcpSock): void {
  // If the SYN-ACK timed out, its ACK ends that.
  if (sk.icskCaState === TCP_CA_Loss && sk.packetsOut === 0) tcpTryUndoRecovery(sk);
  tcpUpdateRtoTime(sk);
  sk.icskRetransmits = 0;
  // The first timeout of the SYN-ACK has set it outside of CA_Loss; an episode that this ACK has begun keeps it.
  tcpRetransStampCleanup(sk);
  const req = sk.fastopenRsk;
  bugOn(req === null, "fast open child without its request");
  reqskFastopenRemove(sk, req as RequestSock, false);
  // Data may have been sent already.
  tcpRearmRto(sk);
}

// ---- all other states -----------------------------------------------------------------------------------------------

/**
 * tcp_rcv_state_process: a segment in any state but ESTABLISHED (and TIME_WAIT, which has its own sock). Returns 0 when
 * the skb was consumed, else the reason for which the caller answers it with a RST and drops it.
 */
export function tcpRcvStateProcess(sk: TcpSock, skb: number): number {
  const th = tcpHdr(skb);
  const flags = thFlags(th);
  switch (sk.skcState) {
    case TCP_CLOSE:
      tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_CLOSE);
      return 0;
    case TCP_LISTEN:
      return tcpRcvListen(sk, skb, flags);
    case TCP_SYN_SENT: {
      sk.rxOpt.sawTstamp = false;
      tcpMstampRefresh(sk);
      const queued = tcpRcvSynsentStateProcess(sk, skb, th);
      if (queued >= 0) return queued;
      tcpUrg(sk, skb, th);
      consumeSkb(skb);
      tcpDataSndCheck(sk);
      return 0;
    }
  }

  tcpMstampRefresh(sk);
  sk.rxOpt.sawTstamp = false;
  const req = sk.fastopenRsk;
  if (req !== null && tcpCheckReq(sk, skb, req, true, null) === null) {
    const why = checkReqDrop.value;
    tcpDropReason(sk, skb, why === SKB_DROP_REASON_NOT_SPECIFIED ? SKB_DROP_REASON_TCP_FASTOPEN : why);
    return 0;
  }
  if ((flags & (TCPHDR_ACK | TCPHDR_RST | TCPHDR_SYN)) === 0) {
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_FLAGS);
    return 0;
  }
  if (!tcpValidateIncoming(sk, skb, th, false)) return 0;

  // Step 5: check the ACK field.
  const acceptable = tcpAck(sk, skb, FLAG_SLOWPATH | FLAG_UPDATE_TS_RECENT | FLAG_NO_CHALLENGE_ACK);
  if (acceptable <= 0) {
    // "If the segment acknowledgment is not acceptable, form a reset segment".
    if (sk.skcState === TCP_SYN_RECV) return acceptable === 0 ? SKB_DROP_REASON_TCP_OLD_ACK : -acceptable;
    // An old ACK while closing is let pass.
    if (acceptable < 0) {
      tcpSendChallengeAck(sk, false);
      tcpDropReason(sk, skb, -acceptable);
      return 0;
    }
  }

  switch (sk.skcState) {
    case TCP_SYN_RECV:
      tcpRcvSynRecvAcked(sk, skb, th, req);
      break;
    case TCP_FIN_WAIT1: {
      const reason = tcpRcvFinWait1Acked(sk, skb, flags, req);
      if (reason > 0) return reason;
      if (reason < 0) {
        consumeSkb(skb);
        return 0;
      }
      break;
    }
    case TCP_CLOSING:
      // "if the ACK acknowledges our FIN, then enter the TIME-WAIT state".
      if (sk.sndUna === sk.writeSeq) {
        tcpTimeWait(sk, TCP_TIME_WAIT, 0);
        consumeSkb(skb);
        return 0;
      }
      break;
    case TCP_LAST_ACK:
      // "If our FIN is now acknowledged, delete the TCB, enter the CLOSED state, and return".
      if (sk.sndUna === sk.writeSeq) {
        tcpUpdateMetrics(sk);
        tcpDone(sk);
        consumeSkb(skb);
        return 0;
      }
      break;
  }

  // Step 6: check the URG bit.
  tcpUrg(sk, skb, th);

  // Step 7: process the segment text.
  const state = sk.skcState;
  const closing = state === TCP_CLOSE_WAIT || state === TCP_CLOSING || state === TCP_LAST_ACK;
  // "This should not occur since a FIN has been received from the remote side. Ignore the segment text." Old segments
  // are answered all the same.
  const old = closing && before(tcpSkbSeq(skb), sk.rcvNxt);
  const finWait = state === TCP_FIN_WAIT1 || state === TCP_FIN_WAIT2;
  if (
    (old || finWait) &&
    (sk.skShutdown & RCV_SHUTDOWN) !== 0 &&
    tcpSkbEndSeq(skb) !== tcpSkbSeq(skb) &&
    after(seqAdd(tcpSkbEndSeq(skb), -(flags & TCPHDR_FIN)), sk.rcvNxt)
  ) {
    // RFC 1122 §4.2.2.13: data after close() cannot be delivered: the peer must hear of it.
    netIncStats(sk.net, LINUX_MIB_TCPABORTONDATA);
    tcpReset(sk, skb);
    return SKB_DROP_REASON_TCP_ABORT_ON_DATA;
  }
  const queued = old || finWait || state === TCP_ESTABLISHED;
  if (queued) tcpDataQueue(sk, skb);
  // The FIN may have moved it to TIME_WAIT.
  if (sk.skcState !== TCP_CLOSE) {
    tcpDataSndCheck(sk);
    tcpAckSndCheck(sk);
  }
  if (!queued) tcpDropReason(sk, skb, SKB_DROP_REASON_NOT_SPECIFIED);
  return 0;
}

/** RFC 9293 §3.10.7.2: LISTEN. */
function tcpRcvListen(sk: TcpSock, skb: number, flags: number): number {
  // "An acceptable reset segment should be formed for any arriving ACK-bearing segment."
  if ((flags & TCPHDR_ACK) !== 0) return SKB_DROP_REASON_TCP_FLAGS;
  if ((flags & TCPHDR_RST) !== 0) {
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_RESET);
    return 0;
  }
  if ((flags & (TCPHDR_SYN | TCPHDR_FIN)) !== TCPHDR_SYN) {
    tcpDropReason(sk, skb, SKB_DROP_REASON_TCP_FLAGS);
    return 0;
  }
  sk.icskAfOps.connRequest(sk, skb);
  consumeSkb(skb);
  return 0;
}

/** SYN_RECV, and the ACK of our SYN is acceptable: "then enter ESTABLISHED state and continue processing". */
function tcpRcvSynRecvAcked(sk: TcpSock, skb: number, th: number, req: RequestSock | null): void {
  // The SYN-ACK did not go through the retransmit queue.
  sk.delivered++;
  if (sk.srttUs === 0) tcpSynackRttMeas(sk, req);
  if (sk.rxOpt.tstampOk) sk.advmss -= TCPOLEN_TSTAMP_ALIGNED;
  if (req !== null) {
    tcpRcvSynrecvStateFastopen(sk);
  } else {
    tcpTryUndoSpuriousSyn(sk);
    sk.retransStamp = 0;
    tcpInitTransfer(sk, 0, skb);
    sk.copiedSeq = sk.rcvNxt;
  }
  tcpSetState(sk, TCP_ESTABLISHED);
  sk.skStateChange(sk);

  sk.sndUna = tcpSkbAckSeq(skb);
  sk.sndWnd = thWindow(th) * (1 << sk.rxOpt.sndWscale);
  tcpInitWl(sk, tcpSkbSeq(skb));
  if (sk.icskCaOps.congControl === undefined) tcpUpdatePacingRate(sk);
  sk.lsndtime = tcpJiffies32();
  tcpInitializeRcvMss(sk);
  if (tcpEcnModeAccecn(sk)) tcpAccecnThirdAck(sk, skb, sk.synEctSnt);
  tcpFastPathOn(sk);
  // shutdown() or close() came before the handshake was over.
  if ((sk.skShutdown & SEND_SHUTDOWN) !== 0) tcpShutdown(sk, SEND_SHUTDOWN);
}

/**
 * FIN_WAIT1: "if the FIN segment is now acknowledged, then enter FIN-WAIT-2 and continue processing in that state". 0 =
 * go on,
 * -1 = the sock has become a TIME_WAIT one, else the reason to answer with a RST.
 */
function tcpRcvFinWait1Acked(sk: TcpSock, skb: number, flags: number, req: RequestSock | null): number {
  if (req !== null) tcpRcvSynrecvStateFastopen(sk);
  if (sk.sndUna !== sk.writeSeq) return 0;
  tcpSetState(sk, TCP_FIN_WAIT2);
  sk.skShutdown |= SEND_SHUTDOWN;
  skDstConfirm(sk);
  if (!sockFlag(sk, SOCK_DEAD)) {
    // A close() may linger for this.
    sk.skStateChange(sk);
    return 0;
  }
  if (sk.linger2 < 0) {
    tcpDone(sk);
    netIncStats(sk.net, LINUX_MIB_TCPABORTONDATA);
    return SKB_DROP_REASON_TCP_ABORT_ON_DATA;
  }
  const fin = flags & TCPHDR_FIN;
  if (tcpSkbEndSeq(skb) !== tcpSkbSeq(skb) && after(seqAdd(tcpSkbEndSeq(skb), -fin), sk.rcvNxt)) {
    // Data after close().
    if (sk.synFastopen && fin !== 0) tcpFastopenActiveDisable(sk);
    tcpDone(sk);
    netIncStats(sk.net, LINUX_MIB_TCPABORTONDATA);
    return SKB_DROP_REASON_TCP_ABORT_ON_DATA;
  }
  const tmo = tcpFinTime(sk);
  if (tmo > TCP_TIMEWAIT_LEN) {
    inetCskResetKeepaliveTimer(sk, tmo - TCP_TIMEWAIT_LEN);
  } else if (fin !== 0) {
    // The FIN is still to be processed.
    inetCskResetKeepaliveTimer(sk, tmo);
  } else {
    tcpTimeWait(sk, TCP_FIN_WAIT2, tmo);
    return -1;
  }
  return 0;
}

// ---- LISTEN: connection requests ------------------------------------------------------------------------------------

/** inet_reqsk_alloc: a request of listener `sk`. */
export function inetReqskAlloc(ops: RequestSockOps, sk: InetConnectionSock): RequestSock {
  const req = new RequestSock(sk, ops);
  req.net = sk.net;
  req.skcFamily = sk.skcFamily;
  req.skProt = sk.skProt;
  req.skProtocol = sk.skProtocol;
  req.skcState = TCP_NEW_SYN_RECV;
  req.skcReuse = sk.skcReuse;
  req.skcReuseport = sk.skcReuseport;
  req.timeout = TCP_TIMEOUT_INIT;
  return req;
}

/** tcp_openreq_init: what the SYN says. */
function tcpOpenreqInit(req: RequestSock, rxOpt: TcpOptionsReceived, skb: number, sk: TcpSock): void {
  const th = tcpHdr(skb);
  req.rskRcvWnd = 0;
  req.rcvIsn = seqRaw(tcpSkbSeq(skb));
  req.rcvNxt = seqRaw(seqAdd(tcpSkbSeq(skb), 1));
  req.snt_synack = 0;
  req.lastOowAckTime = 0;
  req.mss = rxOpt.mssClamp;
  req.tsRecent = rxOpt.sawTstamp ? rxOpt.rcvTsval : 0;
  req.tstampOk = rxOpt.tstampOk;
  req.sackOk = rxOpt.sackOk !== 0;
  req.sndWscale = rxOpt.sndWscale;
  req.wscaleOk = rxOpt.wscaleOk;
  req.acked = false;
  req.ecnOk = false;
  req.irRmtPort = thSource(th);
  req.irNum = thDest(th);
  req.skcDport = req.irRmtPort;
  req.skcNum = req.irNum;
  req.irMark = sk.skMark;
}

/** tcp_reqsk_record_syn: TCP_SAVE_SYN: 1 = the IP and TCP headers, 2 = the link layer's, too. */
function tcpReqskRecordSyn(sk: TcpSock, req: RequestSock, skb: number): void {
  if (sk.saveSyn === 0) return;
  const from = sk.saveSyn === 2 && skbMacHeaderWasSet(skb) ? skbMacHeader(skb) : ipHdr(skb);
  const len = tcpHdr(skb) - from + thDoff(tcpHdr(skb)) * 4;
  const saved = new Uint8Array(len);
  for (let i = 0; i < len; i++) saved[i] = u8[from + i] as number;
  req.savedSyn = saved;
}

/** tcp_syn_flood_action: counts that the SYN queue is full. True if a SYN cookie answers (tcp_syncookies). */
function tcpSynFloodAction(sk: TcpSock): boolean {
  const mode = sk.net.ipv4.sysctlTcpSyncookies;
  netIncStats(sk.net, mode !== 0 ? LINUX_MIB_TCPREQQFULLDOCOOKIES : LINUX_MIB_TCPREQQFULLDROP);
  // Always on (2) is no flood.
  if (mode !== 2) sk.icskAcceptQueue.synfloodWarned = true;
  return mode !== 0;
}

const reqOpt: TcpOptionsReceived = new TcpOptionsReceived();
const reqCookie: TcpFastopenCookie = new TcpFastopenCookie();
const reqFl: FlowI4 = new FlowI4();

/**
 * tcp_conn_request: a SYN for listener `sk`: RFC 9293 §3.10.7.2 "third". `isn` is given by TIME_WAIT when the SYN
 * reopens a connection (RFC 6191), else 0. The skb stays the caller's. Returns 0.
 */
export function tcpConnRequest(rskOps: RequestSockOps, afOps: TcpRequestSockOps, sk: TcpSock, skb: number): number {
  const net = sk.net;
  let isn = tcpTwIsnTake(skb);
  let wantCookie = false;
  // A SYN that takes over from TIME_WAIT comes from a proven peer.
  if (isn === 0 && (net.ipv4.sysctlTcpSyncookies === 2 || inetCskReqskQueueIsFull(sk))) {
    wantCookie = tcpSynFloodAction(sk);
    if (!wantCookie) {
      tcpListendrop(sk);
      return 0;
    }
  }
  if (skAcceptqIsFull(sk)) {
    netIncStats(net, LINUX_MIB_LISTENOVERFLOWS);
    tcpListendrop(sk);
    return 0;
  }
  const req = inetReqskAlloc(rskOps, sk);
  req.afSpecific = afOps;
  req.tsOff = 0;

  const opt = reqOpt;
  tcpClearOptions(opt);
  opt.mssClamp = afOps.mssClamp;
  opt.userMss = sk.rxOpt.userMss;
  reqCookie.len = -1;
  tcpParseOptions(net, skb, opt, 0, wantCookie ? null : reqCookie);
  // Without a timestamp there is no room for the other options.
  if (wantCookie && !opt.sawTstamp) tcpClearOptions(opt);
  opt.tstampOk = opt.sawTstamp;
  tcpOpenreqInit(req, opt, skb, sk);
  req.noSrccheck = sk.transparent;
  // The cookie is the hash, too: what is made of it later takes the same way.
  if (wantCookie) isn = cookieV4InitSequence(sk, skb, req);
  req.txhash = wantCookie ? isn : net.kernel.random.u32() | 1;

  const dst = afOps.routeReq(sk, skb, reqFl, req);
  if (dst === null) {
    rskOps.destructor(req);
    tcpListendrop(sk);
    return 0;
  }
  if (opt.tstampOk) req.tsOff = afOps.initTsOff(sk, skb);
  if (isn === 0 && !wantCookie) {
    const maxSynBacklog = net.ipv4.sysctlMaxSynBacklog;
    // Without cookies the last quarter of the queue is for peers that are known to be alive.
    if (
      net.ipv4.sysctlTcpSyncookies === 0 &&
      maxSynBacklog - inetCskReqskQueueLen(sk) < maxSynBacklog >> 2 &&
      !tcpPeerIsProven(req, dst)
    ) {
      rskOps.destructor(req);
      tcpListendrop(sk);
      return 0;
    }
    isn = afOps.initSeq(sk, skb);
  }
  tcpEcnCreateRequest(req, skb, sk, dst);
  // Without timestamps nothing remembers that ECN was agreed on.
  if (wantCookie && !opt.tstampOk) req.ecnOk = false;
  req.sntIsn = isn;
  req.synTos = tcpSkbDsfield(skb);
  tcpOpenreqInitRwin(req, sk, dst);
  if (wantCookie) {
    // Nothing is kept.
    afOps.sendSynack(sk, dst, reqFl, req, reqCookie, TCP_SYNACK_COOKIE, skb);
    rskOps.destructor(req);
    return 0;
  }
  tcpReqskRecordSyn(sk, req, skb);

  const child = tcpTryFastopen(sk, skb, req, reqCookie, dst);
  if (child !== null) {
    afOps.sendSynack(child, dst, reqFl, req, reqCookie, TCP_SYNACK_FASTOPEN, skb);
    // accept() may take it before the handshake is over.
    if (inetCskReqskQueueAdd(sk, req, child) === null) tcpListendrop(sk);
    else sk.skDataReady(sk);
    // What sk_clone_lock gave to its caller.
    sockPut(child);
    return 0;
  }
  req.tfoListener = false;
  req.timeout = TCP_TIMEOUT_INIT;
  if (!inetCskReqskQueueHashAdd(sk, req, req.timeout)) {
    rskOps.destructor(req);
    return 0;
  }
  afOps.sendSynack(sk, dst, reqFl, req, reqCookie, TCP_SYNACK_NORMAL, skb);
  return 0;
}

/** tcp_get_syncookie_mss: the MSS that a SYN cookie would encode; 0 = no cookie is due. */
export function tcpGetSyncookieMss(_rskOps: RequestSockOps, afOps: TcpRequestSockOps, sk: TcpSock, th: number): number {
  if (sk.net.ipv4.sysctlTcpSyncookies !== 2 && !inetCskReqskQueueIsFull(sk)) return 0;
  if (!tcpSynFloodAction(sk)) return 0;
  if (skAcceptqIsFull(sk)) {
    netIncStats(sk.net, LINUX_MIB_LISTENOVERFLOWS);
    return 0;
  }
  const mss = tcpParseMssOption(th, sk.rxOpt.userMss);
  return mss !== 0 ? mss : afOps.mssClamp;
}
