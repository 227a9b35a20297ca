/** Pluggable congestion control: struct tcp_congestion_ops, the registry, and Reno (RFC 5681). */

import { EBUSY, EEXIST, EINVAL, ENOENT, EPERM } from "../../uapi/errno.ts";
import { RTAX_CC_ALGO } from "../../uapi/rtnetlink.ts";
import { TCPF_CLOSE, TCPF_LISTEN } from "../../uapi/tcp.ts";
import { type DstEntry, dstMetric, dstMetricLocked } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import type { InetConnectionSock } from "./inet_sock.ts";
import { tcpBbrCongOps } from "./tcp_bbr.ts";
import { cubictcp } from "./tcp_cubic.ts";
import { dctcp } from "./tcp_dctcp.ts";
import { inetEcnDontxmit, inetEcnXmit, inetEcnXmitEct1Negotiation, tcpCaNeedsEcn } from "./tcp_ecn.ts";
import type { AckSample, RateSample } from "./tcp_h.ts";
import { tcpInSlowStart, tcpIsCwndLimited, tcpSndCwnd, tcpSndCwndSet } from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";

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
/** Requires Accurate ECN. */
export const TCP_CONG_NEEDS_ACCECN = 4;
/** ECT(1) instead of ECT(0) until it is initialized (RFC 9331). */
export const TCP_CONG_ECT_1_NEGOTIATION = 8;
/** If Accurate ECN cannot be had, then none rather than the classic one. */
export const TCP_CONG_NO_FALLBACK_RFC3168 = 16;

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
  /** CA_EVENT_*, but CA_EVENT_TX_START. */
  cwndEvent?(sk: InetConnectionSock, ev: number): void;
  /** CA_EVENT_TX_START. */
  cwndEventTxStart?(sk: InetConnectionSock): void;
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

// ---- the registry -----------------------------------------------------------------------------------------------------------
// Tables of code only, so one list serves all machines.

const tcpCongList: TcpCongestionOps[] = [];
/** Names that anybody may choose beside those that are TCP_CONG_NON_RESTRICTED; set by tcp_allowed_congestion_control. */
let tcpCongAllowed: string[] | null = null;

/** The modules that are linked in. Done at the first look, because their files may be loaded after this one. */
/* notrace */
function tcpCongBuiltin(): TcpCongestionOps[] {
  if (tcpCongList.length === 0) {
    tcpCongList.push(tcpReno());
    tcpCongList.push(cubictcp());
    tcpCongList.push(tcpBbrCongOps());
    tcpCongList.push(dctcp());
  }
  return tcpCongList;
}

/** tcp_ca_find: the congestion control of that name, or null. */
export function tcpCaFind(name: string): TcpCongestionOps | null {
  const list = tcpCongBuiltin();
  for (let i = 0; i < list.length; i++) if (list[i].name === name) return list[i];
  return null;
}

/** The number that stands for a name in a route's metrics (RTAX_CC_ALGO): a hash, so that it does not depend on the order. */
/* notrace */
function tcpCaKey(name: string): number {
  let key = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) key = Math.imul(key ^ name.charCodeAt(i), 0x01000193);
  return key >>> 0 || 1;
}

/** tcp_ca_get_key_by_name: 0 = there is no such congestion control. */
export function tcpCaGetKeyByName(name: string): number {
  return tcpCaFind(name) === null ? 0 : tcpCaKey(name);
}

/** tcp_ca_find_key. */
export function tcpCaFindKey(key: number): TcpCongestionOps | null {
  const list = tcpCongBuiltin();
  for (let i = 0; i < list.length; i++) if (tcpCaKey(list[i].name) === key) return list[i];
  return null;
}

/** tcp_ca_get_name_by_key: "" = there is none. */
export function tcpCaGetNameByKey(key: number): string {
  const ca = tcpCaFindKey(key);
  return ca === null ? "" : ca.name;
}

/** tcp_validate_congestion_control: -EINVAL if a required function is missing. */
function tcpValidateCongestionControl(ca: TcpCongestionOps): number {
  const complete =
    typeof ca.ssthresh === "function" &&
    typeof ca.undoCwnd === "function" &&
    (ca.congAvoid !== undefined || ca.congControl !== undefined) &&
    ca.name.length > 0 &&
    ca.name.length < TCP_CA_NAME_MAX;
  return complete ? 0 : -EINVAL;
}

