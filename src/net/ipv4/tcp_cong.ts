/** Pluggable congestion control: struct tcp_congestion_ops, the registry, and Reno. */

import type { AckSample, RateSample } from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";
import type { InetConnectionSock } from "./inet_sock.ts";

// enum tcp_ca_event: argument of cwndEvent.
/** First transmit when no packets in flight. */
export const CA_EVENT_TX_START = 0;
/** Congestion window restart after idleness. */
export const CA_EVENT_CWND_RESTART = 1;
/** End of congestion recovery. */
export const CA_EVENT_COMPLETE_CWR = 2;
/** Loss timeout. */
export const CA_EVENT_LOSS = 3;
/** ECT set, but not CE marked. */
export const CA_EVENT_ECN_NO_CE = 4;
/** Received CE marked IP packet. */
export const CA_EVENT_ECN_IS_CE = 5;

// enum tcp_ca_ack_event_flags: argument of inAckEvent.
export const CA_ACK_SLOWPATH = 1;
export const CA_ACK_WIN_UPDATE = 2;
export const CA_ACK_ECE = 4;

/** Any user may choose it (without CAP_NET_ADMIN). */
export const TCP_CONG_NON_RESTRICTED = 1;
/** Requires ECN/ECT set on all packets (DCTCP). */
export const TCP_CONG_NEEDS_ECN = 2;

export const TCP_CA_NAME_MAX = 16;

/**
 * struct tcp_congestion_ops. `ssthresh`, `undoCwnd` and one of `congAvoid` and `congControl` are required. The state of
 * an instance is whatever `init` puts into `sk.icskCaPriv`.
 */
export interface TcpCongestionOps {
  /** What TCP_CONGESTION and the sysctl call it: "cubic". */
  readonly name: string;
  /** The C symbol of the table, for the trace: "cubictcp". */
  readonly symbol: string;
  /** TCP_CONG_* bits. */
  readonly flags: number;
  /** Slow start threshold after a loss, in packets. */
  ssthresh(sk: TcpSock): number;
  /** New cwnd upon an ACK that acknowledged `acked` packets. */
  congAvoid?(sk: TcpSock, ack: number, acked: number): void;
  /** Before sk.icskCaState changes to `newState`. */
  setState?(sk: InetConnectionSock, newState: number): void;
  /** CA_EVENT_*. */
  cwndEvent?(sk: InetConnectionSock, ev: number): void;
  /** For every ACK: CA_ACK_* bits. */
  inAckEvent?(sk: TcpSock, flags: number): void;
  pktsAcked?(sk: TcpSock, sample: AckSample): void;
  /** cwnd to come back to when a loss turns out to have been none. */
  undoCwnd(sk: TcpSock): number;
  /** Replaces congAvoid and the window reduction: sets cwnd and pacing rate after an ACK. */
  congControl?(sk: TcpSock, ack: number, flag: number, rs: RateSample): void;
  /** Override of sysctl tcp_min_tso_segs. */
  minTsoSegs?(sk: TcpSock): number;
  /** Multiplier of the send buffer: 2 by default. */
  sndbufExpand?(sk: TcpSock): number;
  init?(sk: TcpSock): void;
  release?(sk: TcpSock): void;
  /** The `tcp_cc_info` of TCP_CC_INFO and ss -i; null = none. */
  getInfo?(sk: TcpSock, ext: number): object | null;
}
