/**
 * DCTCP (net/ipv4/tcp_dctcp.c, RFC 8257): congestion control for data centers, on top of Reno. Routers mark as soon as
 * their queue is longer than a short threshold, receivers echo every mark, and the sender reduces its window by how many
 * packets were marked, not by whether any was:
 *
 * ```
 *   F      packets marked / packets delivered, of one window of data
 *   alpha  <- (1 - g) alpha + g F                      g = 1/16, alpha of 1024
 *   cwnd   <- cwnd (1 - alpha / 2)                     once a window with marks
 * ```
 *
 * With classic ECN the receiver's ECE says how the last packet came, and a change is acknowledged at once (RFC 8257
 * §3.2), so that the sender can count; with Accurate ECN the ACE field counts.
 */

import { INET_DIAG_DCTCPINFO, INET_DIAG_VEGASINFO } from "../../uapi/inet_diag.ts";
import { TCP_CA_Recovery, TCPF_CLOSE, TCPF_LISTEN } from "../../uapi/tcp.ts";
import { ICSK_ACK_NOW, ICSK_ACK_TIMER, type InetConnectionSock } from "./inet_sock.ts";
import { before, type Seq, seq } from "./seq.ts";
import {
  CA_EVENT_ECN_IS_CE,
  CA_EVENT_ECN_NO_CE,
  CA_EVENT_LOSS,
  TCP_CONG_NEEDS_ECN,
  type TcpCongestionOps,
  tcpRenoCongAvoid,
  tcpRenoSsthresh,
  tcpRenoUndoCwnd,
} from "./tcp_cong.ts";
import { inetEcnDontxmit, tcpEcnModeAny } from "./tcp_ecn.ts";
import { TCP_ECN_DEMAND_CWR, tcpSndCwnd } from "./tcp_h.ts";
import { __tcpSendAck } from "./tcp_output.ts";
import {
  newTcpPlbState,
  TCP_PLB_SCALE,
  type TcpPlbState,
  tcpPlbCheckRehash,
  tcpPlbUpdateState,
  tcpPlbUpdateStateUponRto,
} from "./tcp_plb.ts";
import type { TcpSock } from "./tcp_sock.ts";

/** alpha is a fraction of this. */
export const DCTCP_MAX_ALPHA = 1024;

/** The module's parameters. */
export interface TcpDctcpParameters {
  /** g = 2^-shiftG, 0 to 10. */
  shiftG: number;
  /** What a connection begins with: all is congested, of 1024. */
  alphaOnInit: number;
}

export const tcpDctcpParameters: TcpDctcpParameters = { shiftG: 4, alphaOnInit: DCTCP_MAX_ALPHA };

/** struct dctcp: DCTCP's state of a connection (icsk_ca_priv). */
export class Dctcp {
  /** tp->delivered and tp->delivered_ce at the beginning of the window of data. */
  oldDelivered = 0;
  oldDeliveredCe = 0;
  /** RCV.NXT before the last segment. */
  priorRcvNxt: Seq = seq(0);
  dctcpAlpha = 0;
  /** The end of the window of data. */
  nextSeq: Seq = seq(0);
  /** The last segment came marked. */
  ceState = false;
  lossCwnd = 0;
  readonly plb: TcpPlbState = newTcpPlbState();
}

/** inet_csk_ca: the state of this connection. A timeout of the SYN asks for it before `init` has run. */
/* notrace */
function inetCskCa(sk: InetConnectionSock): Dctcp {
  if (sk.icskCaPriv === null) sk.icskCaPriv = new Dctcp();
  return sk.icskCaPriv as Dctcp;
}

/** dctcp_reset: a window of data begins. */
function dctcpReset(sk: TcpSock, ca: Dctcp): void {
  ca.nextSeq = sk.sndNxt;
  ca.oldDelivered = sk.delivered;
  ca.oldDeliveredCe = sk.deliveredCe;
}

