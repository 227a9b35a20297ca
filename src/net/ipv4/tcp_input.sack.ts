/** Selective acknowledgements: tagging the retransmit queue (RFC 2018, RFC 2883, RFC 6675). */

import { BugError } from "../../kernel/bug.ts";
import type { Sock } from "../core/sock.ts";
import type { Seq } from "./seq.ts";
import type { TcpOptionsReceived } from "./tcp_sock.ts";

export class TcpSacktagState {}

export function tcpSacktagWriteQueue(sk: Sock, ackSkb: number, priorSndUna: Seq, state: TcpSacktagState): number {
  throw new BugError("not written yet");
}

export function tcpSkbShift(to: number, from: number, pcount: number, shiftlen: number): number {
  throw new BugError("not written yet");
}

export function tcpSackReset(rxOpt: TcpOptionsReceived): void {
  throw new BugError("not written yet");
}
