/** RACK-TLP loss detection (RFC 8985). */

import { BugError } from "../../kernel/bug.ts";
import type { Sock } from "../core/sock.ts";
import type { Seq } from "./seq.ts";
import type { RateSample } from "./tcp_rate.ts";
import type { TcpSock } from "./tcp_sock.ts";


export function tcpRackMarkLost(sk: Sock): boolean {
  throw new BugError("not written yet");
}

export function tcpRackAdvance(tp: TcpSock, sacked: number, endSeq: Seq, xmitTime: number): void {
  throw new BugError("not written yet");
}

export function tcpRackReoTimeout(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpRackUpdateReoWnd(sk: Sock, rs: RateSample): void {
  throw new BugError("not written yet");
}

export function tcpRackSkbTimeout(tp: TcpSock, skb: number, reoWnd: number): number {
  throw new BugError("not written yet");
}

export function tcpNewrenoMarkLost(sk: Sock, sndUnaAdvanced: boolean): void {
  throw new BugError("not written yet");
}