/** dctcp_init. Without ECN it is Reno. */
export function dctcpInit(sk: TcpSock): void {
  if (!tcpEcnModeAny(sk) && ((1 << sk.skcState) & (TCPF_LISTEN | TCPF_CLOSE)) === 0) {
    sk.icskCaOps = dctcpReno;
    sk.icskCaOpsSetBy = "dctcp_init";
    inetEcnDontxmit(sk);
    return;
  }
  const ca = new Dctcp();
  sk.icskCaPriv = ca;
  ca.priorRcvNxt = sk.rcvNxt;
  ca.dctcpAlpha = Math.min(tcpDctcpParameters.alphaOnInit, DCTCP_MAX_ALPHA);
  dctcpReset(sk, ca);
}

/** dctcp_ssthresh: RFC 8257 §3.3 step 9: cwnd - cwnd * alpha / 2. */
export function dctcpSsthresh(sk: TcpSock): number {
  const ca = inetCskCa(sk);
  const cwnd = tcpSndCwnd(sk);
  ca.lossCwnd = cwnd;
  return Math.max(cwnd - Math.floor((cwnd * ca.dctcpAlpha) / 2048), 2);
}

/** dctcp_update_alpha: §3.3 steps 1 to 8: at the end of a window of data, alpha moves towards the fraction of marks. */
export function dctcpUpdateAlpha(sk: TcpSock, _flags: number): void {
  const ca = inetCskCa(sk);
  if (before(sk.sndUna, ca.nextSeq)) return;
  const delivered = (sk.delivered - ca.oldDelivered) >>> 0;
  const deliveredCe = (sk.deliveredCe - ca.oldDeliveredCe) >>> 0;
  if (delivered > 0) {
    // Not smoothed: load balancing would come late.
    tcpPlbUpdateState(sk, ca.plb, Math.floor((deliveredCe * 2 ** TCP_PLB_SCALE) / delivered));
    tcpPlbCheckRehash(sk, ca.plb);
  }
  const g = tcpDctcpParameters.shiftG;
  let alpha = ca.dctcpAlpha;
  // Small ones fade out altogether.
  alpha -= alpha >>> g || alpha;
  if (deliveredCe !== 0) {
    const f = Math.floor((deliveredCe * 2 ** (10 - g)) / Math.max(1, delivered));
    alpha = Math.min(alpha + f, DCTCP_MAX_ALPHA);
  }
  ca.dctcpAlpha = alpha;
  dctcpReset(sk, ca);
}

/** dctcp_react_to_loss: §3.5: a loss is answered as Reno does. */
function dctcpReactToLoss(sk: TcpSock): void {
  const cwnd = tcpSndCwnd(sk);
  inetCskCa(sk).lossCwnd = cwnd;
  sk.sndSsthresh = Math.max(cwnd >>> 1, 2);
}

/** dctcp_state. A timeout comes as an event, so that there is one reduction an RTT. */
export function dctcpState(sk: InetConnectionSock, newState: number): void {
  if (newState === TCP_CA_Recovery && newState !== sk.icskCaState) dctcpReactToLoss(sk as TcpSock);
}

/** dctcp_ece_ack_cwr: what ACKs say from now on. */
function dctcpEceAckCwr(sk: TcpSock, ce: boolean): void {
  if (ce) sk.ecnFlags |= TCP_ECN_DEMAND_CWR;
  else sk.ecnFlags &= ~TCP_ECN_DEMAND_CWR;
}

/** dctcp_ece_ack_update: §3.2: when marks begin or end, what came before is acknowledged first, and in its own way. */
function dctcpEceAckUpdate(sk: TcpSock, ca: Dctcp, ce: boolean): void {
  if (ca.ceState !== ce) {
    if ((sk.icskAck.pending & ICSK_ACK_TIMER) !== 0) {
      dctcpEceAckCwr(sk, ca.ceState);
      __tcpSendAck(sk, ca.priorRcvNxt, 0);
    }
    sk.icskAck.pending |= ICSK_ACK_NOW;
  }
  ca.priorRcvNxt = sk.rcvNxt;
  ca.ceState = ce;
  dctcpEceAckCwr(sk, ce);
}

