/** TCP input (RFC 9293 §3.10.7): a segment arrives at a connection. */

import { BugError } from "../../kernel/bug.ts";
import type { Net } from "../core/net_namespace.ts";
import type { Sock } from "../core/sock.ts";
import type { RequestSockOps } from "./inet_sock.ts";
import type { TcpFastopenCookie, TcpOptionsReceived, TcpRequestSockOps } from "./tcp_sock.ts";


export function tcpRcvEstablished(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpRcvStateProcess(sk: Sock, skb: number): number {
  throw new BugError("not written yet");
}

export function tcpParseOptions(net: Net, skb: number, optRx: TcpOptionsReceived, estab: number, foc: TcpFastopenCookie | null): void {
  throw new BugError("not written yet");
}

export function tcpParseMssOption(th: number, userMss: number): number {
  throw new BugError("not written yet");
}

export function tcpReset(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpConnRequest(rskOps: RequestSockOps, afOps: TcpRequestSockOps, sk: Sock, skb: number): number {
  throw new BugError("not written yet");
}

export function tcpFinishConnect(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpInitTransfer(sk: Sock, bpfOp: number, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpGetSyncookieMss(rskOps: RequestSockOps, afOps: TcpRequestSockOps, sk: Sock, th: number): number {
  throw new BugError("not written yet");
}
export {
  tcpDataQueue,
  tcpDataReady,
  tcpFin,
  tcpRcvSpaceAdjust,
  tcpInitBufferSpace,
  tcpInitializeRcvMss,
  tcpMeasureRcvMss,
  tcpEnterQuickackMode,
  tcpClampWindow,
  tcpGrowWindow,
  tcpCollapse,
  tcpPruneQueue,
  tcpSackCompressSendAck,
  tcpCheckSpace,
  tcpSndbufExpand,
  tcpSendRcvq,
  tcpSendDupack,
  __tcpAckSndCheck,
} from "./tcp_input.rcv.ts";
export {
  tcpSacktagWriteQueue,
  tcpSkbShift,
  tcpSackReset,
} from "./tcp_input.sack.ts";
export {
  tcpAck,
  tcpRearmRto,
  tcpInitCwnd,
  tcpSynackRttMeas,
  tcpOowRateLimited,
} from "./tcp_input.ack.ts";
export {
  tcpEnterLoss,
  tcpEnterCwr,
  tcpEnterRecovery,
  tcpFastretransAlert,
  tcpMarkSkbLost,
  tcpSimpleRetransmit,
  tcpInitUndo,
  tcpClearRetrans,
  tcpCwndReduction,
} from "./tcp_input.loss.ts";
export type { OowStamp } from "./tcp_input.ack.ts";
export type { TcpSacktagState } from "./tcp_input.sack.ts";
