/** The small socks at both ends of a connection: requests in SYN_RECV and TIME_WAIT. */

import { BugError } from "../../kernel/bug.ts";
import type { DstEntry } from "../core/dst.ts";
import type { ErrBox, Sock } from "../core/sock.ts";
import type { RequestSock, TcpTimewaitSock } from "./inet_sock.ts";


export function tcpTimewaitStateProcess(tw: TcpTimewaitSock, skb: number, isn: ErrBox): number {
  throw new BugError("not written yet");
}

export function tcpTimeWait(sk: Sock, state: number, timeo: number): void {
  throw new BugError("not written yet");
}

export function tcpOpenreqInitRwin(req: RequestSock, skListener: Sock, dst: DstEntry): void {
  throw new BugError("not written yet");
}

export function tcpCaOpenreqChild(sk: Sock, dst: DstEntry): void {
  throw new BugError("not written yet");
}

export function tcpCreateOpenreqChild(sk: Sock, req: RequestSock, skb: number): Sock | null {
  throw new BugError("not written yet");
}

export function tcpCheckReq(sk: Sock, skb: number, req: RequestSock, fastopen: boolean, lostRace: ErrBox): Sock | null {
  throw new BugError("not written yet");
}

export function tcpChildProcess(parent: Sock, child: Sock, skb: number): number {
  throw new BugError("not written yet");
}
