/**
 * What is remembered of a destination between connections (`ip tcp_metrics`): RTT, ssthresh, cwnd and reordering, so
 * that the next connection need not learn them from nothing, and the Fast Open cookie that the destination has granted
 * (RFC 7413 §4.1.3). Keyed by the pair of addresses; an entry that was not used for an hour starts afresh.
 */

import { kernel, USEC_PER_JIFFY } from "../../kernel/kernel.ts";
import { RTAX_CWND, RTAX_REORDERING, RTAX_RTT, RTAX_RTTVAR, RTAX_SSTHRESH } from "../../uapi/rtnetlink.ts";
import { TCP_CA_Open } from "../../uapi/tcp.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMetric, dstMetricLocked } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import { skDstConfirm } from "../core/sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import {
  TCP_INFINITE_SSTHRESH,
  TCP_TIMEOUT_FALLBACK,
  tcpInInitialSlowstart,
  tcpInSlowStart,
  tcpRtoMin,
  tcpSndCwnd,
} from "./tcp_h.ts";
import type { TcpSock } from "./tcp_sock.ts";
import { TcpFastopenCookie } from "./tcp_sock.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** The entries by destination, then by source; undefined until the first one is made. */
    tcpMetrics: Map<number, Map<number, TcpMetricsBlock>> | undefined;
  }
}

// enum tcp_metric_index: which value.
export const TCP_METRIC_RTT = 0;
export const TCP_METRIC_RTTVAR = 1;
export const TCP_METRIC_SSTHRESH = 2;
export const TCP_METRIC_CWND = 3;
export const TCP_METRIC_REORDERING = 4;

/** Microseconds: TCP_METRICS_TIMEOUT. */
const TCP_METRICS_TIMEOUT = 3600 * 1_000_000;
/** Destinations that are remembered at most; the least recently made one is forgotten for a new one. */
const MAX_DESTINATIONS = 4096;

/** struct tcp_metrics_block. */
export class TcpMetricsBlock {
  readonly saddr: number;
  readonly daddr: number;
  /** Microseconds of the last change. */
  stamp = 0;
  /** By TCP_METRIC_*: RTT times 8 and its variance in microseconds; packets; 0 = not known. */
  readonly vals: Float64Array = new Float64Array(5);
  /** Bit TCP_METRIC_*: the route fixes the value. */
  lock = 0;
  fastopenMss = 0;
  /** Fast Open SYNs in a row that were lost, and when the last one was (microseconds). */
  fastopenSynLoss = 0;
  fastopenLastSynLoss = 0;
  /** 1 = try the experimental option kind the next time, 2 = both were tried. */
  fastopenTryExp = 0;
  readonly fastopenCookie: TcpFastopenCookie = new TcpFastopenCookie();

  constructor(saddr: number, daddr: number) {
    this.saddr = saddr;
    this.daddr = daddr;
  }
}

function tcpMetricLocked(tm: TcpMetricsBlock, idx: number): boolean {
  return (tm.lock & (1 << idx)) !== 0;
}

/** tcpm_suck_dst: what the route says (milliseconds there). */
function tcpmSuckDst(tm: TcpMetricsBlock, dst: DstEntry): void {
  tm.stamp = kernel.now;
  tm.lock = 0;
  suckOne(tm, dst, TCP_METRIC_RTT, RTAX_RTT, 8000);
  suckOne(tm, dst, TCP_METRIC_RTTVAR, RTAX_RTTVAR, 4000);
  suckOne(tm, dst, TCP_METRIC_SSTHRESH, RTAX_SSTHRESH, 1);
  suckOne(tm, dst, TCP_METRIC_CWND, RTAX_CWND, 1);
  suckOne(tm, dst, TCP_METRIC_REORDERING, RTAX_REORDERING, 1);
}

function suckOne(tm: TcpMetricsBlock, dst: DstEntry, idx: number, rtax: number, scale: number): void {
  tm.vals[idx] = dstMetric(dst, rtax) * scale;
  if (dstMetricLocked(dst, rtax)) tm.lock |= 1 << idx;
}

/** tcp_get_metrics: the entry of the pair of addresses; null if there is none and it is not to be made. */
function tcpGetMetrics(net: Net, saddr: number, daddr: number, dst: DstEntry, create: boolean): TcpMetricsBlock | null {
  let table = net.tcpMetrics;
  if (table === undefined) {
    if (!create) return null;
    table = new Map();
    net.tcpMetrics = table;
  }
  let bySource = table.get(daddr);
  let tm = bySource?.get(saddr);
  if (tm === undefined) {
    if (!create) return null;
    if (bySource === undefined) {
      if (table.size >= MAX_DESTINATIONS) {
        const oldest = table.keys().next().value;
        if (oldest !== undefined) table.delete(oldest);
      }
      bySource = new Map();
      table.set(daddr, bySource);
    }
    tm = new TcpMetricsBlock(saddr, daddr);
    bySource.set(saddr, tm);
    tcpmSuckDst(tm, dst);
  } else if (kernel.now > tm.stamp + TCP_METRICS_TIMEOUT) {
    tcpmSuckDst(tm, dst);
  }
  return tm;
}

