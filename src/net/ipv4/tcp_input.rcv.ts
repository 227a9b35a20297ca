/** Receiving data: the receive and out-of-order queues, the window, and when to send ACKs. */

import { BugError } from "../../kernel/bug.ts";
import type { SkBuffHead } from "../core/skbuff.ts";
import type { Msghdr, Sock } from "../core/sock.ts";
import type { Seq } from "./seq.ts";


export function tcpDataQueue(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpDataReady(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpFin(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpRcvSpaceAdjust(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpInitBufferSpace(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpInitializeRcvMss(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpMeasureRcvMss(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpEnterQuickackMode(sk: Sock, maxQuickacks: number): void {
  throw new BugError("not written yet");
}

export function tcpClampWindow(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpGrowWindow(sk: Sock, skb: number, adjust: boolean): void {
  throw new BugError("not written yet");
}

export function tcpCollapse(sk: Sock, list: SkBuffHead, head: number, tail: number, start: Seq, end: Seq): void {
  throw new BugError("not written yet");
}

export function tcpPruneQueue(sk: Sock, inSkb: number): number {
  throw new BugError("not written yet");
}

export function tcpSackCompressSendAck(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpCheckSpace(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpSndbufExpand(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpSendRcvq(sk: Sock, msg: Msghdr, size: number): number {
  throw new BugError("not written yet");
}

export function tcpSendDupack(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function __tcpAckSndCheck(sk: Sock, ofoPossible: boolean): void {
  throw new BugError("not written yet");
}