/** dctcp_cwnd_event. */
export function dctcpCwndEvent(sk0: InetConnectionSock, ev: number): void {
  const sk = sk0 as TcpSock;
  const ca = inetCskCa(sk);
  switch (ev) {
    case CA_EVENT_ECN_IS_CE:
    case CA_EVENT_ECN_NO_CE:
      dctcpEceAckUpdate(sk, ca, ev === CA_EVENT_ECN_IS_CE);
      break;
    case CA_EVENT_LOSS:
      tcpPlbUpdateStateUponRto(sk, ca.plb);
      dctcpReactToLoss(sk);
  }
}

/** dctcp_cwnd_event_tx_start: nothing is in flight that another path could overtake. */
export function dctcpCwndEventTxStart(sk: InetConnectionSock): void {
  tcpPlbCheckRehash(sk as TcpSock, inetCskCa(sk).plb);
}

/** dctcp_cwnd_undo. */
export function dctcpCwndUndo(sk: TcpSock): number {
  return Math.max(tcpSndCwnd(sk), inetCskCa(sk).lossCwnd);
}

/** struct tcp_dctcp_info, as TCP_CC_INFO gives it. */
export interface TcpDctcpInfo {
  readonly name: "dctcp";
  /** 0 = Reno, because there is no ECN. */
  dctcpEnabled: number;
  /** The last segment came marked. */
  dctcpCeState: number;
  /** Of 1024. */
  dctcpAlpha: number;
  /** Bytes of this window of data that were marked, and all of them, in whole segments. */
  dctcpAbEcn: number;
  dctcpAbTot: number;
}

/** dctcp_get_info: for the bits INET_DIAG_DCTCPINFO and INET_DIAG_VEGASINFO of `ext`. */
export function dctcpGetInfo(sk: TcpSock, ext: number): TcpDctcpInfo | null {
  if ((ext & ((1 << (INET_DIAG_DCTCPINFO - 1)) | (1 << (INET_DIAG_VEGASINFO - 1)))) === 0) return null;
  if (sk.icskCaOps === dctcpReno) {
    return { name: "dctcp", dctcpEnabled: 0, dctcpCeState: 0, dctcpAlpha: 0, dctcpAbEcn: 0, dctcpAbTot: 0 };
  }
  const ca = inetCskCa(sk);
  return {
    name: "dctcp",
    dctcpEnabled: 1,
    dctcpCeState: ca.ceState ? 1 : 0,
    dctcpAlpha: ca.dctcpAlpha,
    dctcpAbEcn: (sk.mssCache * (sk.deliveredCe - ca.oldDeliveredCe)) >>> 0,
    dctcpAbTot: (sk.mssCache * (sk.delivered - ca.oldDelivered)) >>> 0,
  };
}

/** The table dctcp_reno: a connection that wanted DCTCP and got no ECN. Nobody can choose it. */
const dctcpReno: TcpCongestionOps = {
  name: "dctcp-reno",
  symbol: "dctcp_reno",
  flags: 0,
  ssthresh: tcpRenoSsthresh,
  congAvoid: tcpRenoCongAvoid,
  undoCwnd: tcpRenoUndoCwnd,
  getInfo: dctcpGetInfo,
};

/** The table dctcp. */
/* notrace */
export function dctcp(): TcpCongestionOps {
  return {
    name: "dctcp",
    symbol: "dctcp",
    flags: TCP_CONG_NEEDS_ECN,
    init: dctcpInit,
    inAckEvent: dctcpUpdateAlpha,
    cwndEvent: dctcpCwndEvent,
    cwndEventTxStart: dctcpCwndEventTxStart,
    ssthresh: dctcpSsthresh,
    congAvoid: tcpRenoCongAvoid,
    undoCwnd: dctcpCwndUndo,
    setState: dctcpState,
    getInfo: dctcpGetInfo,
  };
}