/** tcp_update_metrics: a connection ends: what it has learnt is kept. */
export function tcpUpdateMetrics(sk: TcpSock): void {
  const ipv4 = sk.net.ipv4;
  const dst = sk.skDstCache;
  skDstConfirm(sk);
  if (ipv4.sysctlTcpNoMetricsSave !== 0 || dst === null) return;
  if (sk.icskBackoff !== 0 || sk.srttUs === 0) {
    // It could not even measure the RTT: what was known of it is not to be trusted.
    const old = tcpGetMetrics(sk.net, sk.inetSaddr, sk.skcDaddr, dst, false);
    if (old !== null && !tcpMetricLocked(old, TCP_METRIC_RTT)) old.vals[TCP_METRIC_RTT] = 0;
    return;
  }
  const tm = tcpGetMetrics(sk.net, sk.inetSaddr, sk.skcDaddr, dst, true);
  if (tm === null) return;
  const vals = tm.vals;
  // A larger RTT is believed at once, a smaller one by and by: too long an RTO does less harm than too short a one.
  let rtt = vals[TCP_METRIC_RTT] as number;
  let m = rtt - sk.srttUs;
  if (!tcpMetricLocked(tm, TCP_METRIC_RTT)) {
    if (m <= 0) rtt = sk.srttUs;
    else rtt -= Math.floor(m / 8);
    vals[TCP_METRIC_RTT] = rtt;
  }
  if (!tcpMetricLocked(tm, TCP_METRIC_RTTVAR)) {
    m = Math.max(Math.floor(Math.abs(m) / 2), sk.mdevUs);
    const rttvar = vals[TCP_METRIC_RTTVAR] as number;
    vals[TCP_METRIC_RTTVAR] = m >= rttvar ? m : rttvar - Math.floor((rttvar - m) / 4);
  }
  updateWindows(sk, tm);
  tm.stamp = kernel.now;
}

function updateWindows(sk: TcpSock, tm: TcpMetricsBlock): void {
  const ipv4 = sk.net.ipv4;
  const vals = tm.vals;
  const cwnd = tcpSndCwnd(sk);
  const keepCwnd = !tcpMetricLocked(tm, TCP_METRIC_CWND);
  const keepSsthresh = ipv4.sysctlTcpNoSsthreshMetricsSave === 0 && !tcpMetricLocked(tm, TCP_METRIC_SSTHRESH);
  const oldSsthresh = vals[TCP_METRIC_SSTHRESH] as number;
  const oldCwnd = vals[TCP_METRIC_CWND] as number;
  if (tcpInInitialSlowstart(sk)) {
    // Nothing was lost so far.
    if (keepSsthresh && oldSsthresh !== 0 && cwnd >> 1 > oldSsthresh) vals[TCP_METRIC_SSTHRESH] = cwnd >> 1;
    if (keepCwnd && cwnd > oldCwnd) vals[TCP_METRIC_CWND] = cwnd;
  } else if (!tcpInSlowStart(sk) && sk.icskCaState === TCP_CA_Open) {
    // Congestion avoidance: cwnd means something.
    if (keepSsthresh) vals[TCP_METRIC_SSTHRESH] = Math.max(cwnd >> 1, sk.sndSsthresh);
    if (keepCwnd) vals[TCP_METRIC_CWND] = (oldCwnd + cwnd) >> 1;
  } else {
    // Slow start after a loss, or recovery: cwnd means nothing.
    if (keepCwnd) vals[TCP_METRIC_CWND] = (oldCwnd + sk.sndSsthresh) >> 1;
    if (keepSsthresh && oldSsthresh !== 0 && sk.sndSsthresh > oldSsthresh) {
      vals[TCP_METRIC_SSTHRESH] = sk.sndSsthresh;
    }
    if (
      !tcpMetricLocked(tm, TCP_METRIC_REORDERING) &&
      (vals[TCP_METRIC_REORDERING] as number) < sk.reordering &&
      sk.reordering !== ipv4.sysctlTcpReordering
    ) {
      vals[TCP_METRIC_REORDERING] = sk.reordering;
    }
  }
}

