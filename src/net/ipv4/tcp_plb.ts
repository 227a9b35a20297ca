/**
 * Protective load balancing (net/ipv4/tcp_plb.c): a connection that stays congested for several rounds takes another
 * flow hash, and with it another of several equal paths. Congestion controls that measure congestion as a fraction ask
 * for it (DCTCP); net.ipv4.tcp_plb_enabled is off by default.
 */

import { kernel } from "../../kernel/kernel.ts";
import { netIncStats } from "../../kernel/mib.ts";
import { getRandomU32Below } from "../../kernel/random.ts";
import { LINUX_MIB_TCPPLBREHASH } from "../../uapi/linux_mib.ts";
import type { TcpSock } from "./tcp_sock.ts";
import { skRethinkTxhash } from "./tcp_timer.ts";

/** Fractions are in 1/256. */
export const TCP_PLB_SCALE = 8;

/** struct tcp_plb_state. */
export interface TcpPlbState {
  /** Congested rounds in a row, at most 31. */
  consecCongRounds: number;
  /** Microseconds until when a timeout forbids another path; 0 = it does not. */
  pauseUntil: number;
}

/** tcp_plb_init. */
export function newTcpPlbState(): TcpPlbState {
  return { consecCongRounds: 0, pauseUntil: 0 };
}

/** tcp_plb_update_state: once a round: `congRatio` of 256 packets were marked. */
export function tcpPlbUpdateState(sk: TcpSock, plb: TcpPlbState, congRatio: number): void {
  const ipv4 = sk.net.ipv4;
  if (ipv4.sysctlTcpPlbEnabled === 0) return;
  if (congRatio < ipv4.sysctlTcpPlbCongThresh) plb.consecCongRounds = 0;
  else if (plb.consecCongRounds < ipv4.sysctlTcpPlbRehashRounds) plb.consecCongRounds++;
}

/** tcp_plb_check_rehash: takes another path after so many rounds, or after fewer if nothing is in flight. */
export function tcpPlbCheckRehash(sk: TcpSock, plb: TcpPlbState): void {
  const ipv4 = sk.net.ipv4;
  if (ipv4.sysctlTcpPlbEnabled === 0) return;
  const forced = plb.consecCongRounds >= ipv4.sysctlTcpPlbRehashRounds;
  const idleRounds = ipv4.sysctlTcpPlbIdleRehashRounds;
  const idle = idleRounds !== 0 && sk.packetsOut === 0 && plb.consecCongRounds >= idleRounds;
  if (!forced && !idle) return;
  if (kernel.now < plb.pauseUntil) return;
  plb.pauseUntil = 0;
  skRethinkTxhash(sk);
  plb.consecCongRounds = 0;
  sk.plbRehash++;
  netIncStats(sk.net, LINUX_MIB_TCPPLBREHASH);
}

/** tcp_plb_update_state_upon_rto: the timeout has changed the path already; it is kept for one to two times the sysctl. */
export function tcpPlbUpdateStateUponRto(sk: TcpSock, plb: TcpPlbState): void {
  const ipv4 = sk.net.ipv4;
  if (ipv4.sysctlTcpPlbEnabled === 0) return;
  const ms = ipv4.sysctlTcpPlbSuspendRtoSec * 1000;
  plb.pauseUntil = kernel.now + (ms + getRandomU32Below(ms)) * 1000;
  plb.consecCongRounds = 0;
}
