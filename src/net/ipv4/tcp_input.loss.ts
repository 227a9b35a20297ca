/** Loss recovery: the Open/Disorder/CWR/Recovery/Loss state machine, undo, and the window meanwhile. */

import { BugError } from "../../kernel/bug.ts";
import type { Sock } from "../core/sock.ts";
import type { Seq } from "./seq.ts";
import type { TcpSock } from "./tcp_sock.ts";


export function tcpEnterLoss(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpEnterCwr(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpEnterRecovery(sk: Sock, eceAck: boolean): void {
  throw new BugError("not written yet");
}

export function tcpFastretransAlert(sk: Sock, priorSndUna: Seq, numDupack: number, ackFlag: number, rexmit: number): number {
  throw new BugError("not written yet");
}

export function tcpMarkSkbLost(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpSimpleRetransmit(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpInitUndo(tp: TcpSock): void {
  throw new BugError("not written yet");
}

export function tcpClearRetrans(tp: TcpSock): void {
  throw new BugError("not written yet");
}

export function tcpCwndReduction(sk: Sock, newlyAckedSacked: number, newlyLost: number, flag: number): void {
  throw new BugError("not written yet");
}