/** tcp_init_metrics: a connection stands: starts from what is known of its destination. */
export function tcpInitMetrics(sk: TcpSock): void {
  const dst = sk.skDstCache;
  let crtt = 0;
  skDstConfirm(sk);
  if (dst !== null) {
    // The handshake may have reduced it without need.
    sk.sndSsthresh = TCP_INFINITE_SSTHRESH;
    const tm = tcpGetMetrics(sk.net, sk.inetSaddr, sk.skcDaddr, dst, false);
    if (tm !== null) {
      if (tcpMetricLocked(tm, TCP_METRIC_CWND)) sk.sndCwndClamp = tm.vals[TCP_METRIC_CWND] as number;
      const ssthresh = sk.net.ipv4.sysctlTcpNoSsthreshMetricsSave !== 0 ? 0 : (tm.vals[TCP_METRIC_SSTHRESH] as number);
      if (ssthresh !== 0) sk.sndSsthresh = Math.min(ssthresh, sk.sndCwndClamp);
      const reordering = tm.vals[TCP_METRIC_REORDERING] as number;
      if (reordering !== 0) sk.reordering = reordering;
      crtt = tm.vals[TCP_METRIC_RTT] as number;
    }
  }
  if (crtt > sk.srttUs) {
    // SYNs are small and fast: the RTO, though not the estimate, begins with the RTT of earlier data.
    const rtt = Math.floor(crtt / (8 * USEC_PER_JIFFY)) * USEC_PER_JIFFY;
    sk.icskRto = rtt + Math.max(2 * rtt, tcpRtoMin(sk));
  } else if (sk.srttUs === 0) {
    // RFC 6298 §5.7: the handshake gave no sample, so something was retransmitted: back to 3 s.
    sk.rttvarUs = TCP_TIMEOUT_FALLBACK;
    sk.mdevUs = TCP_TIMEOUT_FALLBACK;
    sk.mdevMaxUs = TCP_TIMEOUT_FALLBACK;
    sk.icskRto = TCP_TIMEOUT_FALLBACK;
  }
}

/** tcp_peer_is_proven: somebody there has completed a connection lately. */
export function tcpPeerIsProven(req: RequestSock, dst: DstEntry | null): boolean {
  if (dst === null) return false;
  const tm = tcpGetMetrics(req.net, req.irLocAddr, req.irRmtAddr, dst, false);
  return tm !== null && tm.vals[TCP_METRIC_RTT] !== 0;
}

/** tcp_fastopen_cache_get: fills `cookie` with what the destination has granted. Returns its MSS, 0 = not known. */
export function tcpFastopenCacheGet(sk: TcpSock, cookie: TcpFastopenCookie): number {
  const dst = sk.skDstCache;
  const tm = dst !== null ? tcpGetMetrics(sk.net, sk.inetSaddr, sk.skcDaddr, dst, false) : null;
  if (tm === null) return 0;
  cookie.len = tm.fastopenCookie.len;
  cookie.exp = tm.fastopenCookie.exp;
  cookie.val.set(tm.fastopenCookie.val);
  if (cookie.len <= 0 && tm.fastopenTryExp === 1) cookie.exp = true;
  return tm.fastopenMss;
}

/** tcp_fastopen_cache_set: `mss` 0 = keep; `synLost`: the SYN with data was lost (a middlebox?). */
export function tcpFastopenCacheSet(
  sk: TcpSock,
  mss: number,
  cookie: TcpFastopenCookie | null,
  synLost: boolean,
  tryExp: number,
): void {
  const dst = sk.skDstCache;
  if (dst === null) return;
  const tm = tcpGetMetrics(sk.net, sk.inetSaddr, sk.skcDaddr, dst, true);
  if (tm === null) return;
  if (mss !== 0) tm.fastopenMss = mss;
  if (cookie !== null && cookie.len > 0) {
    tm.fastopenCookie.len = cookie.len;
    tm.fastopenCookie.exp = cookie.exp;
    tm.fastopenCookie.val.set(cookie.val);
  } else if (tryExp > tm.fastopenTryExp && tm.fastopenCookie.len <= 0 && !tm.fastopenCookie.exp) {
    tm.fastopenTryExp = tryExp;
  }
  if (synLost) {
    tm.fastopenSynLoss++;
    tm.fastopenLastSynLoss = kernel.now;
  } else {
    tm.fastopenSynLoss = 0;
  }
}

/** The entries of a namespace (`ip tcp_metrics show`). */
export function tcpMetricsList(net: Net): TcpMetricsBlock[] {
  const out: TcpMetricsBlock[] = [];
  for (const bySource of net.tcpMetrics?.values() ?? []) out.push(...bySource.values());
  return out;
}

/** tcp_metrics_nl_cmd_del for one entry. */
export function tcpMetricsDel(net: Net, tm: TcpMetricsBlock): void {
  const bySource = net.tcpMetrics?.get(tm.daddr);
  bySource?.delete(tm.saddr);
  if (bySource?.size === 0) net.tcpMetrics?.delete(tm.daddr);
}

/** tcp_metrics_flush_all: `ip tcp_metrics flush`. */
export function tcpMetricsFlushAll(net: Net): void {
  net.tcpMetrics?.clear();
}
