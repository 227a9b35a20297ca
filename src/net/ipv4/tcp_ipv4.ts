/** TCP over IPv4: the way in from IP, the way out to it, connect, ICMP errors, and the tables of pointers. */

import { BugError } from "../../kernel/bug.ts";
import type { DstEntry } from "../core/dst.ts";
import type { ErrBox, Proto, Sock, SockAddr } from "../core/sock.ts";
import type { InetConnectionSockAfOps, RequestSock, RequestSockOps, TcpTimewaitSock } from "./inet_sock.ts";
import type { Seq } from "./seq.ts";

export const ipv4Specific: InetConnectionSockAfOps = null as unknown as InetConnectionSockAfOps;
export const tcpProt: Proto = null as unknown as Proto;
export const tcpRequestSockOps: RequestSockOps = null as unknown as RequestSockOps;

export function tcpV4Rcv(skb: number): number {
  throw new BugError("not written yet");
}

export function tcpV4DoRcv(sk: Sock, skb: number): number {
  throw new BugError("not written yet");
}

export function tcpV4Connect(sk: Sock, addr: SockAddr): number {
  throw new BugError("not written yet");
}

export function tcpV4InitSock(sk: Sock): number {
  throw new BugError("not written yet");
}

export function tcpV4DestroySock(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpV4SendReset(sk: Sock | null, skb: number): void {
  throw new BugError("not written yet");
}

export function tcpV4SendCheck(sk: Sock, skb: number): void {
  throw new BugError("not written yet");
}

export function __tcpV4SendCheck(skb: number, saddr: number, daddr: number): void {
  throw new BugError("not written yet");
}

export function tcpV4Err(skb: number, info: number): number {
  throw new BugError("not written yet");
}

export function tcpV4MtuReduced(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpV4ConnRequest(sk: Sock, skb: number): number {
  throw new BugError("not written yet");
}

export function tcpV4SynRecvSock(sk: Sock, skb: number, req: RequestSock, dst: DstEntry | null, ownReq: ErrBox): Sock | null {
  throw new BugError("not written yet");
}

export function tcpTwskUnique(sk: Sock, tw: TcpTimewaitSock): boolean {
  throw new BugError("not written yet");
}

export function tcpReqErr(sk: Sock, seq: Seq, abort: boolean): void {
  throw new BugError("not written yet");
}

export function tcpLdRtoRevert(sk: Sock, seq: Seq): void {
  throw new BugError("not written yet");
}

export function tcpV4Init(): void {
  throw new BugError("not written yet");
}