/** tcp_register_congestion_control: 0, -EINVAL (a required function is missing) or -EEXIST. */
export function tcpRegisterCongestionControl(ca: TcpCongestionOps): number {
  const err = tcpValidateCongestionControl(ca);
  if (err !== 0) return err;
  if (tcpCaFind(ca.name) !== null) return -EEXIST;
  tcpCongList.push(ca);
  return 0;
}

/** tcp_unregister_congestion_control. Connections that use it keep it. Reno stays: it is the fallback. -EBUSY, -ENOENT. */
export function tcpUnregisterCongestionControl(ca: TcpCongestionOps): number {
  if (ca.name === "reno") return -EBUSY;
  const i = tcpCongBuiltin().indexOf(ca);
  if (i < 0) return -ENOENT;
  tcpCongList.splice(i, 1);
  return 0;
}

/** May anybody choose it? */
/* notrace */
function tcpCongNonRestricted(ca: TcpCongestionOps): boolean {
  if (tcpCongAllowed !== null) return tcpCongAllowed.includes(ca.name);
  return (ca.flags & TCP_CONG_NON_RESTRICTED) !== 0;
}

/** tcp_get_available_congestion_control: "reno cubic". */
export function tcpGetAvailableCongestionControl(): string {
  return tcpCongBuiltin()
    .map((ca) => ca.name)
    .join(" ");
}

/** tcp_get_allowed_congestion_control: those that anybody may choose. */
export function tcpGetAllowedCongestionControl(): string {
  return tcpCongBuiltin()
    .filter(tcpCongNonRestricted)
    .map((ca) => ca.name)
    .join(" ");
}

/** tcp_set_allowed_congestion_control: 0, or -ENOENT if one of the names does not exist (then nothing changes). */
export function tcpSetAllowedCongestionControl(val: string): number {
  const names = val.split(/\s+/).filter((name) => name !== "");
  for (const name of names) if (tcpCaFind(name) === null) return -ENOENT;
  tcpCongAllowed = names;
  return 0;
}

/** tcp_set_default_congestion_control: what new sockets of `net` get. 0 or -ENOENT. */
export function tcpSetDefaultCongestionControl(net: Net, name: string): number {
  if (tcpCaFind(name) === null) return -ENOENT;
  net.ipv4.sysctlTcpCongestionControl = name;
  // What is the default may be chosen by anybody.
  if (tcpCongAllowed !== null && !tcpCongAllowed.includes(name)) tcpCongAllowed.push(name);
  return 0;
}

/** tcp_get_default_congestion_control. */
export function tcpGetDefaultCongestionControl(net: Net): string {
  return net.ipv4.sysctlTcpCongestionControl;
}

// ---- a socket's congestion control -----------------------------------------------------------------------------------------------

/** ECT marks depend on the congestion control (DCTCP wants them on every packet); this is for the handshake. */
/* notrace */
function tcpCaSetEcn(sk: InetConnectionSock): void {
  if (tcpCaNeedsEcn(sk)) inetEcnXmitEct1Negotiation(sk);
  else inetEcnDontxmit(sk);
}

/** tcp_assign_congestion_control: a new socket gets the namespace's default; Reno if that is gone. */
export function tcpAssignCongestionControl(sk: TcpSock): void {
  sk.icskCaOps = tcpCaFind(sk.net.ipv4.sysctlTcpCongestionControl) ?? (tcpCaFind("reno") as TcpCongestionOps);
  sk.icskCaOpsSetBy = "tcp_assign_congestion_control";
  sk.icskCaPriv = null;
  tcpCaSetEcn(sk);
}

/** tcp_ca_dst_init: the route names a congestion control (`ip route ... congctl`). */
export function tcpCaDstInit(sk: TcpSock, dst: DstEntry): void {
  const key = dstMetric(dst, RTAX_CC_ALGO);
  if (key === 0) return;
  const ca = tcpCaFindKey(key);
  if (ca === null) return;
  sk.icskCaDstLocked = dstMetricLocked(dst, RTAX_CC_ALGO);
  sk.icskCaOps = ca;
  sk.icskCaOpsSetBy = "tcp_ca_dst_init";
}

/** tcp_init_congestion_control: the connection is established. */
export function tcpInitCongestionControl(sk: TcpSock): void {
  sk.priorSsthresh = 0;
  const ops = sk.icskCaOps;
  if (ops.init !== undefined) ops.init(sk);
  // It may have chosen another one.
  if (tcpCaNeedsEcn(sk)) inetEcnXmit(sk);
  else inetEcnDontxmit(sk);
  sk.icskCaInitialized = true;
}

