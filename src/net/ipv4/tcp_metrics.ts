/** What is remembered of a destination between connections. */

import { BugError } from "../../kernel/bug.ts";
import type { DstEntry } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import type { Sock } from "../core/sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import type { TcpFastopenCookie } from "./tcp_sock.ts";


export function tcpInitMetrics(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpUpdateMetrics(sk: Sock): void {
  throw new BugError("not written yet");
}

export function tcpPeerIsProven(req: RequestSock, dst: DstEntry | null): boolean {
  throw new BugError("not written yet");
}

export function tcpFastopenCacheGet(sk: Sock, cookie: TcpFastopenCookie): number {
  throw new BugError("not written yet");
}

export function tcpFastopenCacheSet(sk: Sock, mss: number, cookie: TcpFastopenCookie | null, synLost: boolean, tryExp: number): void {
  throw new BugError("not written yet");
}

export function tcpMetricsFlushAll(net: Net): void {
  throw new BugError("not written yet");
}
