/** ACK processing: what was acknowledged, RTT, and what may be sent now. */

import { BugError } from "../../kernel/bug.ts";
import type { DstEntry } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import type { Sock } from "../core/sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import type { TcpSock } from "./tcp_sock.ts";

export interface OowStamp {
  lastOowAckTime: number;
}

export function tcpAck(sk: Sock, skb: number, flag: number): number {
  throw new BugError("not written yet");
}

export function tcpRearmRto(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpInitCwnd(tp: TcpSock, dst: DstEntry | null): number {
  throw new BugError("not written yet");
}

export function tcpSynackRttMeas(sk: Sock, req: RequestSock): void {
  throw new BugError("not written yet");
}

export function tcpOowRateLimited(net: Net, skb: number, mibIdx: number, box: OowStamp): boolean {
  throw new BugError("not written yet");
}