/** tcp_reinit_congestion_control: another one in the middle of a connection. */
function tcpReinitCongestionControl(sk: TcpSock, ca: TcpCongestionOps): void {
  tcpCleanupCongestionControl(sk);
  sk.icskCaOps = ca;
  sk.icskCaOpsSetBy = "tcp_set_congestion_control";
  sk.icskCaSetsockopt = true;
  sk.icskCaPriv = null;
  tcpCaSetEcn(sk);
  if (((1 << sk.skcState) & (TCPF_CLOSE | TCPF_LISTEN)) === 0) tcpInitCongestionControl(sk);
}

/** tcp_cleanup_congestion_control: the socket goes. */
export function tcpCleanupCongestionControl(sk: TcpSock): void {
  const ops = sk.icskCaOps;
  // A socket that never got that far has none.
  if (ops !== null && sk.icskCaInitialized && ops.release !== undefined) ops.release(sk);
  sk.icskCaInitialized = false;
  sk.icskCaPriv = null;
}

/**
 * tcp_set_congestion_control: the TCP_CONGESTION socket option. 0, -ENOENT (no such name) or -EPERM (restricted and not
 * `capNetAdmin`, or the route has locked it).
 */
export function tcpSetCongestionControl(sk: TcpSock, name: string, _load: boolean, capNetAdmin: boolean): number {
  if (sk.icskCaDstLocked) return -EPERM;
  const ca = tcpCaFind(name);
  if (ca === null) return -ENOENT;
  // No change asking for existing value.
  if (ca === sk.icskCaOps) {
    sk.icskCaSetsockopt = true;
    return 0;
  }
  if (!capNetAdmin && !tcpCongNonRestricted(ca)) return -EPERM;
  tcpReinitCongestionControl(sk, ca);
  return 0;
}

// ---- what the algorithms share, and Reno --------------------------------------------------------------------------------------------

/**
 * tcp_slow_start (RFC 5681 §3.1, with appropriate byte counting): a packet more per packet acknowledged, up to ssthresh.
 * Returns the packets that are left over for congestion avoidance.
 */
export function tcpSlowStart(tp: TcpSock, acked: number): number {
  const cwnd = Math.min(tcpSndCwnd(tp) + acked, tp.sndSsthresh);
  acked -= cwnd - tcpSndCwnd(tp);
  tcpSndCwndSet(tp, Math.min(cwnd, tp.sndCwndClamp));
  return acked;
}

/** tcp_cong_avoid_ai: a packet more per `w` packets acknowledged. */
export function tcpCongAvoidAi(tp: TcpSock, w: number, acked: number): void {
  // If credits accumulated at a higher w, apply them gently now.
  if (tp.sndCwndCnt >= w) {
    tp.sndCwndCnt = 0;
    tcpSndCwndSet(tp, tcpSndCwnd(tp) + 1);
  }
  tp.sndCwndCnt += acked;
  if (tp.sndCwndCnt >= w) {
    const delta = Math.floor(tp.sndCwndCnt / w);
    tp.sndCwndCnt -= delta * w;
    tcpSndCwndSet(tp, tcpSndCwnd(tp) + delta);
  }
  tcpSndCwndSet(tp, Math.min(tcpSndCwnd(tp), tp.sndCwndClamp));
}

/** tcp_reno_cong_avoid: slow start, then a packet more per window. */
export function tcpRenoCongAvoid(sk: TcpSock, _ack: number, acked: number): void {
  if (!tcpIsCwndLimited(sk)) return;
  // In "safe" area, increase.
  if (tcpInSlowStart(sk)) {
    acked = tcpSlowStart(sk, acked);
    if (acked === 0) return;
  }
  // In dangerous area, increase slowly.
  tcpCongAvoidAi(sk, tcpSndCwnd(sk), acked);
}

/** tcp_reno_ssthresh: half of the window (RFC 5681 §3.1), at least two packets. */
export function tcpRenoSsthresh(sk: TcpSock): number {
  return Math.max(tcpSndCwnd(sk) >>> 1, 2);
}

/** tcp_reno_undo_cwnd: the window from before the reduction. */
export function tcpRenoUndoCwnd(sk: TcpSock): number {
  return Math.max(tcpSndCwnd(sk), sk.priorCwnd);
}

/** The table tcp_reno, the fallback of all. */
/* notrace */
function tcpReno(): TcpCongestionOps {
  return {
    name: "reno",
    symbol: "tcp_reno",
    flags: TCP_CONG_NON_RESTRICTED,
    ssthresh: tcpRenoSsthresh,
    congAvoid: tcpRenoCongAvoid,
    undoCwnd: tcpRenoUndoCwnd,
  };
}
